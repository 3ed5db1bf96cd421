package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// contender is one way to seal a file and to open it again.
type contender struct {
	name string
	// init is run before each seal, in an empty place, outside the clock.
	init   []string
	seal   work   // reads the input, unless it packs a tree
	output string // the file or folder that seal makes
	also   string // another file that it makes
	open   work   // to standard output
}

// peerJobs are the jobs of the comparison: each contender seals the input to a
// file or repository, opens it to nowhere, and opens it to a file.
func (b *bench) peerJobs(input string) (blocks []block, err error) {
	bytes, err := sizeOf(input)
	if err != nil {
		return nil, err
	}
	want, err := hashOf(input)
	if err != nil {
		return nil, err
	}
	for _, p := range b.contenders(input) {
		opened := filepath.Join(b.scratch, "opened")
		toFile := p.open
		toFile.Stdout, toFile.Sync = opened, []string{opened}
		if b.isOurs(p.name) { // which makes, and syncs, a file by itself
			toFile = work{Stages: [][]string{append(p.open.Stages[0][:3:3], "-o", opened, p.output)}}
		}
		blocks = append(blocks, block{
			{
				key: key{Part: "peers", Op: "seal", Name: p.name, Corpus: "plain"}, bytes: bytes, work: p.seal,
				prepare: func() error {
					if err := clearAway(p.output, p.also)(); err != nil || len(p.init) == 0 {
						return err
					}
					_, err := b.output(p.init...)
					return err
				},
				after: keepSize(p.output),
			},
			{key: key{Part: "peers", Op: "open", Name: p.name, Corpus: "plain"}, bytes: bytes, work: p.open},
			{
				key: key{Part: "peers", Op: "open to file", Name: p.name, Corpus: "plain"}, bytes: bytes, work: toFile,
				check: func() error {
					got, err := hashOf(opened)
					if err == nil && got != want {
						err = errors.New("what comes out is not what went in")
					}
					return err
				},
				after: takeAway(opened),
			},
		})
	}
	return blocks, nil
}

