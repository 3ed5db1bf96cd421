//go:build unix

package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// everyCall calls before ahead of each call of s but remove, and fails the call when
// before does. A write that fails has written half.
func (s *system) everyCall(before func(op string) error) {
	real := *s
	or := func(op string, call func() error) error {
		if err := before(op); err != nil {
			return &fs.PathError{Op: op, Path: "x", Err: err}
		}
		return call()
	}
	s.create = func(dir, pattern string) (f *os.File, err error) {
		err = or("create", func() (err error) { f, err = real.create(dir, pattern); return err })
		return f, err
	}
	s.open = func(path string) (f *os.File, err error) {
		err = or("open", func() (err error) { f, err = real.open(path); return err })
		return f, err
	}
	s.chown = func(f *os.File, uid, gid int) error {
		return or("chown", func() error { return real.chown(f, uid, gid) })
	}
	s.chmod = func(f *os.File, m fs.FileMode) error { return or("chmod", func() error { return real.chmod(f, m) }) }
	s.write = func(f *os.File, p []byte) (n int, err error) {
		err = or("write", func() (err error) { n, err = real.write(f, p); return err })
		if err != nil {
			n, _ = real.write(f, p[:len(p)/2])
		}
		return n, err
	}
	s.read = func(f *os.File, p []byte) (n int, err error) {
		if err := before("read"); err != nil {
			return 0, err
		}
		return real.read(f, p)
	}
	s.sync = func(f *os.File) error { return or("sync", func() error { return real.sync(f) }) }
	s.close = func(f *os.File) error { return errors.Join(or("close", func() error { return nil }), real.close(f)) }
	s.renameNew = func(from, to string) error { return or("rename", func() error { return real.renameNew(from, to) }) }
	s.rename = func(from, to string) error { return or("replace", func() error { return real.rename(from, to) }) }
	s.syncDir = func(dir string) error { return or("sync folder", func() error { return real.syncDir(dir) }) }
}

func withSys(t *testing.T, change func(*system)) {
	t.Helper()
	old := sys
	t.Cleanup(func() { sys = old })
	change(&sys)
}

// writing is what makes a key file: synced, and read back, before it has a name.
const writing = "create chmod write sync close open read read rename sync folder"

// TestEveryFailure lets each call that writes a key fail in turn. Without a failure,
// the calls are those that make a key outlive a loss of power.
func TestEveryFailure(t *testing.T) {
	dressed := strings.Replace(writing, "write", "write chown chmod", 1)
	for _, tc := range []struct {
		name   string
		stored bool // there is a key already
		kept   bool // and under the name of a former one too
		calls  string
	}{
		{name: "new", calls: writing},
		{name: "stored", stored: true, calls: "open read read " + dressed + " " + strings.Replace(dressed, "rename", "replace", 1)},
		{name: "kept before", stored: true, kept: true,
			calls: "open read read open read read open chown chmod sync " + strings.Replace(dressed, "rename", "replace", 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			calls := strings.Count(strings.ReplaceAll(tc.calls, "sync folder", "folder"), " ") + 1
			for point := 0; point <= calls; point++ {
				failAt(t, point, calls, tc.calls, tc.stored, tc.kept)
			}
		})
	}
}

