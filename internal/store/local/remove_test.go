package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// stored makes a backup with what can be next to it, and another one.
func stored(t *testing.T) store.Backup {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"a.enc", "b.enc"} {
		f, err := Create(filepath.Join(dir, name), store.Options{Sidecar: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "a.enc")
	if err := os.WriteFile(path+".envelope", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for b, err := range Walk(t.Context(), dir, false) {
		if err == nil && b.Path == path {
			return b
		}
	}
	t.Fatal("the walk does not find the backup")
	return store.Backup{}
}

// left lists what is in the folder of b, of which b.enc and its sidecar
// must be part.
func left(t *testing.T, b store.Backup) []string {
	t.Helper()
	names, err := listDir(filepath.Dir(b.Path))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	n := len(names) - 2
	if n < 0 || names[n] != "b.enc" || names[n+1] != "b.enc.sha256" {
		t.Fatalf("another backup is gone: %q", names)
	}
	return names[:n]
}

func TestRemove(t *testing.T) {
	b := stored(t)
	if err := Remove(b, ".envelope"); err != nil {
		t.Fatal(err)
	}
	if names := left(t, b); len(names) != 0 {
		t.Errorf("left: %q", names)
	}
	if err := Remove(b); !errors.Is(err, store.ErrChanged) {
		t.Errorf("again: %v", err)
	}
}

// TestRemoveChanged: what is there now is not what was looked at.
func TestRemoveChanged(t *testing.T) {
	for name, change := range map[string]func(b *store.Backup) error{
		"longer": func(b *store.Backup) error {
			return errors.Join(os.WriteFile(b.Path, []byte("longer"), 0o600), os.Chtimes(b.Path, b.ModTime, b.ModTime))
		},
		"younger": func(b *store.Backup) error { return os.Chtimes(b.Path, time.Unix(1, 0), time.Unix(1, 0)) },
		"a pipe": func(b *store.Backup) error {
			b.Size = 0
			return errors.Join(os.Remove(b.Path), syscall.Mkfifo(b.Path, 0o600), os.Chtimes(b.Path, b.ModTime, b.ModTime))
		},
	} {
		b := stored(t)
		if err := change(&b); err != nil {
			t.Fatal(err)
		}
		if err := Remove(b, ".envelope"); !errors.Is(err, store.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
		if names := left(t, b); len(names) != 3 {
			t.Errorf("%s: left %q", name, names)
		}
	}
}

// expiring is a context that ends when it was asked so many times.
type expiring struct {
	context.Context
	left int
}

func (e *expiring) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestReadingEnds: a context that ends while a file is read ends the reading, and no sum is
// made of a part of it.
func TestReadingEnds(t *testing.T) {
	b := stored(t)
	if err := os.WriteFile(b.Path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for asked := range 2 { // to read it, and to find its end
		if sum, err := sumOfFile(&expiring{context.Background(), asked}, b.Path); !errors.Is(err, context.Canceled) {
			t.Errorf("asked %d times: %x, %v", asked, sum, err)
		}
	}
	file, err := Folder{}.Open(&expiring{context.Background(), 1}, b.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if n, err := file.ReadAt(make([]byte, 7), 0); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := file.ReadAt(make([]byte, 7), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestPutCleansThePath: what goes next to a backup goes next to it however its path is given.
func TestPutCleansThePath(t *testing.T) {
	b := stored(t)
	if err := (Folder{}).Put(t.Context(), filepath.Dir(b.Path)+"/./a.enc/", ".keys", nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(b.Path + ".keys"); string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestPutTellsOfTheRemoval: what is not taken away is not said to be.
func TestPutTellsOfTheRemoval(t *testing.T) {
	b := stored(t)
	withSys(t, func(s *system) {
		real := s.remove
		s.remove = func(path string) error {
			if path == b.Path+".envelope" {
				return syscall.EROFS
			}
			return real(path)
		}
	})
	if err := (Folder{}).Put(t.Context(), b.Path, ".envelope", []byte{}, nil); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v", err)
	}
	if names := left(t, b); len(names) != 3 {
		t.Errorf("left: %q", names)
	}
}

// TestRemoveFails lets each call fail in turn: what is left never has a backup
// without its sidecar, and the error says whether the backup is gone.
func TestRemoveFails(t *testing.T) {
	original := sys
	defer func() { sys = original }()
	for point, want := range []struct {
		backup bool // stays
		path   string
	}{{true, "a.enc"}, {false, ""}, {false, "a.enc.sha256"}, {false, "a.enc.envelope"}} {
		b := stored(t)
		calls := 0
		failing := func() bool { calls++; return calls-1 == point }
		sys.remove = func(path string) error {
			if failing() {
				return syscall.EROFS
			}
			return original.remove(path)
		}
		sys.syncDir = func(dir string) error {
			if failing() {
				return syscall.EIO
			}
			return original.syncDir(dir)
		}
		err := Remove(b, ".envelope")
		sys = original
		fault, ok := errors.AsType[*store.Error](err)
		if !ok || fault.Path != filepath.Join(filepath.Dir(b.Path), want.path) {
			t.Errorf("call %d: %v", point, err)
		}
		names := left(t, b)
		if slices.Contains(names, "a.enc") != want.backup || want.backup && !slices.Contains(names, "a.enc.sha256") {
			t.Errorf("call %d: left %q", point, names)
		}
	}
}
