package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
)

// everyCall calls before ahead of each call of s, and fails the call when before
// does. A write that fails has written half, and nothing is synced.
func (s *system) everyCall(before func(op string) error) {
	real := *s
	or := func(op string, call func() error) error {
		if err := before(op); err != nil {
			return &fs.PathError{Op: op, Path: "x", Err: err}
		}
		return call()
	}
	s.mkdir = func(path string, m fs.FileMode) error {
		return or("mkdir", func() error { return real.mkdir(path, m) })
	}
	s.chownPath = func(path string, uid, gid int) error {
		return or("chown", func() error { return real.chownPath(path, uid, gid) })
	}
	s.chmodPath = func(path string, m fs.FileMode) error {
		return or("chmod", func() error { return real.chmodPath(path, m) })
	}
	s.renameNew = func(from, to string) error { return or("rename", func() error { return real.renameNew(from, to) }) }
	s.rename = func(from, to string) error { return or("replace", func() error { return real.rename(from, to) }) }
	s.swap = func(a, b string) error { return or("swap", func() error { return real.swap(a, b) }) }
	s.rmdir = func(path string) error { return or("rmdir", func() error { return real.rmdir(path) }) }
	s.syncTree = func(*os.File) error { return or("sync-tree", func() error { return nil }) }
	s.syncDir = func(string) error { return or("sync", func() error { return nil }) }
	s.mkdirIn = func(in *os.Root, name string, m fs.FileMode) error {
		return or("mkdir", func() error { return real.mkdirIn(in, name, m) })
	}
	s.create = func(in *os.Root, name string) (f *os.File, err error) {
		err = or("create", func() (err error) { f, err = real.create(in, name); return err })
		return f, err
	}
	s.symlink = func(in *os.Root, target, name string) error {
		return or("symlink", func() error { return real.symlink(in, target, name) })
	}
	s.link = func(in *os.Root, from, to string) error {
		return or("link", func() error { return real.link(in, from, to) })
	}
	s.mknod = func(folder int, name string, h *tar.Header) error {
		return or("mknod", func() error { return real.mknod(folder, name, h) })
	}
	s.write = func(f *os.File, p []byte, off int64) (n int, err error) {
		if err := before("write"); err != nil {
			n, _ := real.write(f, p[:len(p)/2], off)
			return n, err
		}
		return real.write(f, p, off)
	}
	s.truncate = func(f *os.File, n int64) error { return or("truncate", func() error { return real.truncate(f, n) }) }
	s.close = func(f *os.File) error { return errors.Join(or("close", func() error { return nil }), real.close(f)) }
	s.chown = func(in *os.Root, name string, uid, gid int) error {
		return or("chown", func() error { return real.chown(in, name, uid, gid) })
	}
	s.chmod = func(in *os.Root, name string, m fs.FileMode) error {
		return or("chmod", func() error { return real.chmod(in, name, m) })
	}
	s.setTime = func(folder int, name string, when unix.Timespec) error {
		return or("time", func() error { return real.setTime(folder, name, when) })
	}
	s.setAttribute = func(folder int, name string, a attribute) error {
		return or("attribute", func() error { return real.setAttribute(folder, name, a) })
	}
}

// faulty is an archive of one entry of each kind, and what making it takes for root.
func faulty(t *testing.T) (archive []byte, calls string) {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o751},
		{Name: "file", Typeflag: tar.TypeReg, Mode: 0o640, Size: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "1"}},
		{Name: "d/hole", Typeflag: tar.TypeReg, Mode: 0o640, Size: holeSize},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "file"},
		{Name: "again", Typeflag: tar.TypeLink, Linkname: "file"},
		{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o640},
	} {
		h.ModTime, h.Uid, h.Gid, h.Format = now, os.Getuid(), os.Getgid(), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		body := []byte("new")
		if h.Size == holeSize {
			body = make([]byte, holeSize)
		}
		if _, err := w.Write(body[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	calls = "create write close chown attribute chmod time mkdir create truncate close chown chmod time symlink chown time link mknod chown chmod time chown chmod time "
	if os.Geteuid() != 0 {
		calls = strings.ReplaceAll(calls, "chown ", "")
	}
	return out.Bytes(), calls
}

// TestEveryFailure lets each call of a restore fail in turn. The former folder is then
// where it was, as it was, and nothing is next to it. Without a failure, the calls are
// those that make what was restored outlive a loss of power, in their order.
func TestEveryFailure(t *testing.T) {
	archive, extracting := faulty(t)
	within := "mkdir rename sync rename rename rename rename rename chown chmod rmdir sync"
	if os.Geteuid() != 0 {
		within = strings.ReplaceAll(within, "chown ", "")
	}
	for _, tc := range []struct {
		name, commit       string
		there, filled      bool
		noSwap, noneBeside bool
	}{
		{name: "nothing there", commit: "rename sync"},
		{name: "empty", there: true, commit: "replace sync"},
		{name: "exchanged", there: true, filled: true, commit: "rename swap sync"},
		{name: "two renames", there: true, filled: true, noSwap: true, commit: "rename swap rename rename rename sync"},
		{name: "within", there: true, filled: true, noneBeside: true, commit: within},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := strings.Fields("mkdir " + extracting + "sync-tree " + tc.commit)
			if tc.noneBeside {
				want = append([]string{"mkdir"}, want...) // which is refused
			}
			for point := 0; point <= len(want); point++ {
				around := t.TempDir()
				dir := filepath.Join(around, "uploads")
				if tc.there {
					if err := os.Mkdir(dir, 0o700); err != nil {
						t.Fatal(err)
					}
				}
				if tc.filled {
					put(t, dir, "old")
				}
				before := listed(t, around)
				made, err := restoreFailing(t, dir, archive, point, tc.filled, tc.noSwap, tc.noneBeside)
				what := fmt.Sprintf("call %d, %s", point, made[min(point, len(made)-1)])
				switch after := listed(t, around); {
				case point == len(want):
					if err != nil || !slices.Equal(made, want) {
						t.Fatalf("calls\n%s\nwant\n%s\n%v", made, want, err)
					}
					holds(t, dir, "new")
				case tc.noneBeside && point == 0: // the folder is made within, as it is when that is refused
				case !errors.Is(err, syscall.EIO):
					t.Errorf("%s: %v", what, err)
				case point == len(want)-1: // all has its name
					holds(t, dir, "new")
				case after != before:
					t.Errorf("%s: there is\n%swhere there was\n%s", what, after, before)
				}
			}
		})
	}
}

