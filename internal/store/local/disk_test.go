package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// limitedWriter is a child that may not write files beyond 64 KiB.
func limitedWriter(args []string) error {
	// As the program does; without it the runtime dies of the signal.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	_, err := save(args[0], content, store.Options{Sidecar: true})
	if !errors.Is(err, syscall.EFBIG) || !store.IsStoreFault(err) {
		return fmt.Errorf("error %v, want a store fault EFBIG", err)
	}
	return nil
}

func TestFileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	if out, err := child(t, "limit", filepath.Join(dir, "x.enc")).Output(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	wantFiles(t, dir)
}

// nobodyWriter is a child without root's power to write everywhere.
func nobodyWriter(args []string) error {
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	_, err := save(args[0], content, store.Options{Sidecar: true})
	if !errors.Is(err, fs.ErrPermission) || !store.IsStoreFault(err) {
		return fmt.Errorf("error %v, want a store fault EACCES", err)
	}
	return nil
}

func TestDeniedFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "nobody", filepath.Join(dir, "x.enc")).Output(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	wantFiles(t, dir)
}
