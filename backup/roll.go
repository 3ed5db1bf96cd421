package backup

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Roll is a compact list of backups for stores of any size: about 75 bytes and the file
// name for each, where a [Backup] takes some hundred. Common parts, such as folders and
// keys, are held once. It is not safe for concurrent use.
type Roll struct {
	rows    [][]row // blocks, which do not move when the list grows
	text    strings.Builder
	names   []string
	etags   []string
	order   []uint32 // nil: as they were added
	shapes  []shape
	shapeOf map[string]uint32
	faults  []fault
	faultOf map[string]uint32
}

const blockRows, blockText = 1 << 12, 1 << 16

type row struct {
	base             string // of the path
	created          int64  // seconds: envelopes have no more
	size, modified   int64
	id               envelope.ID
	shape, err, why  uint32 // indices; err and why from 1, 0 for none
	nameAt, nameSize uint16 // of the label's name in base, or
	name             uint32 // from 1, its index among the names that base lacks
	etag             uint32 // from 1, its index among the ETags
}

type shape struct {
	folder, query string // of the path, around what is in the row
	Backup               // without what is in the row
}

// fault is an error of several backups that differ only by path.
type fault struct {
	text string // with gap where the path is
	err  error  // of the first
}

const gap = "\x00"

type said struct {
	text string
	like error
}

func (e said) Error() string { return e.text }
func (e said) Unwrap() error { return e.like }

