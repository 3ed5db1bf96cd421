package members

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

var (
	// ErrNoIndex is returned for a packed stream that has no index of an archive.
	ErrNoIndex = errors.New("the backup has no index of an archive")
	// ErrIndex is wrapped when an index and its archive contradict each other.
	ErrIndex = fail.New(fail.Damaged, "restore uploads reads the archive without its index", "the index of the backup is not that of its archive")
)

// Archive is a tar archive that has an index, or the tree that an archive of a chain
// has with the ones before it ([Archive.Join]). It is safe for concurrent use when its
// source is.
type Archive struct {
	packed *pack.ReaderAt
	index  *index.Reader
	chain  Chain
	older  []*Archive // the archives of the chain before this one, from the full one on
	needed string     // by a later one: what this one is called
}

// Indexed returns the archive that packed holds, by its index. The errors are
// ErrNoIndex, those of [index.NewReader] and those of the source.
func Indexed(packed *pack.ReaderAt) (*Archive, error) {
	var head header
	in, ok, err := index.Open(packed, "tar", &head)
	switch {
	case errors.Is(err, index.ErrOther):
		return nil, fmt.Errorf("%w: %w", ErrIndex, err)
	case err != nil:
		return nil, err
	case !ok: // or one of what this program does not know
		return nil, ErrNoIndex
	}
	if err := head.Chain.check(); err != nil {
		return nil, err
	}
	return &Archive{packed: packed, index: in, chain: head.Chain}, nil
}

// All returns what the archive holds, in the order of the paths' bytes. Of several
// entries of one path it returns the last, which is what a restore makes. An error
// ends it.
func (a *Archive) All() iter.Seq2[*Entry, error] {
	if len(a.older) > 0 {
		return a.tree()
	}
	return entries(a.index.All())
}

func entries(lines iter.Seq2[[]byte, error]) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		var held *Entry
		for line, err := range lines {
			e := new(Entry)
			if err == nil {
				err = json.Unmarshal(line, e)
			}
			if err != nil {
				yield(nil, fmt.Errorf("reading the index: %w", err))
				return
			}
			if held != nil && held.Name() != e.Name() && !yield(held, nil) {
				return
			}
			held = e
		}
		if held != nil {
			yield(held, nil)
		}
	}
}

// Find returns the entry of a path, or an error that wraps [fs.ErrNotExist].
func (a *Archive) Find(name string) (*Entry, error) {
	if name = Clean(name); len(a.older) > 0 {
		return a.findInTree(name)
	}
	return a.find(name)
}

func (a *Archive) find(name string) (*Entry, error) {
	for e, err := range entries(a.index.Range([]byte(name), []byte(name))) {
		if err != nil || e.Name() == name {
			return e, a.blame(err)
		}
	}
	return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
}

// File returns the entry of a file's path: that of the file itself for a hard link.
func (a *Archive) File(name string) (*Entry, error) {
	e, err := a.Find(name)
	for err == nil && e.Type == "h" {
		link := e
		if e, err = a.Find(e.Target()); err != nil || a.isBefore(e, link) {
			continue
		}
		if a.of(e) != a.of(link) {
			return nil, fmt.Errorf("%w: %q is a hard link to a file that is newer than the link", ErrChain, name)
		}
		e, err = a.of(link).lastBefore(link)
	}
	if err == nil && e.Type != "f" {
		return nil, fmt.Errorf("%q is not a file", name)
	}
	return e, err
}

