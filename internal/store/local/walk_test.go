package local

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

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// walked returns what Walk finds below root, and of what it complains.
func walked(t *testing.T, root string, all bool) (found, faults []string) {
	t.Helper()
	for b, err := range Walk(t.Context(), root, all) {
		if err == nil {
			found = append(found, strings.TrimPrefix(b.Path, root+"/"))
			continue
		}
		e, ok := errors.AsType[*store.Error](err)
		if !ok {
			t.Fatalf("%T, want *Error: %v", err, err)
		}
		faults = append(faults, strings.TrimPrefix(e.Path, root+"/"))
	}
	return found, faults
}

// tree makes files, folders (which end in a slash) and links (name -> target).
func tree(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		name, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		parent := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			parent = path
		}
		if err := os.MkdirAll(parent, 0o700); err != nil {
			t.Fatal(err)
		}
		switch {
		case isLink:
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		case parent != path:
			writeFile(t, path, name)
		}
	}
}

func TestWalk(t *testing.T) {
	outside := t.TempDir()
	tree(t, outside, "far.enc", "words.txt", "folder/x.enc")
	for name, tc := range map[string]struct{ tree, found, faults []string }{
		"empty": {},
		"in order, with no stranger": {
			tree: []string{"database/b.enc", "database/b.enc.sha256", "database/a.sql.zst.enc", "a.enc", "uploads/2026/u.tar.enc", "notes.txt",
				"database/.c.enc.partial", "database/.c.enc.sha256.partial", "b.enc.envelope", "lost+found/z.enc", "b.encrypted"},
			found: []string{"a.enc", "database/a.sql.zst.enc", "database/b.enc", "uploads/2026/u.tar.enc"},
		},
		"a folder that is named like a backup": {tree: []string{"d.enc/x.enc", "e.enc/"}, found: []string{"d.enc/x.enc"}},
		"a hidden name that somebody chose":    {tree: []string{".mine.enc", ".hidden/y.enc"}, found: []string{".hidden/y.enc", ".mine.enc"}},
		"links that miss nothing": {
			tree: []string{"a/x.enc", "latest.enc -> a/x.enc", "b -> a", "a/up -> ..", "words -> " + outside + "/words.txt"}, found: []string{"a/x.enc"},
		},
		"links that do": {
			tree:   []string{"a/x.enc", "far.enc -> " + outside + "/far.enc", "disk -> " + outside + "/folder", "gone -> nowhere", "odd.enc -> a/data", "a/data", "loop -> loop"},
			found:  []string{"a/x.enc"},
			faults: []string{"disk", "far.enc", "gone", "loop", "odd.enc"},
		},
		"names that are no UTF-8": {tree: []string{"\xff/\xfe.enc"}, found: []string{"\xff/\xfe.enc"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			tree(t, root, tc.tree...)
			found, faults := walked(t, root, false)
			if !slices.Equal(found, tc.found) || !slices.Equal(faults, tc.faults) {
				t.Errorf("found %q and complained of %q; want %q and %q", found, faults, tc.found, tc.faults)
			}
		})
	}
}

