package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// put writes a file of the given mode, whatever the umask, and returns its path.
func put(t *testing.T, dir, name, text string, mode uint32) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Not os.Chmod, which has its own idea of setuid bits.
	if err := syscall.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// refused checks that loading path fails as it should and says what it should.
func refused(t *testing.T, path string, kind error, want ...string) {
	t.Helper()
	key, err := keystore.File{Path: path}.Load(t.Context())
	var e *keystore.Error
	if key != nil || !errors.As(err, &e) || !errors.Is(err, kind) {
		t.Fatalf("got %v, %v; want no key and an *Error of kind %q", key, err, kind)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	quiet(t, err)
}

func TestContent(t *testing.T) {
	mixed := strings.ToUpper(canaryHex[:32]) + canaryHex[32:]
	for name, text := range map[string]string{
		"lower case":       canaryHex + "\n",
		"no newline":       canaryHex,
		"upper case":       strings.ToUpper(canaryHex) + "\n",
		"mixed case":       mixed,
		"mixed, newlined":  mixed + "\n",
		"two newlines":     canaryHex + "\n\n",
		"CR LF":            canaryHex + "\r\n",
		"CR":               canaryHex + "\r",
		"leading blank":    " " + canaryHex,
		"trailing blanks":  canaryHex + " \t\n",
		"byte order mark":  "\xef\xbb\xbf" + canaryHex,
		"mark and CR LF":   "\xef\xbb\xbf" + canaryHex + "\r\n",
		"an empty line":    "\n" + canaryHex,
		"many blank lines": canaryHex + strings.Repeat("\n", 300),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := keystore.File{Path: put(t, t.TempDir(), "key", text, 0o600)}.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(key.Bytes(), canary) {
				t.Error("not the key that the file holds")
			}
		})
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":         {"", "it is empty"},
		"newline only":  {"\n", "0 hex digits"},
		"63 digits":     {canaryHex[:63], "63 hex digits"},
		"63, newlines":  {canaryHex[:63] + "\n\n", "63 hex digits"},
		"65 digits":     {canaryHex + "a", "65 hex digits"},
		"128 digits":    {canaryHex + canaryHex, "more than 64"},
		"two keys":      {canaryHex + "\n" + canaryHex, "several lines"},
		"not hex":       {canaryHex[:40] + "g" + canaryHex[41:], "character 41 "},
		"NUL":           {canaryHex[:63] + "\x00", "character 64 "},
		"NUL after all": {canaryHex + "\x00", "character 65 "},
		"zeros":         {strings.Repeat("0", 64), "never random"},
		"all a5":        {strings.Repeat("a5", 32) + "\n", "never random"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, put(t, t.TempDir(), "key", tc.text, 0o600), keystore.ErrRefused, tc.want)
		})
	}
}

func TestUniformKeepsItsError(t *testing.T) {
	_, err := keystore.File{Path: put(t, t.TempDir(), "key", strings.Repeat("ff", 32), 0o600)}.Load(t.Context())
	if !errors.Is(err, kek.ErrUniform) {
		t.Errorf("got %v, want kek.ErrUniform", err)
	}
}

func TestHugeFile(t *testing.T) {
	path := put(t, t.TempDir(), "key", canaryHex, 0o600)
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	allocated := testing.AllocsPerRun(1, func() { refused(t, path, keystore.ErrRefused, "more than 64") })
	if allocated > 1000 {
		t.Errorf("%v allocations for a file that is too long", allocated)
	}
}

func TestOpensslKey(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	path := filepath.Join(t.TempDir(), "key")
	cmd := exec.Command("sh", "-c", `umask 077; "$1" rand -hex 32 > "$2"`, "sh", openssl, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := (keystore.File{Path: path}).Load(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	t.Run("missing", func(t *testing.T) { refused(t, dir+"/none", keystore.ErrNotFound, "no such file") })
	t.Run("file as folder", func(t *testing.T) {
		refused(t, put(t, dir, "plain", canaryHex, 0o600)+"/key", keystore.ErrNotFound)
	})
	t.Run("folder", func(t *testing.T) { refused(t, dir, keystore.ErrRefused, "a folder") })
	t.Run("device", func(t *testing.T) { refused(t, "/dev/zero", keystore.ErrRefused, "a device") })
	t.Run("empty path", func(t *testing.T) { refused(t, "", keystore.ErrNotFound) })
	t.Run("NUL", func(t *testing.T) { refused(t, dir+"/a\x00b", keystore.ErrRefused) })
	t.Run("socket", func(t *testing.T) {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: dir + "/sock"}); err != nil {
			t.Fatal(err)
		}
		refused(t, dir+"/sock", keystore.ErrRefused, "a socket")
	})
}

func TestSymlinks(t *testing.T) {
	dir := t.TempDir()
	good := put(t, dir, "good", canaryHex, 0o600)
	open := put(t, dir, "open", canaryHex, 0o644)
	link := func(target, name string) string {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	for name, path := range map[string]string{
		"to a good file": link(good, "l1"),
		"relative":       link("good", "l2"),
		"two hops":       link("l2", "l3"),
		"folder":         filepath.Join(link(".", "here"), "good"),
	} {
		if _, err := (keystore.File{Path: path}).Load(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Run("to an open file", func(t *testing.T) { refused(t, link(open, "l4"), keystore.ErrRefused, "mode is 0644") })
	t.Run("to a folder", func(t *testing.T) { refused(t, link(dir, "l5"), keystore.ErrRefused, "a folder") })
	t.Run("dangling", func(t *testing.T) {
		refused(t, link("nowhere", "l6"), keystore.ErrNotFound, "symbolic link to a file that does not exist")
	})
	t.Run("loop", func(t *testing.T) { refused(t, link("l7", "l7"), keystore.ErrRefused, "symbolic links") })
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := keystore.File{Path: put(t, t.TempDir(), "key", canaryHex, 0o600)}.Load(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
