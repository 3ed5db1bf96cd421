package guard

import "fmt"

// A custom-format dump, as pg_dump -Fc writes it:
//
//	"PGDMP" major minor revision intsize offsize format   one byte each
//	compression                  from 1.15 a byte, before an integer
//	7 integers, 3 strings        time of creation; database, server, program
//	integer                      number of entries
//	entries                      the table of contents
//	blocks                       to the end of the input
//
//	integer = sign byte, then intsize bytes, least significant first
//	string  = integer length, then as many bytes; length -1 means no string
//	entry   = dump id, 1 integer, 4 strings, 1 integer, 5 strings,
//	          a string from 1.14, an integer from 1.16, 2 strings,
//	          strings up to a missing one (dependencies),
//	          state byte, then offsize bytes
//	block   = type 1 byte, dump id, chunks
//	        | type 3 byte, dump id, (oid, chunks) repeated, oid 0
//	chunks  = (integer length, as many bytes) repeated, length 0
//
// Every entry whose state is not noData has one block under its dump id. When
// pg_dump can seek in its output it comes back and fills in the offsets, and
// the state becomes hasOffset; nothing else changes. An offset is not compared
// with where the block stands: pg_restore does not insist on it either.

const (
	customMinMinor = 12
	customMaxMinor = 16

	noOffset  = 1 // state: has data, somewhere
	hasOffset = 2 // state: has data, at the offset
	noData    = 3 // state

	blockData  = 1
	blockBlobs = 3

	archCustom = 1 // the format byte; "tar" and "directory" have others

	maxDumpID = 1<<31 - 1

	// far above the server's largest value (1 GiB)
	maxString = 1<<31 - 1

	// maxEntries bounds the table of contents, and maxIDWords its ids: they are dense, so
	// this is room for some 60 million tables, in at most a few tens of MiB, not allocated
	// by declared numbers.
	maxEntries = 1 << 27
	maxIDWords = 1 << 20
)

// customHeaderLen is the part of the header whose layout never changes.
const customHeaderLen = len(customMagic) + 6

type customState int

const (
	inHeader customState = iota
	inAlgorithm
	inFields
	inCount
	inDumpID
	inDependencies
	inOffset
	inBlockType
	inBlockID
	inOID
	inChunks
)

// custom walks a custom-format dump. Its state names the next unit.
type custom struct {
	units
	state customState

	minor   byte
	intSize int
	offSize int

	fields string      // in inFields: the next ones; i is an integer, s a string
	then   customState // the state behind the fields

	entries int64 // not yet read
	dumpID  int64 // of the entry or block at hand
	pending idSet // entries whose block has not ended yet
	blobs   bool  // the block at hand is a series of large objects

	toc contentsTable
}

func newCustom() *custom {
	return &custom{units: units{want: customHeaderLen}, pending: make(idSet), toc: newContentsTable()}
}

func (c *custom) write(p []byte) error {
	for {
		var unit []byte
		if unit, p = c.next(p); unit == nil {
			return nil
		}
		if err := c.step(unit); err != nil {
			return err
		}
	}
}

func (c *custom) finish() error {
	switch {
	case c.state < inBlockType:
		return c.bad("it ends inside its table of contents")
	case c.state != inBlockType || !c.between():
		return c.bad("it ends inside the data of entry %d", c.dumpID)
	case len(c.pending) > 0:
		return c.bad("it ends before the data of all its entries, entry %d for one", c.pending.any())
	}
	return nil
}

func (c *custom) bad(format string, args ...any) error {
	return &IncompleteError{Format: CustomDump, Offset: c.pos, Reason: fmt.Sprintf(format, args...)}
}

func (c *custom) unsupported(format string, args ...any) error {
	return &IncompleteError{Format: CustomDump, Offset: c.pos, Reason: fmt.Sprintf(format, args...), Err: ErrUnsupported}
}

func (c *custom) expect(s customState) {
	c.state = s
	switch s {
	case inAlgorithm, inBlockType:
		c.want = 1
	case inOffset:
		c.want = 1 + c.offSize
	default:
		c.want = 1 + c.intSize
	}
}

// expectFields skips integers and strings, then goes on with state then.
func (c *custom) expectFields(fields string, then customState) {
	c.fields, c.then = fields, then
	c.expect(inFields)
}

