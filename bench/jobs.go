package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

const (
	ours      = "takumi-backup"
	inGo      = ours + " in Go"
	byLibrary = "packed by the library"
)

type part struct {
	name, title, about string
	jobs               func(*bench) ([]*job, error)
	more               func(*results) string // what follows the table, or nil
}

var parts = []part{
	{"peers", "A plain dump", "From a file to a sealed file or repository, and back. takumi-backup also checks that the dump is whole, proves what it packed, and writes a SHA-256 sidecar; without the proof it is called \"unproved\", and built without assembly in the codec \"in Go\". \"Packed by the library\" is a backup whose frames klauspost/compress made.", (*bench).peerJobs, nil},
	{"tree", "A tree of source files", "GOROOT/src by tar, or by the tool's own way to walk a tree.", (*bench).treeJobs, nil},
	{"kinds", "Four kinds of dump, on one core", "Packed and sealed to nowhere without the proof, against the reference encoder, which does not seal.", (*bench).kindJobs, nil},
	{"none", "Without packing", "To nowhere, codec none, without a sidecar.", (*bench).noneJobs, nil},
	{"s3", "From an S3 server on this machine", "The sealed plain dump. rclone only fetches it, takumi-backup also opens it; `--packed` leaves it packed.", (*bench).s3Jobs, nil},
	{"cores", "One core and all", "The plain dump to nowhere.", (*bench).coreJobs, nil},
	{"growth", "Memory", "From a pipe, which is an eighth of the corpus again and again.", (*bench).growthJobs, nil},
	{"access", "Without reading all", "", (*bench).accessJobs, nil},
	{databases, "Databases", "To a file and back, on a throw-away server that does not sync. CPU time counts the server in, memory does not. A restore by takumi-backup also compares the rows with the manifest, and ends with ANALYZE. The stages are what the table below comes from.", (*bench).databaseJobs, databaseStages},
}

func (b *bench) takumi(args ...string) []string { return append([]string{b.builds[0].path}, args...) }

func (b *bench) out(name string) string { return filepath.Join(b.scratch, "out", name) }

func (b *bench) sealed(input string) (string, error) {
	path := b.out(filepath.Base(input) + ".sealed")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, err := b.output(b.takumi("seal", "--quiet", "-o", path, "--", "/bin/cat", input)...)
	return path, err
}

func (b *bench) peerJobs() ([]*job, error) {
	input, n, err := b.corpus("plain")
	if err != nil {
		return nil, err
	}
	var jobs []*job
	add := func(c contender) {
		c.seal.op, c.seal.name, c.seal.bytes = "seal", c.name, n
		jobs = append(jobs, &c.seal)
		if c.open != nil {
			open := &job{op: "open", name: c.name, bytes: n, stages: c.open, stdin: c.from}
			jobs = append(jobs, open)
		}
		if c.verify != nil {
			jobs = append(jobs, &job{op: "verify", name: c.name, bytes: n, stages: c.verify, stdin: c.from})
		}
	}
	for _, c := range b.contenders("peers", input) {
		add(c)
	}
	library := b.out("library.enc")
	self, err := os.Executable()
	if err == nil {
		_, err = b.output(self, "-by-library", input, library)
	}
	jobs = append(jobs, &job{op: "open", name: byLibrary, bytes: n, stages: [][]string{b.takumi("open", "--quiet", library)}})
	return jobs, err
}

// contender is a way to seal a file and to open it again.
type contender struct {
	name string
	seal job
	open [][]string
	from string // the file that open reads
	// verify proves it without its content going anywhere.
	verify [][]string
}

