// Package members knows what is in a tar archive, entry by entry: it makes the index
// of an archive while it is sealed ([Builder]), and finds entries by an index, or by
// reading the archive ([Archive]).
package members

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// Entry is what an archive has of one path: a line of its index (docs/FORMAT.md, "The
// index"). Times are Unix times in nanoseconds, sizes and offsets bytes of the content.
type Entry struct {
	Path   string `json:"p,omitempty"`
	Raw    []byte `json:"pb,omitempty"` // the path, where it is not UTF-8
	Type   string `json:"t"`            // f, d, l (symbolic link), h (hard link) or o
	Offset int64  `json:"o,omitempty"`  // of the header
	Data   int64  `json:"d,omitempty"`  // where the body begins
	Size   int64  `json:"n,omitempty"`
	MTime  int64  `json:"m,omitempty"`
	Mode   int64  `json:"mode,omitempty"`
	UID    int    `json:"u,omitempty"`
	GID    int    `json:"g,omitempty"`
	Link   string `json:"l,omitempty"`
	RawTo  []byte `json:"lb,omitempty"` // the link, where it is not UTF-8

	// What the state of incremental backups has too.
	CTime int64  `json:"c,omitempty"`
	Inode uint64 `json:"i,omitempty"`
	Hash  []byte `json:"hash,omitempty"`

	// In a chain, From is the number of the archive that has the bytes, where it is
	// not the index's own, and Gone says that the path went.
	From *int `json:"from,omitempty"`
	Gone bool `json:"del,omitempty"`

	in *Archive // has the bytes
}

// Name is the path of the entry, of whatever bytes; that of the tree itself is ".".
func (e *Entry) Name() string {
	if e.Path == "" {
		return string(e.Raw)
	}
	return e.Path
}

// Target is where a link leads: that of a hard link is a path of the archive.
func (e *Entry) Target() string {
	if e.Link == "" {
		return string(e.RawTo)
	}
	return e.Link
}

// Time is when the entry was modified.
func (e *Entry) Time() time.Time { return time.Unix(0, e.MTime).UTC() }

// FileMode is the type and the rights of the entry.
func (e *Entry) FileMode() fs.FileMode {
	h := tar.Header{Mode: e.Mode, Typeflag: map[string]byte{"d": tar.TypeDir, "l": tar.TypeSymlink, "o": tar.TypeFifo}[e.Type]}
	return h.FileInfo().Mode()
}

// entryOf returns the entry of a header, or nil when that names no file.
func entryOf(h *tar.Header, offset, data int64) *Entry {
	e := &Entry{Offset: offset, Data: data, Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid, Link: h.Linkname}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Type = "d"
	case 'D':
		e.Type, e.Data = "d", 0 // its body is not a file's
	case tar.TypeSymlink:
		e.Type = "l"
	case tar.TypeLink:
		e.Type, e.Link = "h", Clean(h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		e.Type = "o"
	case tar.TypeXGlobalHeader, 'V', 'N', 'M':
		return nil
	default:
		e.Type, e.Size = "f", h.Size
		if h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" {
			e.Data = 0 // its body is shorter than the file
		}
	}
	if t := h.ModTime; t.Year() > 1678 && t.Year() < 2262 && !t.Equal(time.Unix(0, 0)) { // what nanoseconds can hold
		e.MTime = t.UnixNano()
	}
	e.SetNames(Clean(h.Name), e.Link)
	return e
}

// SetNames sets the path and the link, of whatever bytes.
func (e *Entry) SetNames(name, link string) {
	e.Path, e.Raw, e.Link, e.RawTo = name, nil, link, nil
	if !utf8.ValidString(link) {
		e.Link, e.RawTo = "", []byte(link)
	}
	if !utf8.ValidString(name) {
		e.Path, e.Raw = "", []byte(name)
	}
}

// Clean is the path of what an archive names, "." for the tree itself.
func Clean(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

// noMap begins the body of a sparse file without any data (GNU.sparse.major 1).
var noMap = append([]byte("0\n"), make([]byte, 510)...)

// Builder makes the index of an archive. It is for one goroutine.
type Builder struct {
	// Chain, if it is set, is the place of the archive in a chain.
	Chain Chain

	w          *index.Writer
	name, line []byte // of the last entry
	err        error
}

// NewBuilder returns a Builder, to be closed.
func NewBuilder() (*Builder, error) {
	w, err := index.NewWriter(nil, index.Options{})
	return &Builder{w: w}, err
}

// Add takes the next entry, from the guard.
func (b *Builder) Add(e guard.TarEntry) {
	if b.err != nil {
		return
	}
	if e.Head == nil {
		b.err = errors.New("a header is too long")
		return
	}
	h, err := readHeader(e.Head)
	if err != nil {
		b.err = fmt.Errorf("a header at byte %d cannot be read alone: %w", e.Offset, err)
		return
	}
	if entry := entryOf(h, e.Offset, e.Data); entry != nil {
		b.AddEntry(entry)
	}
}

// AddEntry takes an entry that is not in the archive: what went, or what another
// archive of the chain has.
func (b *Builder) AddEntry(e *Entry) {
	if b.err != nil {
		return
	}
	b.name = append(b.name[:0], e.Name()...)
	if b.line, b.err = AppendLine(b.line[:0], e); b.err == nil {
		b.err = b.w.Add(b.name, b.line)
	}
}

// Finish returns the index of an archive of size bytes, or why there is none: it may
// be missing from a backup that is whole.
func (b *Builder) Finish(size int64) (*index.Content, error) {
	if b.err != nil {
		return nil, b.err
	}
	line, err := json.Marshal(header{Version: 1, Format: "tar", Size: size, Chain: b.Chain})
	if err != nil {
		return nil, err
	}
	if err := b.w.SetHeader(line); err != nil {
		return nil, err
	}
	return b.w.Finish()
}

// Close frees what the Builder holds.
func (b *Builder) Close() { b.w.Close() }
