// Package tables knows what is in a plain dump of a PostgreSQL database, table by
// table: it makes the index of a dump while it is sealed ([Builder]), and finds the
// rows of a table by an index ([Dump]), or by reading the dump ([Scan]).
package tables

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// PartContents is the part that holds the table of contents of an archive of pg_dump,
// cut after it: what pg_restore makes everything but rows of.
const PartContents = "contents"

// line is one of the index (docs/FORMAT.md, "The index").
type line struct {
	Part   string `json:"part,omitempty"`
	Schema string `json:"s,omitempty"`
	Table  string `json:"t,omitempty"`
	K      uint64 `json:"k,omitempty"`
	Offset int64  `json:"o"`
	Length int64  `json:"n"`
	Rows   int64  `json:"rows,omitempty"`
	Copy   int64  `json:"c,omitempty"`
	Bytes  []byte `json:"b,omitempty"`
}

func (l *line) key() []byte {
	if l.Table == "" {
		return append([]byte{0}, l.Part...)
	}
	return binary.BigEndian.AppendUint64(tableKey(l.Schema, l.Table), l.K)
}

func tableKey(schema, table string) []byte {
	key := append([]byte(schema), 0)
	return append(append(key, table...), 0)
}

// Builder makes the index of a dump. It is for one goroutine.
type Builder struct {
	w     *index.Writer
	k     uint64
	whole bool // pre and post are there
	err   error
}

// NewBuilder returns a Builder, to be closed.
func NewBuilder() (*Builder, error) {
	w, err := index.NewWriter(nil, index.Options{})
	return &Builder{w: w}, err
}

// Add takes the next piece of the dump, from the guard.
func (b *Builder) Add(p guard.Piece) {
	l := line{Part: p.Part, Schema: p.Schema, Table: p.Table, Offset: p.Offset, Length: p.Length, Rows: p.Rows, Copy: p.Copy}
	if p.Part == "" {
		l.K = b.k
		b.k++
	}
	b.whole = b.whole || p.Part == guard.PartPost
	b.add(l)
}

func (b *Builder) add(l line) {
	if b.err != nil {
		return
	}
	if !utf8.ValidString(l.Schema) || !utf8.ValidString(l.Table) {
		b.err = fmt.Errorf("the name of the table %q.%q is not UTF-8", l.Schema, l.Table)
		return
	}
	text, err := json.Marshal(l)
	if err == nil {
		err = b.w.Add(l.key(), text)
	}
	b.err = err
}

// contentsPiece is what a line holds of the contents.
const contentsPiece = 512 << 10

// Contents takes the table of contents of an archive of the same database.
func (b *Builder) Contents(archive []byte) {
	for len(archive) > 0 {
		n := min(len(archive), contentsPiece)
		b.add(line{Part: PartContents, Length: int64(n), Bytes: archive[:n]})
		archive = archive[n:]
	}
}

// Finish returns the index of a dump of size bytes, or why there is none: it may be
// missing from a backup that is whole.
func (b *Builder) Finish(size int64) (*index.Content, error) {
	if b.err != nil {
		return nil, b.err
	}
	if !b.whole {
		return nil, errors.New("the dump does not have the order of those of pg_dump")
	}
	if err := b.w.SetHeader(fmt.Appendf(nil, `{"v":1,"format":"pgdump","size":%d}`, size)); err != nil {
		return nil, err
	}
	return b.w.Finish()
}

// Close frees what the Builder holds.
func (b *Builder) Close() { b.w.Close() }
