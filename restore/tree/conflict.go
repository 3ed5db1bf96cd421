package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

type traits struct {
	folds bool // some names are one to it
	modes bool // it keeps modes
}

// alike are pairs of names that are one to some file system: case, the form of accents
// (HFS+, ZFS), dots and blanks at the end (FAT, SMB).
var alike = [][2]string{
	{".takumi-probe-é", ".TAKUMI-PROBE-É"}, {".takumi-probe-é", ".takumi-probe-e\u0301"},
	{".takumi-probe", ".takumi-probe."}, {".takumi-probe", ".takumi-probe "},
}

// KeepsModes reports whether the file system of an empty folder keeps modes.
func KeepsModes(root *os.Root) (bool, error) {
	t, err := probe(root)
	return t.modes, err
}

func probe(root *os.Root) (traits, error) {
	t := traits{modes: true}
	for _, pair := range alike {
		f, err := root.OpenFile(pair[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			if isAny(err, nameErrors) {
				continue
			}
			return t, fmt.Errorf("trying the folder to restore into: %w", bare(err))
		}
		if _, err := root.Lstat(pair[1]); err == nil {
			t.folds = true
		}
		for _, mode := range []fs.FileMode{0o600, 0o755} {
			info, err := f.Stat()
			if chmodErr := f.Chmod(mode); chmodErr == nil && err == nil {
				info, err = f.Stat()
			}
			t.modes = t.modes && err == nil && info.Mode().Perm() == mode
		}
		f.Close()
		if err := root.Remove(pair[0]); err != nil {
			return t, fmt.Errorf("trying the folder to restore into: %w", bare(err))
		}
	}
	return t, nil
}

// nameErrors are a target's errors for a name that it cannot hold.
var nameErrors = []error{unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ, unix.EPROTO}

// isOther reports whether the file of that name was made for another entry: one whose name
// is the same to the target, or was changed. The target's list does not show it, since some
// list all names in lower case.
func (x *extractor) isOther(s spot) bool {
	if !x.traits.folds && !x.Rename {
		return false
	}
	_, ours := x.made[x.names.hash(s.path)]
	return !ours
}

func (x *extractor) madeAs(s spot) {
	if x.traits.folds || x.Rename {
		x.made[x.names.hash(s.path)] = struct{}{}
	}
}

// makeRenamed makes an entry under another name, if wanted, when its own does not work.
func (x *extractor) makeRenamed(s spot, h *tar.Header, why error, make func(spot) error) (spot, error) {
	if !x.Rename {
		return s, failed("making", h, why)
	}
	was := s.name
	for n := range 1000 {
		if s.name = otherName(was, n); s.name == was {
			continue
		}
		switch err := make(s); {
		case err == nil:
			x.stats.Renamed++
			x.names.local[s.path] = s.name
			x.madeAs(s)
			x.Report(h.Name, fmt.Errorf("restored as %q: %w", path.Join(path.Dir(s.path), s.name), why))
			return s, nil
		case !errors.Is(err, fs.ErrExist):
			return s, failed("making", h, err)
		}
	}
	return s, failed("making", h, why)
}

// maxName leaves room for a number, even in UTF-16.
const maxName = 200

// otherName is the n-th substitute for a name: without characters that some file system
// forbids, and with a number before its extension.
func otherName(name string, n int) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || strings.ContainsRune(`\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	if kept := strings.TrimRight(clean, ". "); kept != clean {
		clean = kept + "_"
	}
	ext := path.Ext(clean)
	if len(ext) > 20 || ext == clean {
		ext = ""
	}
	stem := strings.TrimSuffix(clean, ext)
	for len(stem)+len(ext) > maxName {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	if n == 0 {
		return stem + ext
	}
	return fmt.Sprintf("%s~%d%s", stem, n, ext)
}
