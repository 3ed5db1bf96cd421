package tree

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"slices"
	"strings"

	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
)

// The types of GNU tar that package archive/tar does not know.
const (
	gnuDumpDir   = 'D' // a folder, whose body lists what it held
	gnuContinued = 'M' // the rest of a file of the volume before
	gnuOldNames  = 'N'
	gnuLabel     = 'V' // of the archive
)

// normalise reduces an entry's type to those that extraction knows. Entries without a file
// become global headers.
func (x *extractor) normalise(h *tar.Header, body io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeCont, tar.TypeGNUSparse:
		h.Typeflag = tar.TypeReg
	case tar.TypeXGlobalHeader, gnuLabel:
		h.Typeflag = tar.TypeXGlobalHeader
	case gnuOldNames:
		x.once("old names", h, "left out: it holds long names of a GNU tar before 1990, which this program does not read")
		h.Typeflag = tar.TypeXGlobalHeader
	case gnuContinued:
		return fmt.Errorf("%w: it is one volume of several, and begins inside of %q", ErrArchive, h.Name)
	case gnuDumpDir:
		list, err := io.ReadAll(io.LimitReader(body, 64<<20))
		if err != nil {
			return fmt.Errorf("%w: %q: %w", ErrArchive, h.Name, err)
		}
		h.Typeflag, h.Size = tar.TypeDir, 0
		x.sayIncrement(h, list)
	default:
		// POSIX wants it so.
		x.once(string(h.Typeflag), h, "it is of the unknown type %q, and restored as a file", h.Typeflag)
		h.Typeflag = tar.TypeReg
	}
	if list := h.PAXRecords["GNU.dumpdir"]; list != "" {
		x.sayIncrement(h, []byte(list))
	}
	return nil
}

// sayIncrement warns of the files that an incremental archive of GNU tar leaves to the one
// before: names marked N in a folder's list.
func (x *extractor) sayIncrement(h *tar.Header, list []byte) {
	n := 0
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if len(name) > 0 && name[0] == 'N' {
			n++
		}
	}
	if n > 0 {
		x.once("increment", h, "the archive is an increment of GNU tar: %d files of this folder, and maybe of others, are in an earlier one", n)
	}
}

// split cuts a path of the archive into names, none for the root.
func (x *extractor) split(h *tar.Header, path string) ([]string, error) {
	if path == "" {
		return nil, unsafef(h, "a name in it is empty")
	}
	if path[0] == '/' {
		x.once("absolute", h, "the slashes at the beginning of names are left out")
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, unsafef(h, "%q holds a zero byte", path)
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
			continue
		case "..":
			return nil, unsafef(h, "%q leads upwards", path)
		}
		names = append(names, name)
		if len(names) > source.MaxDepth {
			return nil, unsafef(h, "%v", source.ErrTooDeep)
		}
	}
	return names, nil
}

type names struct {
	local map[string]string // the name, in its folder, of what was renamed
	gone  map[string]bool   // what was left out
	// copies are what could not be made a hard link.
	copies map[string]bool

	// Without a root, entries are compared by the hashes of their paths.
	seed    maphash.Seed
	pieces  [][]uint64 // what is not a folder, in the order of the archive
	files   int        // in pieces
	folders []uint64
	parent  string // the last one in folders
	links   []link
	linked  map[int]*tar.Header // of the first links, by their place
}

// link is a hard link, by the hash of where it leads and how many files were before it.
type link struct {
	target uint64
	at     int
}

const (
	piece     = 1 << 15
	someLinks = 1 << 10
)

func newNames() *names {
	return &names{
		local: make(map[string]string), gone: make(map[string]bool), copies: make(map[string]bool), seed: maphash.MakeSeed(), linked: make(map[int]*tar.Header),
	}
}

func (n *names) leaveOut(path string) { n.gone[path] = true }

// Local returns the path below the root of a name in the archive, "" for the root itself,
// or false if it was left out.
func (s *Stats) Local(name string) (string, bool) {
	path := clean(name)
	if s.names == nil || s.names.gone[path] {
		return "", false
	}
	if len(s.names.local) == 0 {
		return path, true
	}
	return strings.Join(s.names.locals(strings.Split(path, "/")), "/"), true
}

// Copied reports whether a hard link became a copy.
func (s *Stats) Copied(name string) bool { return s.names != nil && s.names.copies[clean(name)] }

// clean is the path of a name in the archive, "" for the root.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (n *names) locals(parts []string) []string {
	if len(n.local) == 0 {
		return parts
	}
	local := slices.Clone(parts)
	for i := range parts {
		if name, ok := n.local[strings.Join(parts[:i+1], "/")]; ok {
			local[i] = name
		}
	}
	return local
}

func (n *names) hash(path string) uint64 { return maphash.String(n.seed, path) }

func (n *names) see(parts, linked []string, h *tar.Header) {
	path := strings.Join(parts, "/")
	for i := range parts[:max(len(parts)-1, 0)] {
		if parent := strings.Join(parts[:i+1], "/"); !isAbove(parent, n.parent+"/") {
			n.folder(parent)
		}
	}
	if len(parts) > 0 {
		n.parent = strings.Join(parts[:len(parts)-1], "/")
	}
	if h.Typeflag == tar.TypeDir {
		n.folder(path)
		return
	}
	if h.Typeflag == tar.TypeLink {
		n.link(link{n.hash(strings.Join(linked, "/")), n.files}, h)
	}
	if n.files%piece == 0 { // growing one slice would copy it, and hold it twice
		n.pieces = append(n.pieces, make([]uint64, 0, piece))
	}
	last := &n.pieces[len(n.pieces)-1]
	*last = append(*last, n.hash(path))
	n.files++
}

// link takes note of a hard link. Of those to one file the first counts.
func (n *names) link(l link, h *tar.Header) {
	if full := len(n.links) == cap(n.links); full && len(n.links) >= piece {
		n.sortLinks()
	}
	n.links = append(n.links, l)
	if len(n.linked) < someLinks {
		n.linked[l.at] = h
	}
}

func (n *names) sortLinks() {
	slices.SortFunc(n.links, func(a, b link) int { return cmp.Or(cmp.Compare(a.target, b.target), a.at-b.at) })
	n.links = slices.CompactFunc(n.links, func(a, b link) bool { return a.target == b.target })
}

// folder takes note of a folder. An archive may come back to one again and again.
func (n *names) folder(path string) {
	if full := len(n.folders) == cap(n.folders); full && len(n.folders) >= piece {
		n.sortFolders()
	}
	n.folders = append(n.folders, n.hash(path))
}

func (n *names) sortFolders() {
	slices.Sort(n.folders)
	n.folders = slices.Compact(n.folders)
}

func (n *names) verdict() error {
	n.sortLinks()
	n.sortFolders()
	found := make([]bool, len(n.links))
	at := 0
	for _, piece := range n.pieces {
		for _, file := range piece {
			if _, is := slices.BinarySearch(n.folders, file); is {
				return fmt.Errorf("%w: a folder and a file in it have one name", ErrArchive)
			}
			i, is := slices.BinarySearchFunc(n.links, file, func(l link, file uint64) int { return cmp.Compare(l.target, file) })
			if is && at < n.links[i].at {
				found[i] = true
			}
			at++
		}
	}
	if i := slices.Index(found, false); i >= 0 {
		if h := n.linked[n.links[i].at]; h != nil {
			return unsafef(h, "it is a hard link to %q, which is not before it in the archive", h.Linkname)
		}
		return &UnsafeError{fmt.Sprintf("number %d", n.links[i].at+1), "it is a hard link to what is not before it in the archive"}
	}
	return nil
}