// TestFiles: every name, and every link that leads to a file.
func TestFiles(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	tree(t, outside, "far.enc", "words.txt", "folder/x.enc")
	tree(t, root, "a.enc", "a.enc.1", "b.old/x", ".c.enc.partial", "lost+found/z", "near -> b.old/x", "up -> b.old", "empty/",
		"far.enc -> "+outside+"/far.enc", "words -> "+outside+"/words.txt", "disk -> "+outside+"/folder", "gone -> nowhere", "zero -> /dev/zero")
	if err := syscall.Mkfifo(filepath.Join(root, "pipe.enc"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, faults := walked(t, root, true)
	if want := []string{".c.enc.partial", "a.enc", "a.enc.1", "b.old/x", "far.enc", "words"}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if want := []string{"disk", "gone", "zero"}; !slices.Equal(faults, want) {
		t.Errorf("complained of %q, want %q", faults, want)
	}
}

func TestWalkTells(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a.enc", "b.enc", "b.enc.sha256", "c.enc", "c.enc.sha256/")
	if err := syscall.Mkfifo(filepath.Join(root, "pipe.enc"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []store.Backup
	for b, err := range Walk(t.Context(), root+"//", false) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if len(all) != 3 || all[0].Sidecar || !all[1].Sidecar || all[2].Sidecar {
		t.Fatalf("got %+v; want three, of which the second has a sidecar", all)
	}
	info, err := os.Stat(filepath.Join(root, "a.enc"))
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Path != filepath.Join(root, "a.enc") || all[0].Size != info.Size() || !all[0].ModTime.Equal(info.ModTime()) {
		t.Errorf("got %+v", all[0])
	}
}

func TestWalkRoot(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "real/x.enc", "link -> real", "plain")
	if found, faults := walked(t, filepath.Join(dir, "link"), false); len(found) != 1 || found[0] != "x.enc" || faults != nil {
		t.Errorf("through a link: %q, %q", found, faults)
	}
	t.Chdir(dir)
	if found, _ := walked(t, "real", false); len(found) != 1 || found[0] != "x.enc" {
		t.Errorf("relative: %q", found)
	}
	if n, err := (&walker{ctx: t.Context(), root: dir}).names(filepath.Join(dir, "link")); err == nil {
		t.Errorf("a link in the place of a folder was followed, to %d names", len(n.order))
	}
	if err := syscall.Mkfifo("pipe", 0o600); err != nil { // to read it would wait for a writer
		t.Fatal(err)
	}
	for name, want := range map[string]error{"missing": fs.ErrNotExist, "plain": syscall.ENOTDIR, "pipe": syscall.ENOTDIR} {
		n := 0
		for _, err := range Walk(t.Context(), filepath.Join(dir, name), false) {
			n++
			if !store.IsStoreFault(err) || !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d errors", name, n)
		}
	}
}

func TestWalkEnds(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a.enc", "b.enc", "c.enc")
	for range Walk(t.Context(), root, false) {
		break
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var got []error
	for _, err := range Walk(ctx, root, false) {
		got = append(got, err)
		cancel(why)
	}
	if len(got) != 2 || got[0] != nil || got[1] != why {
		t.Errorf("got %v", got)
	}
}

// ending ends at the second question.
type ending struct {
	context.Context
	asked *int
}

func (e ending) Err() error {
	if *e.asked++; *e.asked > 1 {
		return context.Canceled
	}
	return nil
}

// TestWalkEndsInAFolder: a folder of which the names were read in part is not taken for an
// empty one.
func TestWalkEndsInAFolder(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "notes.txt")
	var got []error
	for _, err := range Walk(ending{t.Context(), new(int)}, root, false) {
		got = append(got, err)
	}
	if len(got) != 1 || !errors.Is(got[0], context.Canceled) || store.IsStoreFault(got[0]) {
		t.Errorf("got %v", got)
	}
}

// TestManyNames: those of a folder that are more than a block come in their order, each
// once, and a block is let go with its last name.
func TestManyNames(t *testing.T) {
	n, want := new(names), []string(nil)
	for i := range 3 * nameBlock / 64 {
		want = append(want, fmt.Sprintf("%064d", i*7919%3079))
		n.add(want[i], 0)
	}
	slices.Sort(want)
	root, got := t.TempDir(), []string(nil)
	w := &walker{ctx: t.Context(), root: root, all: true, yield: func(b store.Backup, err error) bool {
		got = append(got, filepath.Base(b.Path))
		return err == nil
	}}
	tree(t, root, want...)
	if !w.folder(root) || !slices.Equal(got, want) {
		t.Errorf("%d names of %d, in order: %v", len(got), len(want), slices.IsSorted(got))
	}
	s := n.sorted()
	if s.each(func(string, fs.FileMode) bool { return true }); len(s.blocks) < 3 || s.blocks[0] != "" || s.blocks[1] != "" {
		t.Errorf("%d blocks are held to the end", len(s.blocks))
	}
}