func (c *custom) step(unit []byte) error {
	if c.passed != nil && c.state != inChunks {
		c.passed = nil
		c.toc.endText()
	}
	switch c.state {
	case inHeader:
		return c.header(unit)
	case inAlgorithm:
		c.toc.packed = unit[0] != 0
		c.expectFields("iiiiiiisss", inCount)
		return nil
	case inOffset:
		return c.offset(unit[0])
	case inBlockType:
		if unit[0] != blockData && unit[0] != blockBlobs {
			return c.bad("a data block of unknown type %d", unit[0])
		}
		c.blobs = unit[0] == blockBlobs
		c.expect(inBlockID)
		return nil
	}

	v, err := c.integer(unit)
	if err != nil {
		return err
	}
	switch c.state {
	case inFields:
		return c.field(v)
	case inCount:
		if v < 0 || v > maxEntries {
			return c.bad("a table of contents of %d entries", v)
		}
		c.toc.header()
		c.entries = v
		c.nextEntry()
	case inDumpID:
		if v <= 0 || v > maxDumpID {
			return c.bad("an entry with the id %d", v)
		}
		c.dumpID = v
		c.toc.begin(c.minor)
		c.expectFields(c.entryFields(), inDependencies)
	case inDependencies:
		if v == -1 {
			c.toc.end(c.dumpID)
			c.expect(inOffset)
			return nil
		}
		return c.skipString(v)
	case inBlockID:
		c.dumpID = v
		if !c.pending.remove(v) {
			return c.bad("a data block for entry %d, which has none to come", v)
		}
		if c.blobs {
			c.toc.found.c.Rows = true
			c.expect(inOID)
		} else {
			c.passed = c.toc.rowsOf(v)
			c.expect(inChunks)
		}
	case inOID:
		// Written as a signed integer, so that large oids are negative.
		if v == 0 {
			c.expect(inBlockType)
		} else {
			c.toc.found.c.LargeObjects++
			c.expect(inChunks)
		}
	case inChunks:
		switch {
		case v < 0:
			return c.bad("a piece of data of length %d", v)
		case v > 0:
			c.skip = v
		case c.blobs:
			c.expect(inOID)
		default:
			c.passed = nil
			c.toc.endRows()
			c.expect(inBlockType)
		}
	}
	return nil
}

func (c *custom) header(unit []byte) error {
	b := unit[len(customMagic):]
	major, minor, intSize, offSize, format := b[0], b[1], b[3], b[4], b[5]
	if major != 1 || minor < customMinMinor || minor > customMaxMinor {
		return c.unsupported("archive version %d.%d, known are 1.%d to 1.%d", major, minor, customMinMinor, customMaxMinor)
	}
	if intSize != 4 && intSize != 8 || offSize != 4 && offSize != 8 {
		return c.bad("integers of %d and offsets of %d bytes", intSize, offSize)
	}
	if format != archCustom {
		return c.unsupported("the table of contents of a dump in another format (%d)", format)
	}
	c.minor, c.intSize, c.offSize = minor, int(intSize), int(offSize)
	if minor >= 15 {
		c.expect(inAlgorithm)
	} else {
		c.expectFields("iiiiiiiisss", inCount)
	}
	return nil
}

// entryFields are the fields of an entry between its id and its dependencies.
func (c *custom) entryFields() string {
	switch {
	case c.minor >= 16:
		return "issssissssssiss"
	case c.minor >= 14:
		return "issssissssssss"
	}
	return "issssisssssss"
}

func (c *custom) field(v int64) error {
	isString := c.fields[0] == 's'
	if c.state, c.fields = inFields, c.fields[1:]; c.fields == "" {
		c.expect(c.then)
	}
	switch {
	case !isString:
		c.toc.integer(c.minor, v)
	case v == -1:
		c.toc.endText()
	default:
		c.passed = c.toc.text
		return c.skipString(v)
	}
	return nil
}

func (c *custom) skipString(n int64) error {
	if n < 0 || n > maxString {
		return c.bad("a text of length %d", n)
	}
	c.skip = n
	return nil
}

func (c *custom) offset(state byte) error {
	switch state {
	case noData:
	case noOffset, hasOffset:
		if !c.pending.add(c.dumpID) {
			return c.bad("two entries with the id %d", c.dumpID)
		}
		if len(c.pending) > maxIDWords {
			return c.unsupported("more entries with data than can be followed")
		}
	default:
		return c.bad("entry %d has the unknown state %d", c.dumpID, state)
	}
	c.entries--
	c.nextEntry()
	return nil
}

func (c *custom) nextEntry() {
	if c.entries > 0 {
		c.expect(inDumpID)
	} else {
		c.expect(inBlockType)
	}
}

func (c *custom) integer(unit []byte) (int64, error) {
	var v uint64
	for i := len(unit) - 1; i > 0; i-- {
		v = v<<8 | uint64(unit[i])
	}
	if unit[0] > 1 || v > 1<<63-1 {
		return 0, c.bad("an integer that cannot be one")
	}
	if unit[0] == 1 {
		return -int64(v), nil
	}
	return int64(v), nil
}
