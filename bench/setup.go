package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// currentAge is the release of age that is measured.
const currentAge = "filippo.io/age/cmd/...@v1.3.2"

func (b *bench) key(name string) string { return filepath.Join(b.scratch, "keys", name+".key") }

// program returns a command line; a program that is missing is found out when it
// is run.
func (b *bench) program(name string, args ...string) []string {
	path := filepath.Join(b.cache, "bin", name)
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath(name); err != nil {
			path = name
		}
	}
	return append([]string{path}, args...)
}

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

func (b *bench) setUp() error {
	b.env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+b.scratch, "XDG_STATE_HOME="+b.scratch,
		"BACKUP_ENCRYPTION_KEY_FILE="+b.key("takumi"), "GNUPGHOME="+b.scratch,
		"RESTIC_PASSWORD_FILE="+b.key("passphrase"), "RESTIC_CACHE_DIR="+b.out("restic-cache"),
		"BORG_PASSCOMMAND=cat "+b.key("passphrase"), "BORG_BASE_DIR="+b.out("borg-base"))
	bin := filepath.Join(b.cache, "bin")
	own, slow := filepath.Join(bin, ours), filepath.Join(bin, ours+"-noasm")
	const source = "github.com/takumi-backup/takumi-backup/cmd/takumi-backup"
	for _, build := range [][]string{
		{"go", "build", "-o", own, source},
		{"go", "build", "-tags", "noasm", "-o", slow, source},
		{"go", "install", currentAge},
	} {
		cmd := exec.Command(build[0], build[1:]...)
		cmd.Env = append(os.Environ(), "GOBIN="+bin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(build, " "), err, out)
		}
	}
	b.builds = append([]build{{name: ours, path: own}, {name: inGo, path: slow}}, b.builds...)
	for _, folder := range []string{"keys", "out"} {
		if err := os.Mkdir(filepath.Join(b.scratch, folder), 0o700); err != nil {
			return err
		}
	}
	if _, err := b.output(own, "key", "generate", "-o", b.key("takumi")); err != nil {
		return err
	}
	if err := os.WriteFile(b.key("passphrase"), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	if _, err := b.output(b.program("age-keygen", "-o", b.key("age"))...); err != nil {
		return err
	}
	var err error
	b.recipient, err = b.output(b.program("age-keygen", "-y", b.key("age"))...)
	return err
}

func (b *bench) corpus(name string) (string, int64, error) {
	c, err := corpusNamed(name)
	if err != nil {
		return "", 0, err
	}
	path, err := c.file(b.cache, int64(b.size))
	if err != nil {
		return "", 0, err
	}
	n, err := sizeOf(path)
	return path, n, err
}

func cores() float64 { return float64(runtime.NumCPU()) }

// about says what was measured on, and nothing of whose it is.
func (b *bench) about() string {
	model := runtime.GOARCH
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s. Measured on %s at commit %s, with corpora of %s.",
		model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), time.Now().UTC().Format("2006-01-02"),
		bytes.TrimSpace(commit), sizeText(int64(b.size)))
}

func (b *bench) versions() (all []string) {
	for _, argv := range [][]string{{ours, "version"}, {"age", "--version"}, {"zstd", "--version"}, {"gzip", "--version"}, {"gpg", "--version"},
		{"pigz", "--version"}, {"openssl", "version"}, {"restic", "version"}, {"borg", "--version"}, {"rclone", "--version"}, {"tar", "--version"}} {
		if out, err := b.output(b.program(argv[0], argv[1:]...)...); err == nil {
			first, _, _ := strings.Cut(out, "\n")
			all = append(all, argv[0]+" "+strings.TrimPrefix(strings.Trim(first, "* "), argv[0]+" "))
		}
	}
	return all
}

func (b *bench) tidy(command string) string {
	return strings.NewReplacer(b.scratch, "$OUT", b.cache, "$IN", goRoot(), "$GOROOT").Replace(command)
}

func sizeText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.3g GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d B", n)
}
