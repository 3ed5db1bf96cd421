package fsutil_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	for name, take := range map[string]func() (*fsutil.Lock, error){
		"file":   func() (*fsutil.Lock, error) { return fsutil.LockFile(filepath.Join(dir, "lock")) },
		"folder": func() (*fsutil.Lock, error) { return fsutil.LockFolder(dir) },
	} {
		l, err := take()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := take(); !errors.Is(err, fsutil.ErrHeld) {
			t.Errorf("%s, held: %v", name, err)
		}
		// A child that outlives us does not keep the lock.
		child := exec.Command("sleep", "60")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		l.Release()
		again, err := take()
		if err != nil {
			t.Errorf("%s, released: %v", name, err)
		}
		again.Release()
		child.Process.Kill()
		child.Wait()
	}
	(*fsutil.Lock)(nil).Release()
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := fsutil.LockFile(filepath.Join(dir, "none", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := fsutil.LockFolder(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if _, err := fsutil.LockFile(link); err == nil {
		t.Error("a link was followed")
	}
}
