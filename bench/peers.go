package main

import (
	"os"
	"path/filepath"
)

// contender is one way to seal a file and to open it again.
type contender struct {
	name string
	// prepare is run before each seal, outside the clock.
	prepare [][]string
	seal    work   // reads the input
	output  string // file or folder that seal makes
	open    work   // its Stdout is set for opening to a file
}

// peers returns every contender whose programs are there, ours first, for
// input, and the names of those that are missing.
func (b *bench) peers(input string) (found []contender, missing []string) {
	add := func(c contender, programs ...string) {
		for _, p := range programs {
			if b.program(p) == "" {
				missing = append(missing, c.name+" (no "+p+")")
				return
			}
		}
		found = append(found, c)
	}
	out := func(name string) string { return filepath.Join(b.scratch, name) }
	pipe := func(stages ...[]string) [][]string {
		for i := range stages {
			stages[i] = append([]string{b.program(stages[i][0])}, stages[i][1:]...)
		}
		return stages
	}
	piped := func(name, output string, seal, open [][]string, programs ...string) {
		path := out(output)
		add(contender{
			name:   name,
			output: path,
			seal:   work{Stages: seal, Stdin: input, Stdout: path, Sync: []string{path}},
			open:   work{Stages: open, Stdin: path},
		}, programs...)
	}

	for _, p := range b.builds {
		found = append(found, b.ours(p, input))
	}
	for _, level := range []string{"-1", "-3"} {
		piped("zstd "+level+" -T0 | age", "age"+level,
			pipe([]string{"zstd", level, "-T0", "-q", "-c"}, []string{"age", "-r", b.ageRecipient}),
			pipe([]string{"age", "-d", "-i", b.ageIdentity}, []string{"zstd", "-d", "-q", "-c"}), "zstd", "age")
	}
	gpg := []string{"gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-file", b.passphrase}
	piped("gzip | gpg", "gpg",
		pipe([]string{"gzip", "-c"}, append(gpg[:len(gpg):len(gpg)], "--symmetric", "--cipher-algo", "AES256", "--compress-algo", "none")),
		pipe(append(gpg[:len(gpg):len(gpg)], "--decrypt"), []string{"gzip", "-d", "-c"}), "gzip", "gpg")
	ssl := []string{"openssl", "enc", "-aes-256-ctr", "-pbkdf2", "-pass", "file:" + b.passphrase}
	piped("pigz | openssl", "openssl",
		pipe([]string{"pigz", "-c"}, ssl),
		pipe(append(ssl[:len(ssl):len(ssl)], "-d"), []string{"pigz", "-d", "-c"}), "pigz", "openssl")

	repo := out("restic")
	add(contender{
		name:    "restic",
		prepare: [][]string{{"/bin/rm", "-rf", repo}, {b.program("restic"), "-q", "-r", repo, "init"}},
		seal:    work{Stages: pipe([]string{"restic", "-q", "-r", repo, "backup", "--stdin", "--stdin-filename", "dump"}), Stdin: input, Sync: []string{repo}},
		output:  repo,
		open:    work{Stages: pipe([]string{"restic", "-q", "-r", repo, "dump", "latest", "/dump"})},
	}, "restic")
	for _, c := range []struct{ name, compression string }{{"borg", "lz4"}, {"borg zstd,1", "zstd,1"}} {
		repo := out("borg-" + c.compression)
		add(contender{
			name:    c.name,
			prepare: [][]string{{"/bin/rm", "-rf", repo}, {b.program("borg"), "init", "-e", "repokey", repo}},
			seal:    work{Stages: pipe([]string{"borg", "create", "-C", c.compression, repo + "::dump", "-"}), Stdin: input, Sync: []string{repo}},
			output:  repo,
			open:    work{Stages: pipe([]string{"borg", "extract", "--stdout", repo + "::dump"})},
		}, "borg")
	}
	return found, missing
}

// ours is the contender that a build of takumi-backup is. It hashes its output
// and syncs it by itself.
func (b *bench) ours(p build, input string, flags ...string) contender {
	path := filepath.Join(b.scratch, filepath.Base(p.name)+".enc")
	return contender{
		name:    p.name,
		prepare: [][]string{{"/bin/rm", "-f", path, path + ".sha256"}},
		seal:    work{Stages: [][]string{append([]string{p.path, "seal", "--quiet", "-o", path}, flags...)}, Stdin: input},
		output:  path,
		open:    work{Stages: [][]string{{p.path, "open", "--quiet", path}}},
	}
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
