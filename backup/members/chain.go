package members

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// MaxLinks bounds the archives of a chain.
const MaxLinks = 1 << 10

// ErrChain is wrapped when the archives of a chain do not belong together.
var ErrChain = fail.New(fail.Damaged, "bring all backups of the chain from another copy of the store, or restore the full one", "the chain is broken")

type header struct {
	Version int    `json:"v"`
	Format  string `json:"format"`
	Size    int64  `json:"size"`
	Chain
}

// Chain is the place of an archive in a chain: archive 0 is a full one, and each of
// the others has what was new or had changed since the one before it.
type Chain struct {
	ID string `json:"chain,omitempty"` // 32 random hex digits; empty without a chain
	N  int    `json:"n,omitempty"`
	// Links are the names of archives 0 to N-1, as their labels have them.
	Links []string `json:"links,omitempty"`
}

func (c Chain) check() error {
	if c.ID == "" && c.N == 0 && len(c.Links) == 0 {
		return nil
	}
	id, err := hex.DecodeString(c.ID)
	if err != nil || len(id) != 16 || c.N < 0 || c.N >= MaxLinks || len(c.Links) != c.N {
		return fmt.Errorf("%w: its index says that it is number %d of chain %q, with %d before it", ErrChain, c.N, c.ID, len(c.Links))
	}
	return nil
}

// Chain is the place of the archive in a chain.
func (a *Archive) Chain() Chain { return a.chain }

// Join gives an archive of a chain those before it, of which it has the names: it is
// the whole tree from then on. The error wraps ErrChain when they are others.
func (a *Archive) Join(older []*Archive) error {
	if len(older) != a.chain.N {
		return fmt.Errorf("%w: %d archives are before number %d", ErrChain, len(older), a.chain.N)
	}
	for n, o := range older {
		if o.chain.ID != a.chain.ID || o.chain.N != n || !slices.Equal(o.chain.Links, a.chain.Links[:n]) {
			return fmt.Errorf("%w: %s is not number %d of it", ErrChain, a.chain.Links[n], n)
		}
		o.needed = fmt.Sprintf("%s.enc, number %d", a.chain.Links[n], n)
	}
	a.older = older
	return nil
}

func (a *Archive) links() []*Archive { return append(slices.Clone(a.older), a) }

// Order compares two paths as an archive of a tree has them: a folder before what it
// holds, and the names in it by their bytes.
func Order(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return cmp.Compare(rank(a[i]), rank(b[i]))
		}
	}
	return cmp.Compare(len(a), len(b))
}

// rank sorts a slash, which ends a name, before whatever a name can have.
func rank(c byte) byte {
	if c == '/' {
		return 0
	}
	return c
}

type cursor struct {
	of    *Archive // may be nil
	entry *Entry   // nil at the end
	next  func() (*Entry, error, bool)
}

func (c *cursor) advance() error {
	e, err, more := c.next()
	if c.entry = e; !more {
		c.entry = nil
	}
	if c.of != nil {
		err = c.of.blame(err)
	}
	return err
}

// tree merges the indexes of all links: of each path the newest one counts.
func (a *Archive) tree() iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		links := a.links()
		cursors := make([]cursor, len(links))
		for n, l := range links {
			next, stop := iter.Pull2(entries(l.index.All()))
			defer stop()
			cursors[n].of, cursors[n].next = l, next
			if err := cursors[n].advance(); err != nil {
				yield(nil, err)
				return
			}
		}
		for {
			e, err := least(links, cursors)
			if err != nil {
				yield(nil, err)
				return
			}
			if e == nil || !e.Gone && !yield(e, nil) {
				return
			}
		}
	}
}

// least takes the least path off the cursors, and returns what counts of it, or nil at
// the end.
func least(links []*Archive, cursors []cursor) (*Entry, error) {
	newest := -1
	for n := range cursors {
		if e := cursors[n].entry; e != nil && (newest < 0 || strings.Compare(e.Name(), cursors[newest].entry.Name()) <= 0) {
			newest = n
		}
	}
	if newest < 0 {
		return nil, nil
	}
	e := cursors[newest].entry
	name := e.Name()
	has := func(n int) (*Entry, error) {
		if there := cursors[n].entry; there != nil && there.Name() == name {
			return there, nil
		}
		return nil, fs.ErrNotExist
	}
	e, err := resolve(links, newest, e, has)
	if err != nil {
		return nil, err
	}
	for n := range cursors {
		if there := cursors[n].entry; there != nil && there.Name() == name {
			if err := cursors[n].advance(); err != nil {
				return nil, err
			}
		}
	}
	return e, nil
}

