package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// childEnv makes the test binary run one of children instead of the tests.
const childEnv = "TAKUMI_STORE_CHILD"

var children = map[string]func(args []string) error{
	"crash":  crashingWriter,
	"hang":   hangingWriter,
	"limit":  limitedWriter,
	"nobody": nobodyWriter,
}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := children[name](os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// child returns the command that runs the child called name.
func child(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// needIntegration skips a test that needs root, mounts or services.
func needIntegration(t *testing.T) {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1 to run this test")
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root")
	}
}

// save writes one file in two pieces, one large enough for the goroutine.
func save(path string, content []byte, opts store.Options) (store.Result, error) {
	f, err := Create(path, opts)
	if err != nil {
		return store.Result{}, err
	}
	defer f.Abort()
	half := len(content) / 3
	for _, p := range [][]byte{content[:half], content[half:]} {
		if _, err := f.Write(p); err != nil {
			return store.Result{}, err
		}
	}
	return f.Commit()
}

// content is large enough for both ways of hashing.
var content = bytes.Repeat([]byte("sealed "), 20000)

func sumOf(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	names, err := listDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("folder holds %q, want %q", got, want)
	}
}

// checkBackup checks that path is whole and private, and its sidecar too.
func checkBackup(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes differ from the %d written", path, len(got), len(want))
	}
	line, err := os.ReadFile(path + store.SidecarSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if want := sumOf(want) + "  " + filepath.Base(path) + "\n"; string(line) != want {
		t.Errorf("sidecar %q, want %q", line, want)
	}
	for _, p := range []string{path, path + store.SidecarSuffix} {
		if info, err := os.Lstat(p); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, error %v; want a regular file of mode 0600", p, info.Mode(), err)
		}
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withSys lets a test change sys until it ends. Such tests are not parallel.
func withSys(t *testing.T, change func(*system)) {
	t.Helper()
	old := sys
	t.Cleanup(func() { sys = old })
	change(&sys)
}

// everyCall calls before ahead of each call of s but remove, and fails the call
// when before does. A write that fails has written half.
func (s *system) everyCall(before func(op string) error) {
	real := *s
	s.open = func(path string, flags int, mode fs.FileMode) (*os.File, error) {
		if err := before("open " + strings.TrimPrefix(filepath.Ext(path), ".")); err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return real.open(path, flags, mode)
	}
	s.lock = func(f *os.File) error { return cmpOr(before("lock"), func() error { return real.lock(f) }) }
	s.chmod = func(f *os.File, m fs.FileMode) error {
		return cmpOr(before("chmod"), func() error { return real.chmod(f, m) })
	}
	s.write = func(f *os.File, p []byte) (int, error) {
		if err := before("write"); err != nil {
			n, _ := real.write(f, p[:len(p)/2])
			return n, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		return real.write(f, p)
	}
	s.sync = func(f *os.File) error { return cmpOr(before("sync"), func() error { return real.sync(f) }) }
	s.renameNew = func(from, to string) error {
		return cmpOr(before("rename"), func() error { return real.renameNew(from, to) })
	}
	s.rename = func(from, to string) error {
		return cmpOr(before("replace"), func() error { return real.rename(from, to) })
	}
	s.copy = func(to, from *os.File, n int64) (int64, error) {
		if err := before("copy"); err != nil {
			n, _ := real.copy(to, from, n/2)
			return n, &fs.PathError{Op: "copy_file_range", Path: to.Name(), Err: err}
		}
		return real.copy(to, from, n)
	}
	s.syncDir = func(dir string) error { return cmpOr(before("sync folder"), func() error { return real.syncDir(dir) }) }
}

func cmpOr(err error, call func() error) error {
	if err != nil {
		return err
	}
	return call()
}
