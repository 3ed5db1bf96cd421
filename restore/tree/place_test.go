package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

var now = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

const stamp = "20261123_020000"

// put writes DIR/file.
func put(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, dir, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(dir, "file")); string(got) != want {
		t.Errorf("%s holds %q, want %q, %v", dir, got, want, err)
	}
}

func stands(t *testing.T, around string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(around)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("there stand %q, want %q", names, want)
	}
}

func begin(t *testing.T, dir string, replace bool) *Fresh {
	t.Helper()
	f, err := Begin(dir, Target{Replace: replace}, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Root().WriteFile("file", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCommit(t *testing.T) {
	real := sys.swap
	defer func() { sys.swap = real }()
	for name, exchange := range map[string]func(a, b string) error{
		"exchange": real, "two renames": func(string, string) error { return errors.ErrUnsupported },
	} {
		t.Run(name, func(t *testing.T) {
			sys.swap = exchange
			around := t.TempDir()
			dir := filepath.Join(around, "uploads")
			// Nothing is there.
			if former, err := begin(t, dir, true).Commit(); err != nil || former != "" {
				t.Fatalf("%q, %v", former, err)
			}
			holds(t, dir, "new")
			// Something does, and two restores come in one second.
			put(t, dir, "old")
			if former, err := begin(t, dir, true).Commit(); err != nil || former != dir+".before-"+stamp {
				t.Fatalf("%q, %v", former, err)
			}
			if _, err := begin(t, dir, true).Commit(); err != nil {
				t.Fatal(err)
			}
			stands(t, around, "uploads", "uploads.before-"+stamp, "uploads.before-"+stamp+"-2")
			holds(t, dir, "new")
			holds(t, dir+".before-"+stamp, "old")
			// Only an empty folder may be replaced.
			if _, err := Begin(dir, Target{}, now); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("not empty: %v", err)
			}
			empty := filepath.Join(around, "empty")
			if err := os.Mkdir(empty, 0o755); err != nil {
				t.Fatal(err)
			}
			if former, err := begin(t, empty, false).Commit(); err != nil || former != "" {
				t.Fatalf("%q, %v", former, err)
			}
			holds(t, empty, "new")
		})
	}
}

// TestFailures: whatever fails, the former folder is where it was and nothing
// is next to it.
func TestFailures(t *testing.T) {
	real := sys
	defer func() { sys = real }()
	broken := errors.New("broken")
	for name, fail := range map[string]func(dir string, f *Fresh) error{
		"abort":    func(string, *Fresh) error { return broken },
		"sync":     func(string, *Fresh) error { sys.syncTree = func(*os.File) error { return broken }; return nil },
		"exchange": func(string, *Fresh) error { sys.swap = func(string, string) error { return broken }; return nil },
		"a folder that lets nobody in": func(_ string, f *Fresh) error {
			return errors.Join(f.Root().MkdirAll("a/b", 0o700), f.Root().Chmod("a/b", 0), f.Root().Chmod("a", 0), broken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sys = real
			around := t.TempDir()
			dir := filepath.Join(around, "uploads")
			put(t, dir, "old")
			f := begin(t, dir, true)
			if fail(dir, f) != nil {
				if err := f.Abort(); err != nil {
					t.Error(err)
				}
			} else if _, err := f.Commit(); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if err := f.Abort(); err != nil {
				t.Error(err)
			}
			if _, err := f.Commit(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Commit after the end: %v", err)
			}
			holds(t, dir, "old")
			stands(t, around, "uploads")
		})
	}
}

// TestTargetChangesMeanwhile: what came or filled up while the restore ran is
// not touched.
func TestTargetChangesMeanwhile(t *testing.T) {
	around := t.TempDir()
	came, filled := filepath.Join(around, "came"), filepath.Join(around, "filled")
	f := begin(t, came, true)
	put(t, came, "somebody else's")
	if _, err := f.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(filled, 0o755); err != nil {
		t.Fatal(err)
	}
	f = begin(t, filled, false)
	put(t, filled, "somebody else's")
	if _, err := f.Commit(); err == nil {
		t.Error("a folder that filled up is replaced")
	}
	holds(t, came, "somebody else's")
	holds(t, filled, "somebody else's")
	stands(t, around, "came", "filled")
}

func TestTargets(t *testing.T) {
	around := t.TempDir()
	put(t, filepath.Join(around, "folder"), "x")
	if err := os.Symlink("folder", filepath.Join(around, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", around + "/link", around + "/link/", around + "/folder/file"} {
		if _, err := Begin(path, Target{Replace: true}, now); !errors.Is(err, ErrTarget) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Begin(around+"/missing/x", Target{}, now); !errors.Is(err, ErrTarget) {
		t.Errorf("a parent folder that is missing: %v", err)
	} else if _, hint := fail.Of(err); !strings.HasPrefix(hint, "mkdir -p "+around+"/missing,") {
		t.Errorf("a parent folder that is missing: the hint is %q", hint)
	}
	for _, path := range []string{"/proc", around + "/missing/x", around + "/folder/file/x"} {
		if _, err := Begin(path, Target{Replace: true}, now); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	stands(t, around, "folder", "link")
}

func TestInherit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uploads")
	put(t, dir, "old")
	if err := os.Chmod(dir, 0o751|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 0, 54321); err != nil {
			t.Fatal(err)
		}
	}
	was, _ := os.Stat(dir)
	f := begin(t, dir, true)
	if err := f.Inherit(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	is, _ := os.Stat(dir)
	if is.Mode() != was.Mode() || is.Sys().(*syscall.Stat_t).Gid != was.Sys().(*syscall.Stat_t).Gid {
		t.Errorf("got %v, want %v", is.Mode(), was.Mode())
	}
}

func TestStrays(t *testing.T) {
	around := t.TempDir()
	dir := filepath.Join(around, "uploads")
	first := begin(t, dir, true)
	defer first.Abort()
	second := begin(t, dir, true)
	defer second.Abort()
	if want := []string{dir + ".restore-" + stamp}; first.Strays != nil || !slices.Equal(second.Strays, want) {
		t.Errorf("got %q and %q, want %q for the second", first.Strays, second.Strays, want)
	}
}

// TestReplaced: what somebody puts in the place of the fresh folder is neither
// restored into, nor given the final name, nor removed.
func TestReplaced(t *testing.T) {
	around := t.TempDir()
	dir, theirs := filepath.Join(around, "up"), filepath.Join(around, "theirs")
	put(t, theirs, "theirs")
	if err := os.Chmod(theirs, 0o700); err != nil { // so that only its place gives a link to it away
		t.Fatal(err)
	}
	defer func() { sys.mkdir = os.Mkdir }()
	for name, replace := range map[string]func(path string) error{
		"a link":   func(path string) error { return os.Symlink(theirs, path) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		sys.mkdir = func(path string, _ fs.FileMode) error { return replace(path) }
		if _, err := Begin(dir, Target{}, now); !errors.Is(err, ErrReplaced) {
			t.Errorf("%s, at once: %v", name, err)
		}
		path := dir + ".restore-" + stamp
		_ = os.Remove(path)
		stands(t, around, "theirs")

		sys.mkdir = os.Mkdir
		f := begin(t, dir, false)
		if err := errors.Join(os.Rename(path, path+".taken"), replace(path)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Commit(); !errors.Is(err, ErrReplaced) {
			t.Errorf("%s, later: %v", name, err)
		}
		stands(t, around, "theirs", filepath.Base(path), filepath.Base(path)+".taken")
		if err := errors.Join(os.Remove(path), os.RemoveAll(path+".taken")); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, theirs, "theirs")
}

func TestOtherName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", maxName)
	for name, want := range map[string]string{
		"a:b*c?.txt": "a_b_c_~1.txt", "tab\there": "tab_here~1", "bad\xffbyte": "bad_byte~1", "a b": "a b~1",
		"dots.. ": "dots_~1", ".profile": ".profile~1", "a." + long[:20]: "a." + long[:20] + "~1",
		"a." + long[:19]: "a~1." + long[:19], long + "n.jpg": long[4:] + "~1.jpg", long: long + "~1", long[4:] + ".jpg": long[4:] + "~1.jpg", "a\\b<c>\"d|": "a_b_c__d_~1", long[:199] + "ü": long[:199] + "~1",
	} {
		if got := otherName(name, 1); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
		if got := otherName(name, 0); got != strings.Replace(want, "~1", "", 1) {
			t.Errorf("%q becomes %q first", name, got)
		}
	}
}

// TestWithinWhatExists: where nothing may be made next to a folder, it is tried in it, and
// only if there is one.
func TestWithinWhatExists(t *testing.T) {
	defer func() { sys.mkdir = os.Mkdir }()
	dir := t.TempDir()
	for path, want := range map[string][]string{
		dir:                           {dir + ".restore-" + stamp, dir + "/.restore-" + stamp},
		filepath.Join(dir, "missing"): {filepath.Join(dir, "missing.restore-"+stamp)},
	} {
		var tried []string
		sys.mkdir = func(path string, _ fs.FileMode) error {
			tried = append(tried, path)
			return syscall.EACCES
		}
		if _, err := Begin(path, Target{}, now); !errors.Is(err, syscall.EACCES) || !slices.Equal(tried, want) {
			t.Errorf("%s: tried %q, %v", path, tried, err)
		}
	}
}