// contenders returns every way, ours first. Without an input they read a tar from
// a pipe.
func (b *bench) contenders(part, input string) (all []contender) {
	out := func(name string) string { return b.out(part + "-" + name) }
	for _, p := range b.builds {
		for _, unproved := range []bool{false, true} {
			name, path := p.name, out(p.name+".enc")
			argv := []string{p.path, "seal", "--quiet", "-o", path}
			c := contender{name: name, open: [][]string{{p.path, "open", "--quiet", path}}, verify: [][]string{{p.path, "verify", "--quiet", path}}}
			if p.name == inGo && part != "peers" || unproved && p.other { // another build may not know the flag
				continue
			}
			if unproved {
				argv, c.name, c.open, c.verify = append(argv, "--prove=off"), name+" unproved", nil, nil
			}
			c.seal = job{stages: [][]string{argv}, stdin: input, makes: []string{path, path + ".sha256"}}
			all = append(all, c)
		}
	}
	piped := func(name, file string, seal, open [][]string) {
		path := out(file)
		made := job{stages: seal, stdin: input, stdout: path, makes: []string{path}, sync: true}
		all = append(all, contender{name: name, seal: made, open: open, from: path})
	}
	opened := b.program("age", "-d", "-i", b.key("age"))
	for _, level := range []string{"-1", "-3"} {
		piped("zstd "+level+" | age", "zstd"+level+".age",
			[][]string{b.program("zstd", level, "-T0", "-q", "-c"), b.program("age", "-r", b.recipient)},
			[][]string{opened, b.program("zstd", "-d", "-q", "-c")})
		all[len(all)-1].verify = [][]string{opened, b.program("zstd", "-t", "-q")}
	}
	gpg := b.program("gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-file", b.key("passphrase"))
	piped("gzip | gpg", "gz.gpg",
		[][]string{b.program("gzip", "-c"), with(gpg, "--symmetric", "--cipher-algo", "AES256", "--compress-algo", "none")},
		[][]string{with(gpg, "--decrypt"), b.program("gzip", "-d", "-c")})
	enc := b.program("openssl", "enc", "-aes-256-ctr", "-pbkdf2", "-pass", "file:"+b.key("passphrase"))
	piped("pigz | openssl", "gz.ssl",
		[][]string{b.program("pigz", "-c"), enc}, [][]string{with(enc, "-d"), b.program("pigz", "-d", "-c")})

	repo := out("restic")
	restic := b.program("restic", "-q", "-r", repo)
	all = append(all, contender{name: "restic", open: [][]string{with(restic, "dump", "latest", "/dump")}, seal: job{
		before: with(restic, "init"), makes: []string{repo}, sync: true, stdin: input,
		stages: [][]string{with(restic, "backup", "--stdin", "--stdin-filename", "dump")}}})
	// Borg's default, and the one nearest to ours in size.
	for _, packing := range []string{"lz4", "zstd,1"} {
		repo := out("borg-" + packing)
		all = append(all, contender{name: "borg " + packing, open: [][]string{b.program("borg", "extract", "--stdout", repo+"::dump")}, seal: job{
			before: b.program("borg", "init", "-e", "repokey", repo), makes: []string{repo}, sync: true, stdin: input,
			stages: [][]string{b.program("borg", "create", "-C", packing, repo+"::dump", "-")}}})
	}
	return all
}

func with(argv []string, more ...string) []string { return append(argv[:len(argv):len(argv)], more...) }

func (b *bench) treeJobs() (jobs []*job, err error) {
	root := goRoot()
	n, err := sizeOf(filepath.Join(root, "src"))
	if err != nil {
		return nil, err
	}
	for _, c := range b.contenders("tree", "") {
		argv := c.seal.stages[0]
		switch c.name {
		case "restic":
			c.seal.stages[0] = with(argv[:4], "backup", filepath.Join(root, "src"))
		case "borg lz4", "borg zstd,1":
			c.seal.stages[0] = with(argv[:len(argv)-1], filepath.Join(root, "src"))
		default:
			c.seal.stages = append([][]string{b.program("tar", "-C", root, "-c", "src")}, c.seal.stages...)
		}
		c.seal.op, c.seal.name, c.seal.bytes = "seal", c.name, n
		jobs = append(jobs, &c.seal)
	}
	return jobs, nil
}

func (b *bench) kindJobs() (jobs []*job, err error) {
	for _, kind := range []string{"plain", "pgbench", "numbers", "documents"} {
		input, n, err := b.corpus(kind)
		if err != nil {
			return nil, err
		}
		one := b.program("taskset", "-c", "0")
		jobs = append(jobs,
			&job{op: kind, name: ours, bytes: n, stdin: input, stages: [][]string{with(one, b.takumi("seal", "--quiet", "--prove=off", "-o", "-")...)}},
			&job{op: kind, name: "zstd -1", bytes: n, stdin: input, stages: [][]string{with(one, b.program("zstd", "-1", "--single-thread", "-q", "-c")...)}})
	}
	return jobs, nil
}

