package keystore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func canaryKey(t *testing.T) *kek.Key {
	t.Helper()
	key, err := kek.New(canary)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// holds checks that dir has exactly these entries.
func holds(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(names) {
		t.Fatalf("the folder holds %q, want %q", got, names)
	}
	for i := range names {
		if got[i] != names[i] {
			t.Fatalf("the folder holds %q, want %q", got, names)
		}
	}
}

func TestWriteFile(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		old := syscall.Umask(umask)
		err := keystore.WriteFile(path, canaryKey(t))
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("umask %o: %v", umask, err)
		}
		holds(t, dir, "key")
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("umask %o: mode %v", umask, info.Mode())
		}
		if text, _ := os.ReadFile(path); string(text) != canaryHex+"\n" {
			t.Errorf("umask %o: the file is not 64 lower-case digits and a newline", umask)
		}
		key, err := keystore.File{Path: path}.Load(t.Context())
		if err != nil || !bytes.Equal(key.Bytes(), canary) {
			t.Errorf("umask %o: read back %v, %v", umask, key, err)
		}
	}
}

func TestWriteFileRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := keystore.WriteFile("key", canaryKey(t)); err != nil {
		t.Fatal(err)
	}
	holds(t, ".", "key")
}

func TestWriteFileNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a-folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "b-file", "precious", 0o600)
	if err := os.Symlink("nowhere", filepath.Join(dir, "c-dangling")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b-file", filepath.Join(dir, "d-link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a-folder", "b-file", "c-dangling", "d-link"} {
		err := keystore.WriteFile(filepath.Join(dir, name), canaryKey(t))
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "a key file is never overwritten") {
			t.Errorf("%s: got %v, want fs.ErrExist", name, err)
		}
		quiet(t, err)
	}
	holds(t, dir, "a-folder", "b-file", "c-dangling", "d-link")
	if text, _ := os.ReadFile(filepath.Join(dir, "b-file")); string(text) != "precious" {
		t.Errorf("the file now holds %q", text)
	}
}

// Of many that write the same name at once, one wins and the file is its key.
func TestWriteFileRace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	var winner atomic.Pointer[kek.Key]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			key := kek.Generate()
			err := keystore.WriteFile(path, key)
			if err == nil && !winner.CompareAndSwap(nil, key) {
				t.Error("two writers succeeded")
			}
			if err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	holds(t, dir, "key")
	key, err := keystore.File{Path: path}.Load(t.Context())
	if err != nil || winner.Load() == nil || key.ID() != winner.Load().ID() {
		t.Errorf("the file is not the winner's key: %v", err)
	}
}

func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	t.Run("no folder", func(t *testing.T) {
		err := keystore.WriteFile(filepath.Join(dir, "none", "key"), canaryKey(t))
		if !errors.Is(err, fs.ErrNotExist) || err.Error() != "write key file "+dir+"/none/key: no such file or directory" {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	})
	t.Run("file-size limit", func(t *testing.T) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), limitEnv+"="+filepath.Join(dir, "key"))
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "true ") {
			t.Errorf("got %s, %v; want EFBIG", out, err)
		}
		quiet(t, errors.New(string(out)))
	})
	holds(t, dir)
}
