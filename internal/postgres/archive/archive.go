// Package archive reads the table of contents of an archive of pg_dump -Fc, and has
// pg_restore make SQL of it, or make things of it in a database. The contents come
// before all data, and everything but rows and large objects is in them.
package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrUnknown is returned for what is not an archive of a version that this package knows.
var ErrUnknown = errors.New("the table of contents is of a version that is not known")

// The versions of the format: PostgreSQL 9.0 to 18 (pg_backup_archiver.h). What comes
// before an entry's state is described in package guard.
const (
	magic    = "PGDMP"
	minMinor = 12
	maxMinor = 16

	maxText     = 256 << 20
	maxContents = 1 << 30
)

// Reader is the first major version of pg_restore, from server on, that reads an archive
// that begins like this, or a tar file that begins with one's contents.
func Reader(head []byte, server int) int {
	at := bytes.Index(head, []byte(magic))
	if at != 0 && at != 512 || len(head) < at+len(magic)+2 { // a header of tar has 512 bytes
		return server
	}
	switch minor := head[at+len(magic)+1]; {
	case minor >= 16:
		return max(server, 17)
	case minor == 15:
		return max(server, 16)
	}
	return server
}

// Entry is one of the table of contents. Texts are in the encoding of the dump.
type Entry struct {
	ID, Section    int    // Section is one of the numbers of pg_restore: 4 is post-data
	OID            string // of what it is about
	Tag, Namespace string
	Desc           string // TABLE, TABLE DATA, SEQUENCE SET, …
	Defn, Copy     string // Copy is the COPY … FROM stdin of a TABLE DATA
	Owner          string
	Needs          []string // ids of entries
}

// Contents is a table of contents.
type Contents struct {
	Raw             []byte // an archive that pg_restore takes: it ends where data begins
	Server, Program string // their versions
	Entries         []Entry
}

// Read reads the contents that src begins with. It may read further. The errors are
// ErrUnknown and those of src.
func Read(src io.Reader) (*Contents, error) {
	r := &reader{src: src}
	c, err := r.contents()
	if err == nil {
		err = r.err
	}
	if err != nil {
		return nil, fmt.Errorf("reading the table of contents of pg_dump: %w", err)
	}
	c.Raw = r.raw.Bytes()
	return c, nil
}

// reader keeps what it reads. Its first error stays, and what it returns afterwards is
// empty.
type reader struct {
	src     io.Reader
	raw     bytes.Buffer
	intSize int
	err     error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// bytes returns the next n, which stay valid until the next call.
func (r *reader) bytes(n int) []byte {
	if r.err == nil && r.raw.Len()+n > maxContents {
		r.fail(ErrUnknown)
	}
	if r.err != nil {
		return make([]byte, min(n, 16))
	}
	before := r.raw.Len()
	if _, err := io.CopyN(&r.raw, r.src, int64(n)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		r.fail(err)
		return make([]byte, min(n, 16))
	}
	return r.raw.Bytes()[before:]
}

func (r *reader) integer() int {
	b := r.bytes(1 + r.intSize)
	v := 0
	for i := r.intSize; i > 0; i-- {
		v = v<<8 | int(b[i])
	}
	if b[0] == 1 {
		return -v
	}
	return v
}

func (r *reader) text() (string, bool) {
	n := r.integer()
	if n == -1 || r.err != nil {
		return "", false
	}
	if n < 0 || n > maxText {
		r.fail(ErrUnknown)
		return "", false
	}
	return string(r.bytes(n)), true
}

func (r *reader) word() string {
	text, _ := r.text()
	return text
}

func (r *reader) contents() (*Contents, error) {
	head := bytes.Clone(r.bytes(len(magic) + 6))
	if r.err != nil {
		return nil, r.err
	}
	b := head[len(magic):]
	minor, offSize := int(b[1]), int(b[4])
	if string(head[:len(magic)]) != magic || b[0] != 1 || minor < minMinor || minor > maxMinor || b[3] < 4 || b[3] > 8 || offSize != 4 && offSize != 8 || b[5] != 1 {
		return nil, ErrUnknown
	}
	r.intSize = int(b[3])
	if minor >= 15 {
		r.bytes(1) // compression
	} else {
		r.integer()
	}
	for range 7 { // when it was made
		r.integer()
	}
	r.text() // the database
	c := &Contents{Server: r.word(), Program: r.word()}
	count := r.integer()
	for i := 0; i < count && r.err == nil; i++ {
		c.Entries = append(c.Entries, r.entry(minor, offSize))
	}
	return c, nil
}

func (r *reader) entry(minor, offSize int) Entry {
	var e Entry
	e.ID = r.integer()
	r.integer() // whether it has data
	r.text()    // the catalog
	e.OID, e.Tag, e.Desc = r.word(), r.word(), r.word()
	e.Section = r.integer()
	e.Defn = r.word()
	r.text() // how to drop it
	e.Copy, e.Namespace = r.word(), r.word()
	r.text() // the tablespace
	if minor >= 14 {
		r.text() // the access method
	}
	if minor >= 16 {
		r.integer() // the kind of relation
	}
	e.Owner = r.word()
	r.text()
	for {
		id, more := r.text()
		if !more || r.err != nil {
			break
		}
		e.Needs = append(e.Needs, id)
	}
	r.bytes(1 + offSize)
	return e
}

// OneLine is a name as pg_dump has it in comments.
func OneLine(name string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(name) }
