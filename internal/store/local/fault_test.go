package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestEveryFailure lets each call that Create, Write and Commit make fail in
// turn, with leftovers of a crash to clear first and without, until a run meets
// no more call to fail.
func TestEveryFailure(t *testing.T) {
	for _, tc := range []struct {
		name   string
		opts   store.Options
		stale  bool // start with what a crash left
		link   bool // rename by link and unlink
		points int  // calls that can fail, so that none goes missing unseen
	}{
		{name: "backup", opts: store.Options{Sidecar: true}, points: 13},
		{name: "backup by link", opts: store.Options{Sidecar: true}, link: true, points: 13},
		{name: "backup after a crash", opts: store.Options{Sidecar: true}, stale: true, points: 19},
		{name: "backup in a new folder", opts: store.Options{Sidecar: true, Parents: true}, points: 14},
		{name: "plain file", points: 7},
		{name: "replacing", opts: store.Options{Replace: true}, points: 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			goroutines, fds := runtime.NumGoroutine(), openFiles(t)
			point := 0
			for failed := true; failed; point++ {
				failed = failAt(t, point, tc.opts, tc.stale, tc.link)
			}
			if point-1 != tc.points {
				t.Errorf("%d calls could fail, want %d", point-1, tc.points)
			}
			// A goroutine that was told to end may need a moment.
			for try := 0; runtime.NumGoroutine() > goroutines && try < 6000; try++ {
				time.Sleep(10 * time.Millisecond)
			}
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines are left, %d before", n, goroutines)
			}
			if n := openFiles(t); n > fds {
				t.Errorf("%d files are left open, %d before", n, fds)
			}
		})
	}
}

// failAt runs one save in which call number point fails, and reports whether
// there was such a call.
func failAt(t *testing.T, point int, opts store.Options, stale, link bool) (failed bool) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	before := []string{}
	if opts.Replace {
		writeFile(t, path, "old")
		before = append(before, "x.enc")
	}
	if opts.Parents {
		path = filepath.Join(dir, "new", "x.enc")
		before = append(before, "new")
	}
	if stale {
		writeFile(t, partialPath(path), "half")
		writeFile(t, partialPath(path+store.SidecarSuffix), "")
		writeFile(t, path+store.SidecarSuffix, sumOf(content)+"  x.enc\n")
	}
	var op string
	var rename bool
	count := -1
	real := sys
	defer func() { sys = real }()
	if link {
		sys.renameNew = fsutil.LinkNew
	}
	sys.everyCall(func(name string) error {
		count++
		if count == point {
			op = name
			return syscall.EIO
		}
		rename = rename || name == "replace"
		return nil
	})
	_, err := save(path, content, opts)
	sys = real
	if op == "" {
		if err != nil {
			t.Fatalf("nothing failed, yet: %v", err)
		}
		return false
	}
	what := fmt.Sprintf("call %d, %s", point, op)
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Err != syscall.EIO || e.Op == "" || strings.Contains(e.Path, partialSuffix) {
		t.Errorf("%s: error %v, want an *Error with EIO and the final path", what, err)
	}
	if stale {
		// What the crash left may stay as long as the writer did not come so
		// far; what must not be is a backup.
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there is a backup: %v", what, err)
		}
		if _, err := save(path, content, opts); err != nil {
			t.Errorf("%s: the next writer failed: %v", what, err)
		}
		checkBackup(t, path, content)
		wantFiles(t, dir, "x.enc", "x.enc.sha256")
		return true
	}
	wantFiles(t, dir, before...)
	if opts.Parents {
		wantFiles(t, filepath.Dir(path))
	}
	if opts.Replace {
		want := []byte("old")
		if rename {
			want = content
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
			t.Errorf("%s: the file holds %d bytes, want %d", what, len(got), len(want))
		}
	}
	return true
}

func openFiles(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	return len(list(t, "/proc/self/fd"))
}

func TestWriteErrorStays(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x.enc"), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	fail := error(syscall.ENOSPC)
	withSys(t, func(s *system) { s.everyCall(func(string) error { return fail }) })
	n, err := f.Write(content)
	if n != len(content)/2 || !errors.Is(err, syscall.ENOSPC) || !store.IsStoreFault(err) {
		t.Errorf("wrote %d, error %v; want half and a store fault ENOSPC", n, err)
	}
	fail = nil // the disk has room again, but the file has a hole
	if n, again := f.Write(content); n != 0 || again != err {
		t.Errorf("second Write: %d, %v", n, again)
	}
	if _, again := f.Commit(); again != err {
		t.Errorf("Commit: %v, want the error of the Write", again)
	}
	wantFiles(t, dir)
}

func TestFailingCleanupIsTold(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x.enc"), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	withSys(t, func(s *system) {
		s.sync = func(*os.File) error { return syscall.EIO }
		s.remove = func(string) error { return syscall.EROFS }
	})
	_, err = f.Commit()
	for _, want := range []string{"sync " + dir + "/x.enc", syscall.EIO.Error(), "remove " + dir + "/.x.enc.sha256.partial", syscall.EROFS.Error()} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := Create("/nonexistent/folder/x.enc", store.Options{})
	if want := "create /nonexistent/folder/x.enc: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if store.IsStoreFault(syscall.ENOSPC) || store.IsStoreFault(nil) {
		t.Error("what the store did not raise passes for its fault")
	}
}

// crashingWriter is the child of TestEveryCrash: it dies before call number
// args[1].
func crashingWriter(args []string) error {
	point, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	count := -1
	die := func() {
		if count++; count == point {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Minute) // the signal is on its way
		}
	}
	unlink := sys.remove
	sys.remove = func(path string) error { die(); return unlink(path) }
	sys.everyCall(func(string) error { die(); return nil })
	_, err = save(args[0], content, store.Options{Sidecar: true})
	return err
}

// TestEveryCrash kills a writer before each of its calls in turn. Whatever is
// left, no half backup is under the final name, and the next writers clear
// the rest away.
func TestEveryCrash(t *testing.T) {
	old := strayAge
	defer func() { strayAge = old }()
	strayAge = 0
	point, died := 0, true
	for ; died; point++ {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.enc")
		cmd := child(t, "crash", path, strconv.Itoa(point))
		out, err := cmd.Output()
		died = err != nil
		if died && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("point %d: %v: %s", point, err, out)
		}
		left := list(t, dir)
		whole := false
		if _, err := os.Lstat(path); err == nil {
			whole = true
			checkBackup(t, path, content)
		}
		// A writer of another name sweeps the folder.
		other := filepath.Join(dir, "y.enc")
		if _, err := save(other, nil, store.Options{Sidecar: true}); err != nil {
			t.Errorf("point %d: another writer: %v", point, err)
		}
		want := []string{"y.enc", "y.enc.sha256"}
		if whole {
			want = append(want, "x.enc", "x.enc.sha256")
		}
		wantFiles(t, dir, want...)
		// One of the same name takes it over; put back what the sweep took.
		if !whole {
			for _, name := range left {
				writeFile(t, filepath.Join(dir, name), "")
			}
			if _, err := os.Lstat(path + store.SidecarSuffix); err == nil {
				writeFile(t, path+store.SidecarSuffix, sumOf(content)+"  x.enc\n")
			}
			if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
				t.Errorf("point %d: the next writer: %v", point, err)
			}
			checkBackup(t, path, content)
			wantFiles(t, dir, append(want, "x.enc", "x.enc.sha256")...)
		}
	}
	if point < 14 {
		t.Errorf("only %d points to die at", point)
	}
}
