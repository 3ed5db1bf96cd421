//go:build unix

package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const (
	nobody = 65534
	// loadEnv makes the test binary load the key files named after the test
	// flags and print a line for each, so that a test can do so as another user.
	loadEnv = "TAKUMI_TEST_LOAD"
	// limitEnv makes it write a key file under a file-size limit, which would
	// also bind what the test program itself writes.
	limitEnv = "TAKUMI_TEST_LIMIT"
)

func TestMain(m *testing.M) {
	if paths := os.Getenv(loadEnv); paths != "" {
		for path := range strings.SplitSeq(paths, "\n") {
			if _, err := (keystore.File{Path: path}).Load(context.Background()); err != nil {
				fmt.Println(err)
			} else {
				fmt.Println("ok")
			}
		}
		os.Exit(0)
	}
	if path := os.Getenv(limitEnv); path != "" {
		writeLimited(path)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func writeLimited(path string) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ)
	err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10, Max: 10})
	if err == nil {
		var key *kek.Key
		if key, err = kek.New(canary); err == nil {
			err = keystore.WriteFile(path, key)
		}
	}
	fmt.Println(errors.Is(err, syscall.EFBIG), err)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to other users")
	}
}

// openDir returns a temporary folder that every user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loadAs loads the files as the given user and returns a line for each.
func loadAs(t *testing.T, uid uint32, paths ...string) []string {
	t.Helper()
	// The link in /proc, because the user may not enter the folder that go
	// test builds in.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), loadEnv+"="+strings.Join(paths, "\n"))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("loading as uid %d: %v", uid, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestMode(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []uint32{0o600, 0o400} {
		if _, err := (keystore.File{Path: put(t, dir, "good", canaryHex, mode)}).Load(t.Context()); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, mode := range []uint32{
		0o644, 0o640, 0o660, 0o604, 0o606, 0o602, 0o620, 0o666, 0o444, 0o440, 0o404, 0o500, 0o700, 0o755, 0o777,
		0o601, 0o610, 0o4600, 0o2600, 0o1600, 0o4400, 0o7600,
	} {
		t.Run(fmt.Sprintf("%04o", mode), func(t *testing.T) {
			path := put(t, dir, fmt.Sprintf("bad%o", mode), canaryHex, mode)
			if delivered := mode == 0o444 || mode == 0o440; delivered && inMemory(t, dir) && os.Geteuid() == 0 {
				if _, err := (keystore.File{Path: path}).Load(t.Context()); err != nil {
					t.Errorf("in memory, as root delivers it: %v", err)
				}
				return
			}
			refused(t, path, keystore.ErrRefused, fmt.Sprintf("mode is %04o", mode), "chmod 0", path)
			mended(t, path)
		})
	}
}

// mended runs the command that the refusal of path names and wants it to help.
func mended(t *testing.T, path string) {
	t.Helper()
	_, err := keystore.File{Path: path}.Load(t.Context())
	_, fix, ok := strings.Cut(err.Error(), "to fix: ")
	if !ok {
		t.Fatalf("%q names no way out", err)
	}
	cmd := exec.Command("bash", "-c", fix)
	cmd.Dir = filepath.Dir(path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", fix, err, out)
	}
	if _, err := (keystore.File{Path: path}).Load(t.Context()); err != nil {
		t.Errorf("after %q: %v", fix, err)
	}
}

// The command to paste must survive any file name.
func TestFixQuotes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a b", "it's", "$(touch oops)", "a;b", "new\nline", "tab\t'\"\\", "ümlaut", "-rf", "\x1b[2J", "\xff"} {
		t.Run(name, func(t *testing.T) {
			path := put(t, dir, name, canaryHex, 0o644)
			mended(t, path)
		})
	}
	t.Run("relative", func(t *testing.T) {
		t.Chdir(dir)
		mended(t, filepath.Base(put(t, ".", "-R", canaryHex, 0o644)))
	})
}

func TestOwner(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	give := func(name string, uid int, mode uint32) string {
		t.Helper()
		path := put(t, dir, name, canaryHex, mode)
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
		// Giving a file away takes its setuid bits.
		if err := syscall.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("root reads another's file", func(t *testing.T) {
		if _, err := (keystore.File{Path: give("others", nobody, 0o600)}).Load(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("root reads 0440 of another", func(t *testing.T) {
		refused(t, give("others440", nobody, 0o440), keystore.ErrRefused, "mode is 0440")
	})

	cases := []struct{ path, want string }{
		{give("own", nobody, 0o600), "ok"},
		{give("own400", nobody, 0o400), "ok"},
		{give("own440", nobody, 0o440), "chmod 0400 "},
		{give("own644", nobody, 0o644), "chmod 0600 "},
		{give("own4600", nobody, 0o4600), "mode is 4600"},
		{give("third", 12345, 0o644), "belongs to uid 12345"},
		{give("third600", 12345, 0o600), "do not let uid 65534 read it; to fix: chown 65534 "},
		{give("roots", 0, 0o600), "do not let uid 65534 read it"},
		{give("roots644", 0, 0o644), "mode is 0644"},
	}
	var paths []string
	for _, tc := range cases {
		paths = append(paths, tc.path)
	}
	lines := loadAs(t, nobody, paths...)
	if len(lines) != len(cases) {
		t.Fatalf("%d lines for %d files: %q", len(lines), len(cases), lines)
	}
	for i, tc := range cases {
		if !strings.Contains(lines[i], tc.want) {
			t.Errorf("%s: got %q, want %q", filepath.Base(tc.path), lines[i], tc.want)
		}
	}
}

func TestCredentialsDirectory(t *testing.T) {
	needRoot(t)
	dir, elsewhere := onDisk(t), onDisk(t)
	inside := put(t, dir, "key", canaryHex, 0o440)
	outside := put(t, elsewhere, "key", canaryHex, 0o440)

	refused(t, inside, keystore.ErrRefused, "mode is 0440", "$CREDENTIALS_DIRECTORY")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if _, err := (keystore.File{Path: inside}).Load(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Symlink(inside, filepath.Join(elsewhere, "in")); err != nil {
		t.Fatal(err)
	}
	if _, err := (keystore.File{Path: filepath.Join(elsewhere, "in")}).Load(t.Context()); err != nil {
		t.Errorf("a link into the folder: %v", err)
	}
	refused(t, outside, keystore.ErrRefused, "mode is 0440")
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(dir, "out"), keystore.ErrRefused, "mode is 0440")
	refused(t, put(t, dir, "wide", canaryHex, 0o444), keystore.ErrRefused, "mode is 0444", "chmod 0440")
	mended(t, filepath.Join(dir, "wide"))
	alien := put(t, dir, "alien", canaryHex, 0o440)
	if err := os.Chown(alien, nobody, 0); err != nil {
		t.Fatal(err)
	}
	refused(t, alien, keystore.ErrRefused, "mode is 0440")

	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Base(dir))
	t.Chdir(filepath.Dir(dir))
	refused(t, inside, keystore.ErrRefused, "mode is 0440")
}
