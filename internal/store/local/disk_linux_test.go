package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestUncounted: a file system that counts no blocks is not a full one.
func TestUncounted(t *testing.T) {
	file, err := os.Open("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if n, known := free(file); known {
		t.Errorf("%d bytes are free", n)
	}
}

func TestFullDisk(t *testing.T) {
	needIntegration(t)
	dir := mountTmpfs(t, "size=1m")
	big := bytes.Repeat(content, 1+2<<20/len(content))
	_, err := save(filepath.Join(dir, "x.enc"), big, store.Options{Sidecar: true})
	if !errors.Is(err, syscall.ENOSPC) || !store.IsStoreFault(err) {
		t.Errorf("error %v, want a store fault ENOSPC", err)
	}
	wantFiles(t, dir)
}

// Everything fits but the sidecar, or the folder's last name.
func TestNearlyFullDisk(t *testing.T) {
	needIntegration(t)
	dir := mountTmpfs(t, "size=64k,nr_inodes=100")
	page := os.Getpagesize()
	for free := range 5 {
		dir := filepath.Join(dir, fmt.Sprint(free))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "x.enc")
		fill := 64<<10 - free*page
		_, err := save(path, bytes.Repeat([]byte{1}, fill), store.Options{Sidecar: true})
		if err == nil {
			checkBackup(t, path, bytes.Repeat([]byte{1}, fill))
			break
		}
		if !errors.Is(err, syscall.ENOSPC) || !store.IsStoreFault(err) {
			t.Errorf("error %v, want a store fault ENOSPC", err)
		}
		wantFiles(t, dir)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	needIntegration(t)
	dir := mountTmpfs(t, "size=8m")
	f, err := Create(filepath.Join(dir, "open.enc"), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	// An open file keeps the mount from turning read-only, so a bind mount of
	// it does.
	view := t.TempDir()
	if err := syscall.Mount(dir, view, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(view, syscall.MNT_DETACH) })
	if err := syscall.Mount("", view, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = save(filepath.Join(view, "x.enc"), content, store.Options{Sidecar: true})
	if !errors.Is(err, syscall.EROFS) || !store.IsStoreFault(err) {
		t.Errorf("error %v, want a store fault EROFS", err)
	}
	if !strings.HasPrefix(err.Error(), "create "+view) {
		t.Errorf("error %q does not say what was attempted where", err)
	}
	wantFiles(t, dir, ".open.enc.partial", ".open.enc.sha256.partial")
}