// Gather is [List] into a Roll, of the backups that match, if not nil, accepts.
func Gather(ctx context.Context, st store.Store, root string, o Options, match func(*Backup) bool) (*Roll, error) {
	r := new(Roll)
	err := Each(ctx, st, root, o, func(b *Backup) error {
		if match == nil || match(b) {
			r.Add(b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.SortNewest()
	return r, nil
}

// Len is how many backups there are.
func (r *Roll) Len() int {
	if len(r.rows) == 0 {
		return 0
	}
	last := len(r.rows) - 1
	return last*blockRows + len(r.rows[last])
}

// Add appends a copy of a backup.
func (r *Roll) Add(b *Backup) {
	if r.Len()%blockRows == 0 {
		r.rows = append(r.rows, make([]row, 0, blockRows))
	}
	own := shape{Backup: *b}
	base := b.Path
	if at := strings.LastIndexByte(base, '?'); at >= 0 && store.IsRemote(base) {
		base, own.query = base[:at], base[at:]
	}
	at := strings.LastIndexByte(base, '/') + 1
	own.folder, base = base[:at], base[at:]
	n := row{base: r.keep(base), created: b.Created.Unix(), size: b.Size, id: b.ID}
	if !b.ModTime.IsZero() {
		n.modified = b.ModTime.UnixNano()
	}
	if at := strings.Index(n.base, b.Name); at >= 0 && len(n.base) < 1<<16 {
		n.nameAt, n.nameSize = uint16(at), uint16(len(b.Name))
	} else {
		r.names = append(r.names, r.keep(b.Name))
		n.name = uint32(len(r.names))
	}
	if b.ETag != "" {
		r.etags = append(r.etags, r.keep(b.ETag))
		n.etag = uint32(len(r.etags))
	}
	own.Path, own.Size, own.ModTime, own.ETag, own.ID, own.Created, own.Name, own.Err, own.Doubt = "", 0, time.Time{}, "", envelope.ID{}, time.Time{}, "", nil, nil
	n.shape = r.shapeIndex(&own)
	n.err, n.why = r.fault(b.Path, b.Err), r.fault(b.Path, b.Doubt)
	r.order = nil
	last := len(r.rows) - 1
	r.rows[last] = append(r.rows[last], n)
}

// keep returns a copy of text in a shared block.
func (r *Roll) keep(text string) string {
	if r.text.Cap()-r.text.Len() < len(text) {
		r.text = strings.Builder{}
		r.text.Grow(max(blockText, len(text)))
	}
	r.text.WriteString(text)
	all := r.text.String()
	return all[len(all)-len(text):]
}

func (r *Roll) shapeIndex(s *shape) uint32 {
	key := make([]byte, 0, 256)
	for _, text := range []string{s.folder, s.query, s.Kind, s.Codec, s.Signer, fmt.Sprint(s.State, s.Sidecar, s.Keys, s.Own, s.Recipients)} {
		key = binary.AppendUvarint(key, uint64(len(text)))
		key = append(key, text...)
	}
	if i, known := r.shapeOf[string(key)]; known {
		return i
	}
	if r.shapeOf == nil {
		r.shapeOf = make(map[string]uint32)
	}
	i := uint32(len(r.shapes))
	r.shapes, r.shapeOf[string(key)] = append(r.shapes, *s), i
	return i
}

func (r *Roll) fault(path string, err error) uint32 {
	if err == nil {
		return 0
	}
	text := strings.ReplaceAll(err.Error(), path, gap)
	if i, known := r.faultOf[text]; known {
		return i
	}
	if r.faultOf == nil {
		r.faultOf = make(map[string]uint32)
	}
	r.faults = append(r.faults, fault{text, err})
	i := uint32(len(r.faults))
	r.faultOf[text] = i
	return i
}

// At returns a copy of the i-th backup. Its error has the words of the original and wraps
// the first of the same kind.
func (r *Roll) At(i int) Backup {
	if r.order != nil {
		i = int(r.order[i])
	}
	n := &r.rows[i/blockRows][i%blockRows]
	s := &r.shapes[n.shape]
	b := s.Backup
	b.Path, b.Size, b.ID = s.folder+n.base+s.query, n.size, n.id
	if n.modified != 0 {
		b.ModTime = time.Unix(0, n.modified)
	}
	if b.Name = n.base[n.nameAt : n.nameAt+n.nameSize]; n.name > 0 {
		b.Name = r.names[n.name-1]
	}
	if n.etag > 0 {
		b.ETag = r.etags[n.etag-1]
	}
	if b.Readable() {
		b.Created = time.Unix(n.created, 0).UTC()
	}
	b.Err, b.Doubt = r.said(n.err, b.Path), r.said(n.why, b.Path)
	return b
}

func (r *Roll) said(i uint32, path string) error {
	if i == 0 {
		return nil
	}
	f := r.faults[i-1]
	if !strings.Contains(f.text, gap) {
		return f.err
	}
	return said{strings.ReplaceAll(f.text, gap, path), f.err}
}

// All yields the backups in order.
func (r *Roll) All() iter.Seq2[int, Backup] {
	return func(yield func(int, Backup) bool) {
		for i := range r.Len() {
			if !yield(i, r.At(i)) {
				return
			}
		}
	}
}

// SortNewest puts the backups in the order of [NewestFirst].
func (r *Roll) SortNewest() {
	r.order = nil
	order := make([]uint32, r.Len())
	for i := range order {
		order[i] = uint32(i)
	}
	readable := func(n *row) bool { return n.nameSize > 0 || n.name > 0 }
	slices.SortFunc(order, func(x, y uint32) int {
		a, b := &r.rows[x/blockRows][x%blockRows], &r.rows[y/blockRows][y%blockRows]
		if readable(a) && readable(b) && a.created != b.created {
			return cmp.Compare(b.created, a.created)
		}
		return NewestFirst(r.At(int(x)), r.At(int(y)))
	})
	r.order = order
}

// ShortID is the number of hex digits, 8 or more, that distinguish the ids of the list.
// Copies of a backup share an id.
func (r *Roll) ShortID() int {
	const least = 8
	ids := make([]envelope.ID, 0, r.Len())
	for _, block := range r.rows {
		for i := range block {
			ids = append(ids, block[i].id)
		}
	}
	slices.SortFunc(ids, func(a, b envelope.ID) int { return slices.Compare(a[:], b[:]) })
	digits := least
	for i := 1; i < len(ids); i++ {
		if a, b := ids[i-1].String(), ids[i].String(); a != b {
			same := 0
			for a[same] == b[same] {
				same++
			}
			digits = max(digits, same+1)
		}
	}
	return digits
}

// Fault is [fail.ErrSome] when one of the backups is bad.
func (r *Roll) Fault() error {
	for _, b := range r.All() {
		if b.State == Bad && !b.Archived() {
			return fail.ErrSome
		}
	}
	return nil
}