// failAt writes a key while call number point fails.
func failAt(t *testing.T, point, calls int, want string, stored, kept bool) {
	dir := t.TempDir()
	f, key, before := File{Path: filepath.Join(dir, "key")}, kek.Generate(), kek.ID("")
	there := []string{}
	if stored {
		var old *kek.Key
		f, old = keyIn(t, dir)
		before, there = old.ID(), append(there, "key")
		if kept {
			if err := WriteFile(f.former(before).Path, old); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(f.Path, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	var made []string
	real := sys
	withSys(t, func(s *system) {
		s.everyCall(func(op string) error {
			if made = append(made, op); len(made)-1 == point {
				return syscall.EIO
			}
			return nil
		})
	})
	err := error(nil)
	if stored {
		err = f.Store(t.Context(), key, before)
	} else {
		err = WriteFile(f.Path, key)
	}
	sys = real
	if point == calls {
		if got := strings.Join(made, " "); err != nil || got != want {
			t.Fatalf("calls\n%s\nwant\n%s\n%v", got, want, err)
		}
		isKey(t, f, key.ID())
		return
	}
	what := fmt.Sprintf("call %d, %s", point, made[min(point, len(made)-1)])
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("%s: %v", what, err)
		return
	}
	got := names(t, dir)
	if stored {
		got = slices.DeleteFunc(got, func(name string) bool { return name == "key."+string(before) })
	}
	if !slices.Equal(got, there) {
		t.Errorf("%s: the folder holds %q", what, got)
	}
	if stored && point == calls-1 { // the folder could not be synced when the key had its name
		isKey(t, f, key.ID())
	} else if stored {
		isKey(t, f, before)
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != ErrRefused {
			t.Errorf("%s: the error does not say that nothing was changed: %v", what, err)
		}
	}
	if info, statErr := os.Stat(f.Path); stored && (statErr != nil || info.Mode() != 0o400) {
		t.Errorf("%s: %v, %v", what, info, statErr)
	}
}

// TestNothingStaysOpen: a program that runs for long uses no more files with each key.
func TestNothingStaysOpen(t *testing.T) {
	dir := t.TempDir()
	f, key := keyIn(t, dir)
	former := key.ID()
	before := len(names(t, "/proc/self/fd"))
	for range 2 {
		next := kek.Generate()
		mustStore(t, f, next, former)
		mustStore(t, f, key, next.ID())
	}
	full := func(*os.File) error { return syscall.ENOSPC }
	withSys(t, func(s *system) { s.sync = full })
	for range 4 {
		if err := WriteFile(filepath.Join(dir, "other"), key); !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	unlock, err := f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 4 {
		if err := f.Store(ctx, key, former); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if after := len(names(t, "/proc/self/fd")); after > before+2 { // the lock, and the runtime's own
		t.Errorf("%d open files before, %d after", before, after)
	}
}

// TestLeftKeyIsTold: what cannot be removed after a failure holds a key.
func TestLeftKeyIsTold(t *testing.T) {
	dir := t.TempDir()
	withSys(t, func(s *system) {
		s.sync = func(*os.File) error { return syscall.EIO }
		s.remove = func(string) error { return syscall.EROFS }
	})
	err := WriteFile(filepath.Join(dir, "key"), kek.Generate())
	left := names(t, dir)
	if len(left) != 1 || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "a key is left in "+filepath.Join(dir, left[0])) {
		t.Errorf("%v, and the folder holds %q", err, left)
	}
}

// TestOtherBytes: a key file that reads back as another is none.
func TestOtherBytes(t *testing.T) {
	dir := t.TempDir()
	withSys(t, func(s *system) {
		s.write = func(f *os.File, p []byte) (int, error) { return f.Write(textOf(kek.Generate())) }
	})
	if err := WriteFile(filepath.Join(dir, "key"), kek.Generate()); err == nil || len(names(t, dir)) != 0 {
		t.Errorf("%v, and the folder holds %q", err, names(t, dir))
	}
}

// TestStrayClock: whether a stray is old goes by our clock, and one of the future is
// left alone.
func TestStrayClock(t *testing.T) {
	dir := t.TempDir()
	stray, err := writeTemp(dir, textOf(kek.Generate()), nil)
	if err != nil {
		t.Fatal(err)
	}
	written := modTime(stray)
	for _, tc := range []struct {
		ahead time.Duration
		stays bool
	}{{-48 * time.Hour, true}, {strayAge, true}, {strayAge + 1, false}} {
		withSys(t, func(s *system) { s.now = func() time.Time { return written.Add(tc.ahead) } })
		removeStrays(dir)
		if _, err := os.Lstat(stray); (err == nil) != tc.stays {
			t.Errorf("our clock is ahead by %v: %v", tc.ahead, err)
		}
	}
}
