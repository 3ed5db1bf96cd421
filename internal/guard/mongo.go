package guard

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// An archive of mongodump:
//
//	magic 4 bytes
//	a prelude: documents, an end
//	segments: a header document, documents, an end
//
//	document = BSON, which begins with its length in 4 bytes
//	end      = ff ff ff ff
//
// A header names a collection, in fields db and collection; its last one has EOF
// true. Segments of several collections come mixed.
const (
	mongoMagic = "\x6d\xe2\x99\x81"
	mongoEnd   = 0xffffffff

	maxMongoDocument = 48 << 20 // far above the server's 16 MiB
	maxMongoHeader   = 16 << 10
	maxMongoOpen     = 1 << 20
)

type mongo struct {
	units
	begun   bool            // the magic has passed
	prelude bool            // it has ended
	inside  bool            // a segment
	open    map[string]bool // collections whose last segment has not come
	header  []byte          // of the segment at hand, as it comes
	reading bool
}

func newMongo() *mongo { return &mongo{units: units{want: 4}, open: make(map[string]bool)} }

func (m *mongo) write(p []byte) error {
	for {
		var unit []byte
		if unit, p = m.next(p); unit == nil {
			return nil
		}
		if err := m.step(unit); err != nil {
			return err
		}
	}
}

func (m *mongo) finish() error {
	m.endHeader()
	switch {
	case !m.prelude || !m.between():
		return m.bad("it ends inside a document")
	case m.inside:
		return m.bad("it ends inside a collection")
	}
	for collection := range m.open {
		return m.bad("it ends before the end of collection %q, for one", collection)
	}
	return nil
}

func (m *mongo) bad(format string, args ...any) error {
	return &IncompleteError{Format: MongoArchive, Offset: m.pos, Reason: fmt.Sprintf(format, args...)}
}

func (m *mongo) step(unit []byte) error {
	m.endHeader()
	if !m.begun {
		m.begun = true
		return nil
	}
	size := binary.LittleEndian.Uint32(unit)
	switch {
	case size == mongoEnd && !m.prelude:
		m.prelude = true
	case size == mongoEnd && m.inside:
		m.inside = false
	case size < 5 || size > maxMongoDocument:
		return m.bad("a document of %d bytes", size)
	default:
		m.skip = int64(size) - 4
		if m.prelude && !m.inside {
			m.inside, m.reading, m.header = true, true, m.header[:0]
			m.passed = func(p []byte) { m.header = append(m.header, p[:min(len(p), maxMongoHeader-len(m.header))]...) }
		}
	}
	return nil
}

func (m *mongo) endHeader() {
	if !m.reading || m.skip > 0 {
		return
	}
	m.reading, m.passed = false, nil
	name := bsonText(m.header, "db") + "." + bsonText(m.header, "collection")
	if i := bytes.Index(m.header, []byte("\x08EOF\x00")); i >= 0 && i+5 < len(m.header) && m.header[i+5] == 1 {
		delete(m.open, name)
	} else if len(m.open) < maxMongoOpen {
		m.open[name] = true
	}
}

func bsonText(doc []byte, field string) string {
	_, rest, ok := bytes.Cut(doc, []byte("\x02"+field+"\x00"))
	if !ok || len(rest) < 4 {
		return ""
	}
	n := int64(binary.LittleEndian.Uint32(rest))
	if n < 1 || n > int64(len(rest)-4) {
		return ""
	}
	return string(rest[4 : 4+n-1])
}
