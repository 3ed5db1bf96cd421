package tree

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// places makes folders that no other folder can take the place of.
var places = map[string]func(t *testing.T) string{
	"mount point":         func(t *testing.T) string { return treetest.Mount(t, "tmpfs") },
	"folding mount point": func(t *testing.T) string { return treetest.Mount(t, "folding") },
	"subvolume": func(t *testing.T) string {
		dir := filepath.Join(treetest.Mount(t, "btrfs"), "sub")
		if out, err := exec.Command("btrfs", "subvolume", "create", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return dir
	},
	"folder that nothing may be made beside": func(t *testing.T) string {
		if os.Geteuid() == 0 {
			t.Skip("root may; TestPlacesAsNobody runs this test")
		}
		around := t.TempDir()
		dir := filepath.Join(around, "dir")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(around, 0o500)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(around, 0o700) })
		return dir
	},
}

func TestPlacesAsNobody(t *testing.T) {
	t.Parallel()
	treetest.AsNobody(t, "TestWithin")
}

// TestWithin: where the folder has to stay, its content is exchanged, and is back
// when that fails.
func TestWithin(t *testing.T) {
	for name, make := range places {
		t.Run(name, func(t *testing.T) {
			dir := make(t)
			noModes := name == "folding mount point"
			begin := func(replace bool) *Fresh {
				f, err := Begin(dir, Target{Replace: replace, NoModes: noModes}, now)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(f.Root().WriteFile("file", []byte("new"), 0o600), f.Root().Mkdir("sub", 0o700), f.Root().WriteFile("sub/x", nil, 0o600)); err != nil {
					t.Fatal(err)
				}
				return f
			}
			before, _ := os.Stat(dir)
			if err := os.Mkdir(filepath.Join(dir, lostAndFound), 0o700); err != nil {
				t.Fatal(err)
			}
			if name == "folder that nothing may be made beside" {
				os.Remove(filepath.Join(dir, lostAndFound)) // is nothing special there
			}
			if former, err := begin(false).Commit(); err != nil || former != "" {
				t.Fatalf("into an empty one: %q, %v", former, err)
			}
			holds(t, dir, "new")
			if _, err := Begin(dir, Target{NoModes: noModes}, now); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("not empty: %v", err)
			}
			put(t, dir, "old")
			f := begin(true)
			if err := f.Abort(); err != nil {
				t.Error(err)
			}
			holds(t, dir, "old")

			f = begin(true)
			if !noModes {
				if err := f.Root().Chmod(".", 0o750|fs.ModeSetgid); err != nil {
					t.Fatal(err)
				}
			}
			when := time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
			if err := f.Root().Chtimes(".", when, when); err != nil {
				t.Fatal(err)
			}
			former, err := f.Commit()
			if err != nil || former != filepath.Join(dir, ".before-"+stamp) {
				t.Fatalf("%q, %v", former, err)
			}
			holds(t, dir, "new")
			holds(t, former, "old")
			after, _ := os.Stat(dir)
			if !os.SameFile(before, after) || !noModes && after.Mode().Perm() != 0o750 || !after.ModTime().Equal(when) {
				t.Errorf("the folder is another, or has mode %v, of %s", after.Mode(), after.ModTime())
			}
			if entries, _ := filepath.Glob(filepath.Join(dir, ".restore-*")); len(entries) > 0 {
				t.Errorf("%q is left", entries)
			}
			if former := Former(dir); name != "folder that nothing may be made beside" && former != filepath.Join(dir, ".before-TIME") {
				t.Errorf("Former says %s", former)
			}
		})
	}
}

// TestWithinFails: when one of the entries cannot be moved, all are back.
func TestWithinFails(t *testing.T) {
	dir := treetest.Mount(t, "tmpfs")
	put(t, dir, "old")
	put(t, filepath.Join(dir, "z"), "old z")
	f := begin(t, dir, true)
	// A mount point cannot be moved, and comes last.
	inner := filepath.Join(dir, "zz")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := exec.Command("mount", "-t", "tmpfs", "tmpfs", inner)
	if out, err := mount.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("umount", inner).Run()
	if _, err := f.Commit(); err == nil {
		t.Error("no error")
	}
	holds(t, dir, "old")
	holds(t, filepath.Join(dir, "z"), "old z")
	stands(t, dir, "file", "z", "zz")
	if _, err := Begin(dir, Target{Replace: true}, now); !errors.Is(err, ErrTarget) {
		t.Errorf("beforehand: %v", err)
	}
}

// TestRoom: what does not fit is refused before anything is made.
func TestRoom(t *testing.T) {
	dir := treetest.Mount(t, "tmpfs")
	if err := CheckRoom(filepath.Join(dir, "not", "yet"), 1<<20); err != nil {
		t.Error(err)
	}
	if err := CheckRoom(filepath.Join(dir, "not", "yet"), 1<<30); !errors.Is(err, ErrRoom) {
		t.Errorf("a gigabyte into 64 MiB: %v", err)
	}
}

// TestMountBelow: what another file system is mounted in, however deep, is not replaced.
func TestMountBelow(t *testing.T) {
	at := treetest.Mount(t, "tmpfs")
	for dir := filepath.Dir(at); dir != os.TempDir(); dir = filepath.Dir(dir) {
		if _, _, err := Check(dir, true); !errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), at+"; unmount") {
			t.Errorf("%s, with %s mounted in it: %v", dir, at, err)
		}
	}
	if _, exists, err := Check(at, true); err != nil || !exists {
		t.Errorf("the mount point itself: %v, %v", exists, err)
	}
}

// TestMountedMeanwhile: what is mounted in the folder while a restore goes on does not move
// away with it.
func TestMountedMeanwhile(t *testing.T) {
	at := treetest.Mount(t, "tmpfs")
	dir := filepath.Dir(at)
	f := &Fresh{final: dir, exists: true, o: Target{Replace: true}, path: t.TempDir()}
	var err error
	if f.root, err = os.OpenRoot(f.path); err == nil {
		f.made, err = f.root.Stat(".")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(); !errors.Is(err, ErrTarget) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(at); err != nil {
		t.Error(err)
	}
}