// restoreFailing restores the archive to dir while call number point fails, and
// returns the calls that were made.
func restoreFailing(t *testing.T, dir string, archive []byte, point int, replace, noSwap, noneBeside bool) (made []string, err error) {
	real := sys
	defer func() { sys = real }()
	if noSwap {
		sys.swap = func(string, string) error { return errors.ErrUnsupported }
	}
	if noneBeside {
		sys.mkdir = func(path string, m fs.FileMode) error {
			if filepath.Dir(path) != dir {
				return syscall.EACCES
			}
			return real.mkdir(path, m)
		}
	}
	failed := false
	sys.everyCall(func(op string) error {
		if !failed { // what puts things right afterwards is not listed
			made = append(made, op)
		}
		if len(made)-1 == point && !failed {
			failed = true
			if noneBeside && point == 0 {
				return syscall.EACCES
			}
			return syscall.EIO
		}
		return nil
	})
	f, err := Begin(dir, Target{Replace: replace}, now)
	if err != nil {
		return made, err
	}
	_, err = Extract(t.Context(), f.Root(), bytes.NewReader(archive), Options{Special: true, NumericOwner: true})
	if err != nil {
		return made, errors.Join(err, f.Abort())
	}
	_, err = f.Commit()
	return made, err
}

// listed names everything in and under dir, with owner and mode.
func listed(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %s %d\n", strings.TrimPrefix(path, dir), info.Mode(), info.Sys().(*syscall.Stat_t).Uid)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestNoDescriptorStays: an archive of many folders leaves none of them open, whether it is
// extracted whole or breaks off.
func TestNoDescriptorStays(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what is left open
	archive, _ := faulty(t)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	before := open()
	for _, size := range []int{len(archive), len(archive) / 2} {
		into := fmt.Sprint(size)
		if err := root.Mkdir(into, 0o700); err != nil {
			t.Fatal(err)
		}
		in, err := root.OpenRoot(into)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Extract(t.Context(), in, bytes.NewReader(archive[:size]), Options{Special: true, Report: func(string, error) {}})
		in.Close()
		if (err == nil) != (size == len(archive)) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if after := open(); after != before {
			t.Errorf("%d bytes: %d descriptors before, %d after", size, before, after)
		}
	}
}

// TestEveryFailureOfAFurtherName: a file that comes under a further name, by a second
// reading, fails as any other does; and so does what cannot even be tried.
func TestEveryFailureOfAFurtherName(t *testing.T) {
	archive, _ := faulty(t)
	include, err := source.ParsePatterns([]string{"again"})
	if err != nil {
		t.Fatal(err)
	}
	real := sys
	defer func() { sys = real }()
	extract := func(point int) (calls int, err error) {
		sys = real
		sys.everyCall(func(string) error {
			if calls++; calls-1 == point {
				return syscall.EIO
			}
			return nil
		})
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_, err = Extract(t.Context(), root, bytes.NewReader(archive), Options{Include: include, NoXattrs: true, Report: func(string, error) {},
			Again: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }})
		return calls, err
	}
	calls, err := extract(-1)
	if err != nil || calls == 0 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	for point := range calls {
		if _, err := extract(point); !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d: %v", point, err)
		}
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
	if _, err := Extract(t.Context(), root, bytes.NewReader(archive), Options{}); err == nil || !strings.HasPrefix(err.Error(), "trying ") {
		t.Errorf("a folder that is gone: %v", err)
	}
}