func (b *bench) noneJobs() ([]*job, error) {
	input, n, err := b.corpus("plain")
	b.gcm = gcmSpeed()
	return []*job{
		{op: "seal", name: ours, bytes: n, stdin: input, stages: [][]string{b.takumi("seal", "--quiet", "--codec", "none", "--guard=off", "-o", "-")}},
		{op: "seal", name: "age", bytes: n, stdin: input, stages: [][]string{b.program("age", "-r", b.recipient)}},
	}, err
}

func (b *bench) s3Jobs() (jobs []*job, err error) {
	if os.Getenv("AWS_ENDPOINT_URL") == "" {
		progress("no S3 server; start this by scripts/versitygw-dev run, as scripts/bench does")
		return nil, nil
	}
	input, _, err := b.corpus("plain")
	if err != nil {
		return nil, err
	}
	enc, err := b.sealed(input)
	if err != nil {
		return nil, err
	}
	b.env = append(b.env, "AWS_CA_BUNDLE=", "RCLONE_CONFIG="+os.DevNull, "RCLONE_CONFIG_S_TYPE=s3", "RCLONE_CONFIG_S_PROVIDER=Other", "RCLONE_CONFIG_S_ENV_AUTH=true",
		"RCLONE_CONFIG_S_NO_CHECK_BUCKET=true",
		"RCLONE_CONFIG_S_ENDPOINT="+os.Getenv("AWS_ENDPOINT_URL"))
	const there = "backups/plain.enc"
	if _, err := b.output(b.takumi("seal", "--quiet", "-o", "s3://"+there, "--", "/bin/cat", input)...); err != nil {
		return nil, err
	}
	n, err := sizeOf(enc) // that of the other one, too
	return []*job{
		{op: "open --packed", name: ours, bytes: n, stages: [][]string{b.takumi("open", "--quiet", "--packed", "s3://"+there)}},
		{op: "open", name: ours, bytes: n, stages: [][]string{b.takumi("open", "--quiet", "s3://"+there)}},
		{op: "cat", name: "rclone", bytes: n, stages: [][]string{b.program("rclone", "cat", "s:"+there)}},
	}, err
}

func (b *bench) coreJobs() (jobs []*job, err error) {
	input, n, err := b.corpus("plain")
	if err != nil {
		return nil, err
	}
	enc, err := b.sealed(input)
	for _, count := range []int{1, int(cores())} {
		on := b.program("taskset", "-c", fmt.Sprintf("0-%d", count-1))
		name := fmt.Sprintf("%d cores", count)
		jobs = append(jobs,
			&job{op: "seal", name: name, bytes: n, stdin: input, stages: [][]string{with(on, b.takumi("seal", "--quiet", "-o", "-")...)}},
			&job{op: "open", name: name, bytes: n, stages: [][]string{with(on, b.takumi("open", "--quiet", enc)...)}},
			&job{op: "verify", name: name, bytes: n, stages: [][]string{with(on, b.takumi("verify", "--quiet", enc)...)}})
	}
	return jobs, err
}

func (b *bench) growthJobs() (jobs []*job, err error) {
	input, n, err := b.corpus("plain")
	for _, times := range []int64{1, 4, 16} {
		path := b.out("growth.enc")
		feed := b.program("sh", "-c", `for i in $(seq `+strconv.FormatInt(times, 10)+`); do head -c `+strconv.FormatInt(n/8, 10)+` "$0"; done`, input)
		name := sizeText(n / 8 * times)
		jobs = append(jobs,
			&job{op: "seal", name: name, bytes: n / 8 * times, makes: []string{path, path + ".sha256"}, stages: [][]string{feed, b.takumi("seal", "--quiet", "--guard=off", "-o", path)}},
			&job{op: "open", name: name, bytes: n / 8 * times, stages: [][]string{b.takumi("open", "--quiet", path)}})
	}
	return jobs, err
}

func (b *bench) accessJobs() ([]*job, error) {
	input, _, err := b.corpus("plain")
	if err != nil {
		return nil, err
	}
	enc, err := b.sealed(input)
	return []*job{
		{op: "first byte", name: "open", once: true, stages: [][]string{b.takumi("open", "--quiet", enc)}},
		{op: "inspect", name: "inspect", stages: [][]string{b.takumi("inspect", enc)}},
	}, err
}