// resolve finds the bytes of an entry that the index of archive n has.
func resolve(links []*Archive, n int, e *Entry, find func(n int) (*Entry, error)) (*Entry, error) {
	if e.in = links[n]; e.From == nil || e.Gone {
		return e, nil
	}
	from := *e.From
	if from < 0 || from >= n {
		return nil, fmt.Errorf("%w: the bytes of %q are said to be in archive %d", ErrIndex, e.Name(), from)
	}
	found, err := find(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || found.From != nil || found.Gone || found.Type != e.Type || found.Size != e.Size {
		return nil, fmt.Errorf("%w: archive %d does not have %q as archive %d says", ErrIndex, from, e.Name(), n)
	}
	found.in = links[from]
	return found, nil
}

func (a *Archive) findInTree(name string) (*Entry, error) {
	links := a.links()
	for n, l := range slices.Backward(links) {
		e, err := l.find(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if e.Gone {
			break
		}
		return resolve(links, n, e, func(n int) (*Entry, error) { return links[n].find(name) })
	}
	return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
}

// isBefore says whether a restore has made e when it comes to the hard link.
func (a *Archive) isBefore(e, link *Entry) bool {
	of, from := a.of(e), a.of(link)
	return of == from && e.Offset < link.Offset || of.chain.N < from.chain.N
}

// CheckLinks fails with ErrChain when a hard link leads to a file that a restore makes after
// it, or never.
func (a *Archive) CheckLinks() error {
	for e, err := range a.All() {
		if err != nil {
			return err
		}
		if e.Type == "h" {
			if _, err := a.File(e.Name()); errors.Is(err, ErrChain) || errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: the hard link %q leads to what a restore has not made before it", ErrChain, e.Name())
			}
		}
	}
	return nil
}

// readSize is what is asked of a store at a time where much is read in order.
const readSize = 4 << 20

// Whole returns a tar archive of the whole tree: the entries that count of each
// archive of the chain, in its order, the full one's first. A folder may come after
// what is in it, and a hard link after its file. Memory is 16 bytes an entry.
func (a *Archive) Whole() (io.Reader, error) {
	links := a.links()
	spans := make([][]span, len(links))
	for e, err := range a.All() {
		if err != nil {
			return nil, err
		}
		s, err := a.span(e)
		if err != nil {
			return nil, err
		}
		n := a.of(e).chain.N
		spans[n] = append(spans[n], s)
	}
	var parts []io.Reader
	for n, l := range links {
		slices.SortFunc(spans[n], func(a, b span) int { return cmp.Compare(a.offset, b.offset) })
		parts = append(parts, &spanReader{src: l, spans: spans[n]})
	}
	parts = append(parts, bytes.NewReader(make([]byte, 1024))) // the end of an archive
	return bufio.NewReaderSize(io.MultiReader(parts...), readSize), nil
}

// spanReader reads parts of an archive, those that are next to each other as one.
type spanReader struct {
	src   io.ReaderAt
	spans []span
}

func (r *spanReader) Read(p []byte) (int, error) {
	if len(r.spans) == 0 {
		return 0, io.EOF
	}
	s := r.spans[0]
	used := 1
	for s.length < int64(len(p)) && used < len(r.spans) && r.spans[used].offset == s.offset+s.length {
		s.length += r.spans[used].length
		used++
	}
	n, err := r.src.ReadAt(p[:min(int64(len(p)), s.length)], s.offset)
	if n > 0 {
		err = nil // it comes again
	}
	r.spans = r.spans[used-1:]
	r.spans[0] = span{s.offset + int64(n), s.length - int64(n)}
	if r.spans[0].length == 0 {
		r.spans = r.spans[1:]
	}
	return n, err
}
