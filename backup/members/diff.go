package members

import (
	"archive/tar"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Sorted sorts entries by path, and keeps of several of one path the last.
func Sorted(all []*Entry) []*Entry {
	slices.SortStableFunc(all, func(a, b *Entry) int { return strings.Compare(a.Name(), b.Name()) })
	kept := all[:0]
	for i, e := range all {
		if i+1 == len(all) || all[i+1].Name() != e.Name() {
			kept = append(kept, e)
		}
	}
	return kept
}

// Folder returns what is in a folder on the disk, sorted, as an archive of it would
// have it; hard links are files. Sockets, which no archive holds, are passed over.
func Folder(dir string) ([]*Entry, error) {
	var all []*Entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSocket != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := ""
		if d.Type() == fs.ModeSymlink {
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(dir, path); err != nil {
			return err
		}
		all = append(all, entryOf(h, 0, 0))
		return nil
	})
	return Sorted(all), err
}

// Listed gives entries one after the other.
func Listed(all []*Entry) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Diff calls each for every path in which two lists, in the order of [Archive.All],
// differ, with the entries that they have of it, of which one may be nil, and with what is
// not the same: type, size, modified, mode, target. It ends with the error of a list or of
// each.
func Diff(before, after iter.Seq2[*Entry, error], each func(a, b *Entry, in []string) error) error {
	var sides [2]cursor
	for i, list := range []iter.Seq2[*Entry, error]{before, after} {
		next, stop := iter.Pull2(list)
		defer stop()
		sides[i].next = next
		if err := sides[i].advance(); err != nil {
			return err
		}
	}
	for {
		a, b := sides[0].entry, sides[1].entry
		if a == nil && b == nil {
			return nil
		}
		switch {
		case b == nil || a != nil && a.Name() < b.Name():
			b = nil
		case a == nil || b.Name() < a.Name():
			a = nil
		}
		var in []string
		if a != nil && b != nil {
			in = differ(a, b)
		}
		if a == nil || b == nil || len(in) > 0 {
			if err := each(a, b, in); err != nil {
				return err
			}
		}
		for i, e := range []*Entry{a, b} {
			if e == nil {
				continue
			}
			if err := sides[i].advance(); err != nil {
				return err
			}
		}
	}
}

// differ says in what two entries of one path differ. A hard link is a file, whose
// size another entry has.
func differ(a, b *Entry) (in []string) {
	add := func(what string, differs bool) {
		if differs {
			in = append(in, what)
		}
	}
	linked := a.Type == "h" || b.Type == "h"
	file := func(e *Entry) bool { return e.Type == "f" || e.Type == "h" }
	add("type", a.Type != b.Type && !(file(a) && file(b)))
	add("size", a.Size != b.Size && !linked)
	add("modified", !sameTime(a.MTime, b.MTime))
	add("mode", a.Mode != b.Mode && a.Type != "l")
	add("target", a.Type == "l" && b.Type == "l" && a.Target() != b.Target())
	return in
}

func sameTime(a, b int64) bool {
	const second = int64(time.Second)
	return a == b || (a%second == 0 || b%second == 0) && a/second == b/second
}
