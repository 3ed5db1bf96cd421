package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

const program = "takumi-backup"

// TestMain makes this test binary the program when it is called by the
// program's name, which is in PATH while the tests run.
func TestMain(m *testing.M) {
	// A program built for the race detector waits a second before it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	// That of the machine is not for the tests.
	config.Places = []string{cmp.Or(os.Getenv("TAKUMI_TEST_CONFIG"), "/nonexistent/backup.conf")}
	testscript.Main(suite{m}, map[string]func(){program: main, panicking: panicLater, withoutMemfd: runWithoutMemfd})
}

type suite struct{ *testing.M }

// Run runs the tests and takes away what they share.
func (s suite) Run() int {
	defer func() { os.RemoveAll(release.dir) }()
	defer s3test.Stop()
	return pgtest.Main(s.M)
}

func integration() bool { return os.Getenv(pgtest.Switch) == "1" }

// needIntegration skips a test that mounts file systems or looks into other
// processes. With the switch on it does not skip: what is missing fails.
func needIntegration(t *testing.T) {
	t.Helper()
	if !integration() {
		t.Skipf("set %s=1, as scripts/test does, to run this test", pgtest.Switch)
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems or looks into other processes: run it as root")
	}
}

var release struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// releaseBuild returns the program as users have it, without the race
// detector: for what is measured.
func releaseBuild(t *testing.T) string {
	t.Helper()
	release.once.Do(func() {
		if release.dir, release.err = os.MkdirTemp("", program); release.err != nil {
			return
		}
		release.path = filepath.Join(release.dir, program)
		if out, err := exec.Command("go", "build", "-o", release.path, ".").CombinedOutput(); err != nil {
			release.err = errors.New(string(out))
		}
	})
	if release.err != nil {
		t.Fatal(release.err)
	}
	return release.path
}

// The keys of all tests.
const (
	mainKey  = "8f1c5a0e9d2f4f1c8b7a6d5e4c3b2a19d00df00dcafe4a11b0a7f1e1d5c0ffee"
	otherKey = "17e6a1b0c94d5f8e23d7b6a90c1f4e5d6b7a8c9e0f1d2c3b4a59687786950413"
)

func keyID(t testing.TB, digits string) string {
	t.Helper()
	material, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	return string(k.ID())
}

// keyFile writes a key where no backups are.
func keyFile(t testing.TB, digits string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	writeFile(t, path, []byte(digits+"\n"))
	return path
}

// sandbox is what one run of the program has around it.
type sandbox struct {
	*testing.T
	exe string
	dir string // the working directory, where the backups go
	tmp string // TMPDIR
	log string // the folder of the audit log
	env []string
	// patience is how long a run may take before it is taken to hang.
	patience time.Duration
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	b := &sandbox{T: t, exe: program, dir: t.TempDir(), tmp: t.TempDir(), log: t.TempDir(), patience: 10 * time.Minute}
	b.env = []string{
		"PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE"), "TMPDIR=" + b.tmp,
		"BACKUP_ENCRYPTION_KEY_FILE=" + keyFile(t, mainKey), "BACKUP_ROOT=" + b.path("store"),
		"TAKUMI_AUDIT_DIR=" + b.log, "XDG_STATE_HOME=" + t.TempDir(),
	}
	return b
}

func (b *sandbox) path(name string) string { return filepath.Join(b.dir, name) }

// command returns the program, or another one, ready to start. It does not
// outlive the test, nor the patience with it.
func (b *sandbox) command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(b.Context(), b.patience)
	b.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	cmd.Cancel = func() error {
		b.Errorf("%s hangs", cmd)
		return cmd.Process.Kill()
	}
	// Whatever a child that was left behind holds open does not hold up Wait.
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (b *sandbox) program(args ...string) *exec.Cmd { return b.command(b.exe, args...) }

// running is a program that was started.
type running struct {
	b *sandbox
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

// start starts cmd and keeps what it prints, unless cmd says where it goes.
func (b *sandbox) start(cmd *exec.Cmd) *running {
	b.Helper()
	r := &running{b: b, Cmd: cmd}
	if cmd.Stdout == nil {
		cmd.Stdout = &r.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &r.stderr
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return r
}

// exits waits for the program and checks its exit code.
func (r *running) exits(want int) *running {
	r.b.Helper()
	err := r.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		r.b.Errorf("%s: %v", r.Cmd, err)
	}
	if got := r.ProcessState.ExitCode(); got != want {
		r.b.Errorf("%s: %v, want exit code %d\n%s", r.Cmd, r.ProcessState, want, r.stderr.Bytes())
	}
	return r
}

// says checks what was printed on standard error.
func (r *running) says(want string) *running {
	r.b.Helper()
	if !strings.Contains(r.stderr.String(), want) {
		r.b.Errorf("%s: standard error lacks %q:\n%s", r.Cmd, want, r.stderr.Bytes())
	}
	return r
}

// run is the program from start to end.
func (b *sandbox) run(want int, stdin io.Reader, args ...string) *running {
	b.Helper()
	cmd := b.program(args...)
	cmd.Stdin = stdin
	return b.start(cmd).exits(want)
}

// seal seals content and returns the path of the backup.
func (b *sandbox) seal(content []byte, args ...string) string {
	b.Helper()
	r := b.run(exitOK, bytes.NewReader(content), append([]string{"seal"}, args...)...)
	return strings.TrimSuffix(r.stdout.String(), "\n")
}

// opens checks that the backup at path opens to want.
func (b *sandbox) opens(path string, want []byte) {
	b.Helper()
	if got := b.run(exitOK, nil, "open", path).stdout.Bytes(); !bytes.Equal(got, want) {
		b.Errorf("%s opens to %d bytes, not to the %d that were sealed", path, len(got), len(want))
	}
}

// files lists the files under a folder, which need not exist.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// holds checks that exactly these files are in the working directory and
// under it, and that nothing was left in TMPDIR.
func (b *sandbox) holds(want ...string) {
	b.Helper()
	slices.Sort(want)
	if got := files(b, b.dir); !slices.Equal(got, want) {
		b.Errorf("the folder holds %q, want %q", got, want)
	}
	if got := files(b, b.tmp); len(got) != 0 {
		b.Errorf("TMPDIR holds %q", got)
	}
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// eventually waits until something holds that nobody announces.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after five minutes", what)
		}
	}
}

// setting sets a variable for functions of this process.
func setting(t *testing.T, name, value string) {
	t.Helper()
	before := conf
	t.Setenv(name, value)
	conf = config.Environment(os.Environ())
	t.Cleanup(func() { conf = before })
}
