package members

import (
	"archive/tar"
	"io/fs"
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

// Diff calls each for every path in which two sorted lists differ, with the entries
// that they have of it, of which one may be nil, and with what is not the same: type,
// size, modified, mode, target.
func Diff(before, after []*Entry, each func(a, b *Entry, in []string)) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = strings.Compare(before[0].Name(), after[0].Name())
		}
		switch {
		case order < 0:
			each(before[0], nil, nil)
			before = before[1:]
		case order > 0:
			each(nil, after[0], nil)
			after = after[1:]
		default:
			if in := differ(before[0], after[0]); len(in) > 0 {
				each(before[0], after[0], in)
			}
			before, after = before[1:], after[1:]
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

// sameTime compares seconds where one archive keeps no more.
func sameTime(a, b int64) bool {
	const second = int64(time.Second)
	return a == b || (a%second == 0 || b%second == 0) && a/second == b/second
}
