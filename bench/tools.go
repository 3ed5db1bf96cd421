package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// currentAge is the release of age that is measured beside the installed one.
const currentAge = "filippo.io/age/cmd/age@v1.3.2"

// build is a build of takumi-backup.
type build struct{ name, path string }

// bench is what all measurements share.
type bench struct {
	cache    string // corpora and built programs; kept
	scratch  string // what is being measured; removed in the end
	env      []string
	profiles string // folder for profiles of what runs in process, or ""
	builds   []build
	ages     map[string]string // every age that is there, by version
	found    map[string]string // programs looked up already
	missed   map[string]bool   // programs whose lack was told

	key                       string // the key file of takumi-backup
	ageRecipient, ageIdentity string
	passphrase                string // a file
}

// program returns the path of a program, or "".
func (b *bench) program(name string) string {
	path, known := b.found[name]
	if !known {
		path, _ = exec.LookPath(name)
		b.found[name] = path
	}
	return path
}

// output runs a program and returns what it prints, trimmed.
func (b *bench) output(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = b.env
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, bytes.TrimSpace(complaints.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// setUp makes the folders, keys and programs that measuring needs.
func (b *bench) setUp() error {
	b.found, b.missed = make(map[string]string), make(map[string]bool)
	for _, dir := range []string{b.cache, filepath.Join(b.cache, "bin")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var err error
	if b.scratch, err = os.MkdirTemp(b.cache, "run-"); err != nil {
		return err
	}
	keys := filepath.Join(b.cache, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return err
	}
	b.key = filepath.Join(keys, "takumi.key")
	b.passphrase = filepath.Join(keys, "passphrase")
	b.ageIdentity = filepath.Join(keys, "age.key")
	b.env = append(keep(os.Environ(), "PATH", "LANG", "GOROOT", "GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOSUMDB", "GOTOOLCHAIN", "GODEBUG", "GOGC", "GOMAXPROCS"),
		"LC_ALL=C.UTF-8", "HOME="+b.scratch,
		"BACKUP_ENCRYPTION_KEY_FILE="+b.key,
		"GNUPGHOME="+b.scratch,
		"RESTIC_PASSWORD_FILE="+b.passphrase, "RESTIC_CACHE_DIR="+filepath.Join(b.scratch, "restic-cache"),
		"BORG_PASSCOMMAND=cat "+b.passphrase, "BORG_BASE_DIR="+filepath.Join(b.scratch, "borg-base"))
	if err := b.buildOurs(); err != nil {
		return err
	}
	if _, err := os.Stat(b.key); err != nil {
		if _, err := b.output(b.builds[0].path, "key", "generate", "-o", b.key); err != nil {
			return err
		}
	}
	if err := writeOnce(b.passphrase, hex.EncodeToString(randomBytes(16))+"\n"); err != nil {
		return err
	}
	return b.setUpAge()
}

// keep returns the variables of an environment that have one of the names.
func keep(env []string, names ...string) (kept []string) {
	for _, v := range env {
		for _, name := range names {
			if strings.HasPrefix(v, name+"=") {
				kept = append(kept, v)
			}
		}
	}
	return kept
}

func writeOnce(path, text string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// buildOurs builds the takumi-backup of this checkout, before any other build
// that was named.
func (b *bench) buildOurs() error {
	path := filepath.Join(b.cache, "bin", "takumi-backup")
	cmd := exec.Command("go", "build", "-o", path, "github.com/takumi-backup/takumi-backup/cmd/takumi-backup")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building takumi-backup: %w\n%s", err, out)
	}
	b.builds = append([]build{{programName, path}}, b.builds...)
	return nil
}

// setUpAge finds the installed age, builds the current one, and makes a key
// pair. Which of the two is faster is found out by measuring (fasterAge).
func (b *bench) setUpAge() error {
	b.ages = make(map[string]string)
	bin := filepath.Join(b.cache, "bin")
	current := filepath.Join(bin, "age")
	if _, err := os.Stat(current); err != nil {
		progress("building %s", currentAge)
		cmd := exec.Command("go", "install", currentAge)
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			progress("%s cannot be built, so only an installed age is measured: %s", currentAge, bytes.TrimSpace(out))
		}
	}
	for _, path := range []string{current, b.program("age")} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		version, err := b.output(path, "--version")
		if err != nil {
			return err
		}
		if _, known := b.ages[version]; !known {
			b.ages[version] = path
			b.found["age"] = path // one of them, until they are compared
		}
	}
	if len(b.ages) == 0 {
		return nil
	}
	keygen := filepath.Join(bin, "age-keygen")
	if b.program("age-keygen") != "" {
		keygen = b.program("age-keygen")
	}
	if _, err := os.Stat(b.ageIdentity); err != nil {
		if _, err := b.output(keygen, "-o", b.ageIdentity); err != nil {
			return err
		}
	}
	recipient, err := b.output(keygen, "-y", b.ageIdentity)
	b.ageRecipient = recipient
	return err
}

// fasterAge measures every age that is there, in turns, and makes the fastest
// the one that the peers use.
func (b *bench) fasterAge(input string, rounds int) error {
	if len(b.ages) < 2 {
		return nil
	}
	times := make(map[string][]float64)
	for range rounds {
		for version, path := range b.ages {
			out := filepath.Join(b.scratch, "age-probe")
			s, err := work{Stages: [][]string{{path, "-r", b.ageRecipient}}, Stdin: input, Stdout: out}.run(b.env)
			if err != nil {
				return err
			}
			times[version] = append(times[version], s.Seconds)
			os.Remove(out)
		}
	}
	best := ""
	for version := range times {
		if best == "" || median(times[version]) < median(times[best]) {
			best = version
		}
	}
	for version := range times {
		progress("age %s seals %s in %.2f s", version, filepath.Base(input), median(times[version]))
	}
	progress("taking age %s", best)
	b.found["age"] = b.ages[best]
	return nil
}