// lastBefore returns what a hard link of the archive leads to where the archive has the
// name again after the link.
func (a *Archive) lastBefore(link *Entry) (found *Entry, err error) {
	name := link.Target()
	for line, err := range a.index.Range([]byte(name), []byte(name)) {
		if err != nil {
			return nil, a.blame(err)
		}
		e := &Entry{in: a}
		if json.Unmarshal(line, e) == nil && e.Name() == name && e.From == nil && !e.Gone && e.Offset < link.Offset {
			found = e
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: a hard link leads to what is not before it", ErrIndex)
	}
	return found, nil
}

// Part returns the entry with its header, as it is in the archive; an archive that is
// made of such parts can be read as a tar.
func (a *Archive) Part(e *Entry) (*io.SectionReader, error) {
	s, err := a.span(e)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(a.of(e), s.offset, s.length), nil
}

// ReadAt reads the content of the archive.
func (a *Archive) ReadAt(p []byte, off int64) (int, error) {
	n, err := a.packed.ReadAt(p, off)
	return n, a.blame(err)
}

// blame names the archive of a chain that is damaged: it is not the one that was asked
// for.
func (a *Archive) blame(err error) error {
	if class, _ := fail.Of(err); err == nil || a.needed == "" || class != fail.Damaged || errors.Is(err, ErrChain) {
		return err
	}
	return fmt.Errorf("%w: it needs %s: %w", ErrChain, a.needed, err)
}

type span struct{ offset, length int64 }

func (a *Archive) span(e *Entry) (span, error) {
	of := a.of(e)
	size := of.packed.Size()
	if e.Offset < 0 || e.Size < 0 || e.Offset >= size {
		return span{}, fmt.Errorf("%w: an entry is outside of it", ErrIndex)
	}
	length := e.Data - e.Offset + (e.Size+511)&^511
	if e.Data <= e.Offset { // as of sparse files, whose headers have it
		var err error
		if length, err = guard.TarSpan(bufio.NewReader(io.NewSectionReader(of, e.Offset, size-e.Offset))); err != nil {
			return span{}, misled(e, err)
		}
	}
	if length <= 0 {
		return span{}, fmt.Errorf("%w: an entry is outside of it", ErrIndex)
	}
	return span{e.Offset, min(length, size-e.Offset)}, nil
}

// misled is an ErrIndex where an archive has no entry that its index leads to. That it
// cannot be read is not a fault of the index.
func misled(e *Entry, err error) error {
	for _, wrong := range []error{tar.ErrHeader, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, wrong) {
			return fmt.Errorf("%w: at byte %d: %w", ErrIndex, e.Offset, err)
		}
	}
	if errors.As(err, new(*guard.IncompleteError)) {
		return fmt.Errorf("%w: at byte %d: %w", ErrIndex, e.Offset, err)
	}
	return err
}

func (a *Archive) of(e *Entry) *Archive {
	if e.in != nil {
		return e.in
	}
	return a
}

// Open returns the content of a file, and its header. What is read is authenticated
// chunk by chunk; that the rest of the backup is whole is not proved by it.
func (a *Archive) Open(e *Entry) (io.Reader, *tar.Header, error) {
	part, err := a.Part(e)
	if err != nil {
		return nil, nil, err
	}
	r := tar.NewReader(bufio.NewReaderSize(part, int(min(part.Size(), 1<<20))))
	h, err := r.Next()
	if err != nil {
		return nil, nil, misled(e, err)
	}
	if Clean(h.Name) != e.Name() {
		return nil, nil, fmt.Errorf("%w: %q is where %q should be", ErrIndex, h.Name, e.Name())
	}
	return r, h, nil
}

// Scan reads an archive without an index, and calls each with every entry that names
// a file, and its content. Offsets are not known. It ends with each's error.
func Scan(src io.Reader, each func(*Entry, io.Reader) error) error {
	r := tar.NewReader(src)
	for {
		h, err := r.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, src)
			return err
		}
		if err != nil {
			return err
		}
		if e := entryOf(h, 0, 0); e != nil {
			if err := each(e, r); err != nil {
				return err
			}
		}
	}
}

// Select returns a tar archive of the entries that match, and of the folders above
// them, in the order of a tree. Only what holds them is read. The error is
// ErrLength when the index does not say enough for that.
func (a *Archive) Select(match func(name string, isDir bool) bool) (io.Reader, error) {
	var chosen []*Entry
	links := make(map[string]*Entry) // the first hard link to each name
	wanted := make(map[string]bool)  // folders above what matches
	for e, err := range a.All() {
		if err != nil {
			return nil, err
		}
		if !match(e.Name(), e.Type == "d") {
			continue
		}
		chosen = append(chosen, e)
		if first := links[e.Target()]; e.Type == "h" && (first == nil || e.Offset < first.Offset) {
			links[e.Target()] = e
		}
		for name := e.Name(); name != "."; {
			name = path.Dir(name)
			wanted[name] = true
		}
	}
	for _, e := range chosen {
		if link := links[e.Name()]; link != nil && len(a.older) == 0 && !a.isBefore(e, link) {
			return nil, fmt.Errorf("%w that does for it: %q is in it again after a hard link to it", ErrNoIndex, e.Name())
		}
	}
	for name := range wanted {
		if match(name, true) {
			continue
		}
		e, err := a.Find(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // not every archive has entries of its folders
		}
		if err != nil {
			return nil, err
		}
		if e.Type == "d" {
			chosen = append(chosen, e)
		}
	}
	slices.SortFunc(chosen, func(x, y *Entry) int {
		if len(a.older) > 0 {
			return Order(x.Name(), y.Name())
		}
		return cmp.Compare(x.Offset, y.Offset)
	})
	parts := make([]io.Reader, 0, len(chosen)+1)
	for _, e := range chosen {
		part, err := a.Part(e)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	parts = append(parts, bytes.NewReader(make([]byte, 1024))) // the end of an archive
	return bufio.NewReaderSize(io.MultiReader(parts...), 64<<10), nil
}