func hashOf(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

func (b *bench) isOurs(name string) bool {
	for _, o := range b.builds {
		if o.name == name {
			return true
		}
	}
	return false
}

// stage is the command line of a program that was found.
func (b *bench) stage(argv ...string) []string {
	return append([]string{b.program(argv[0])}, argv[1:]...)
}

// contenders returns every way to seal input whose programs are there, ours
// first.
func (b *bench) contenders(input string) (found []contender) {
	for _, p := range b.builds {
		found = append(found, b.ours(p, input))
	}
	piped := func(name, output string, seal, open [][]string) {
		path := filepath.Join(b.scratch, output)
		found = append(found, contender{
			name:   name,
			output: path,
			seal:   work{Stages: seal, Stdin: input, Stdout: path, Sync: []string{path}},
			open:   work{Stages: open, Stdin: path},
		})
	}
	if b.has("zstd", "age") {
		for _, level := range []string{"-1", "-3"} {
			piped("zstd "+level+" | age", "zstd"+level+".age",
				[][]string{b.stage("zstd", level, "-T0", "-q", "-c"), b.stage("age", "-r", b.ageRecipient)},
				[][]string{b.stage("age", "-d", "-i", b.ageIdentity), b.stage("zstd", "-d", "-q", "-c")})
		}
	}
	if b.has("gzip", "gpg") {
		gpg := func(args ...string) []string {
			return append(b.stage("gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-file", b.passphrase), args...)
		}
		piped("gzip | gpg", "gz.gpg",
			[][]string{b.stage("gzip", "-c"), gpg("--symmetric", "--cipher-algo", "AES256", "--compress-algo", "none")},
			[][]string{gpg("--decrypt"), b.stage("gzip", "-d", "-c")})
	}
	if b.has("pigz", "openssl") {
		enc := func(args ...string) []string {
			return append(b.stage("openssl", "enc", "-aes-256-ctr", "-pbkdf2", "-pass", "file:"+b.passphrase), args...)
		}
		piped("pigz | openssl", "gz.ssl",
			[][]string{b.stage("pigz", "-c"), enc()},
			[][]string{enc("-d"), b.stage("pigz", "-d", "-c")})
	}
	return append(found, b.archivers(input)...)
}

// has tells whether all the programs are there, and says so once if not.
func (b *bench) has(programs ...string) bool {
	for _, p := range programs {
		if b.program(p) == "" {
			if !b.missed[p] {
				progress("%s is not installed, so what needs it is left out", p)
				b.missed[p] = true
			}
			return false
		}
	}
	return true
}

// archivers are the peers that keep a repository.
func (b *bench) archivers(input string) (found []contender) {
	if b.has("restic") {
		repo := filepath.Join(b.scratch, "restic")
		restic := func(args ...string) []string { return append(b.stage("restic", "-q", "-r", repo), args...) }
		found = append(found, contender{
			name: "restic", init: restic("init"), output: repo,
			seal: work{Stages: [][]string{restic("backup", "--stdin", "--stdin-filename", "dump")}, Stdin: input, Sync: []string{repo}},
			open: work{Stages: [][]string{restic("dump", "latest", "/dump")}},
		})
	}
	if b.has("borg") {
		// Its default, and the one nearest to ours in size.
		for _, compression := range []string{"lz4", "zstd,1"} {
			repo := filepath.Join(b.scratch, "borg-"+compression)
			found = append(found, contender{
				name: "borg " + compression, init: b.stage("borg", "init", "-e", "repokey", repo), output: repo,
				seal: work{Stages: [][]string{b.stage("borg", "create", "-C", compression, repo+"::dump", "-")}, Stdin: input, Sync: []string{repo}},
				open: work{Stages: [][]string{b.stage("borg", "extract", "--stdout", repo+"::dump")}},
			})
		}
	}
	return found
}

// ours is the contender that a build of takumi-backup is. It hashes its output
// and syncs it by itself.
func (b *bench) ours(p build, input string, flags ...string) contender {
	path := filepath.Join(b.scratch, p.name+".enc")
	return contender{
		name: p.name, output: path, also: path + ".sha256",
		seal: work{Stages: [][]string{append([]string{p.path, "seal", "--quiet", "-o", path}, flags...)}, Stdin: input},
		open: work{Stages: [][]string{{p.path, "open", "--quiet", path}}},
	}
}

// treeJobs pack a tree of files, each with the tool's own way to walk it.
func (b *bench) treeJobs() ([]block, error) {
	root := goRoot()
	n, err := sizeOf(filepath.Join(root, "src"))
	if err != nil {
		return nil, fmt.Errorf("looking at the tree of sources: %w", err)
	}
	tar := b.stage("tar", "-C", root, "-c", "src")
	var contenders []contender
	for _, p := range b.builds {
		c := b.ours(p, "")
		c.seal.Stages = append([][]string{tar}, c.seal.Stages...)
		contenders = append(contenders, c)
	}
	for _, c := range b.contenders("") {
		if c.seal.Stdout != "" {
			c.seal.Stages = append([][]string{tar}, c.seal.Stages...)
			contenders = append(contenders, c)
		}
	}
	for _, c := range b.archivers("") {
		argv := c.seal.Stages[0]
		if c.name == "restic" {
			argv = append(argv[:4:4], "backup", filepath.Join(root, "src"))
		} else {
			argv[len(argv)-1] = filepath.Join(root, "src")
		}
		c.seal.Stages[0] = argv
		contenders = append(contenders, c)
	}
	var blocks []block
	for _, c := range contenders {
		blocks = append(blocks, block{{
			key: key{Part: "tree", Op: "seal", Name: c.name, Corpus: "GOROOT/src"}, bytes: n, work: c.seal,
			prepare: func() error {
				if err := clearAway(c.output, c.also)(); err != nil || len(c.init) == 0 {
					return err
				}
				_, err := b.output(c.init...)
				return err
			},
			after: keepSize(c.output),
		}})
	}
	return blocks, nil
}

// sizeOf returns the bytes of a file, or of all files in a folder.
func sizeOf(path string) (n int64, err error) {
	err = filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}
