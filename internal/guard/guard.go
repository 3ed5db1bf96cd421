// Package guard checks, while a backup streams past, that it is whole.
//
// A shell pipe hides the exit status of its first command: when pg_dump dies half way, the
// pipe just ends. A [Reader] in that pipe passes every byte through unchanged, recognises
// the input by its first bytes, follows its structure, and returns an error in place of
// io.EOF when the input ends too early.
//
// It follows
//
//   - plain SQL dumps of pg_dump and pg_dumpall, statement by statement as psql
//     reads them, to the line that closes them;
//   - custom-format dumps (pg_dump -Fc), block by block, archive versions
//     1.12 to 1.16, which PostgreSQL 9.0 and later have written;
//   - tar archives, header by header, to their two zero blocks;
//   - gzip, zstd and bzip2 streams, by decompressing them; the content is guarded
//     in turn, but not decompressed a second time;
//   - xz and lz4 streams, by the frame alone;
//   - dumps of MySQL, MariaDB and SQLite, by their last line;
//   - dumps of Redis (RDB), by their end opcode and CRC-64;
//   - archives of mongodump, document by document.
//
// Anything else passes, unless it is empty, and [Reader.Unjudged] says so.
// [Reader.Contents] describes a dump of PostgreSQL.
//
// The guard is against accidents. It does not look for damage in the middle of formats
// without checksums.
package guard

import (
	"errors"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

var (
	// ErrEmpty is returned for an empty input. For a compressed input that decompresses to
	// nothing, it is wrapped in an [IncompleteError].
	ErrEmpty = fail.New(fail.Source, "look why the source gave nothing; nothing was kept. (seal --allow-empty seals it all the same)", "the input is empty")

	// ErrUnsupported is wrapped in the [IncompleteError] of an input that may be whole, but
	// that this package cannot follow: an unknown custom-format version, a zstd stream with
	// a dictionary.
	ErrUnsupported = fail.New(fail.Source, "give seal --guard=off if you know that the input is whole", "this variant of the format cannot be checked")

	errClosed = errors.New("guard: read after close")
)

// IncompleteError means that an input ended too early, or violates the format of its first
// bytes.
type IncompleteError struct {
	Format Format // what the first bytes say
	Offset int64  // bytes of input taken when it was noticed
	Reason string // what is wrong, for a person

	// Err, if not nil, is ErrUnsupported, or for the content of a compressed input ErrEmpty
	// or its *IncompleteError.
	Err error
}

func (e *IncompleteError) Error() string {
	s := fmt.Sprintf("%s: %s (at byte %d)", e.Format, e.Reason, e.Offset)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Fail is the class and the hint of the error.
func (e *IncompleteError) Fail() (fail.Class, string) {
	return fail.Inner(e.Err, fail.Source, "look why the source stopped early; nothing was kept, and nothing was changed. (seal --guard=off seals it as it is)")
}

func (e *IncompleteError) Unwrap() error { return e.Err }

// Options change what a Reader accepts.
type Options struct {
	AllowEmpty bool // let an input without a single byte pass
	// TarEntry, if not nil, gets each entry of an uncompressed tar archive.
	TarEntry func(TarEntry)
	// Piece, if not nil, gets the rows of an uncompressed plain dump of PostgreSQL as they
	// come, and its other parts. PartPre and PartPost, the last, are missing when the dump
	// is not in pg_dump's order.
	Piece func(Piece)
}

// Reader passes its source through and refuses incomplete input. It is not safe for
// concurrent use.
//
// Its bytes prove nothing before it has returned io.EOF.
type Reader struct {
	src   io.Reader
	check checker
	err   error
}

// NewReader returns a Reader over src. The caller must call Close, even after an error.
// Close does not close src.
func NewReader(src io.Reader, opts Options) *Reader {
	return &Reader{src: src, check: checker{allowEmpty: opts.AllowEmpty, entry: opts.TarEntry, piece: opts.Piece}}
}

// Read reads from the source. At its end, it returns io.EOF if the input is whole,
// [ErrEmpty] if it is empty and that is not allowed, and otherwise an [*IncompleteError].
// Invalid input is refused at once, together with its bytes. Errors of the source are
// returned as they are. Every error stays.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	if n > 0 {
		if _, werr := r.check.Write(p[:n]); werr != nil {
			err = werr
		}
	}
	if err == io.EOF {
		if ferr := r.check.finish(); ferr != nil {
			err = ferr
		}
	}
	r.err = err
	return n, err
}

// Contents describes a dump of PostgreSQL, compressed or not, once Read has returned
// io.EOF; otherwise nil.
func (r *Reader) Contents() *Contents {
	if r.err != io.EOF {
		return nil
	}
	return r.check.contents()
}

// Unjudged says, once Read has returned io.EOF, why nobody knows whether the input is
// whole: its format is unknown. It is "" for known ones.
func (r *Reader) Unjudged() string {
	if r.err != io.EOF {
		return ""
	}
	return r.check.unjudged()
}

// Close ends the decompressing goroutine, if any, and waits for it. It returns nil and may
// be called twice.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = errClosed
	}
	r.check.close()
	return nil
}

// A walker follows one format.
type walker interface {
	// write takes the next piece of the input, without keeping it.
	write(p []byte) error
	// finish returns nil if the input may end here. Nothing is written afterwards.
	finish() error
}

// checker is the push side of a Reader: input goes in, errors come out. Its zero value is
// ready.
type checker struct {
	allowEmpty bool
	entry      func(TarEntry)
	piece      func(Piece)
	nested     bool // the input is the content of a compressed one

	head   [SniffLen]byte
	n      int // bytes of head that are filled
	chosen bool
	format Format
	walk   walker // nil for an unknown format
}

func (c *checker) Write(p []byte) (int, error) {
	written := len(p)
	if !c.chosen {
		k := copy(c.head[c.n:], p)
		c.n += k
		p = p[k:]
		if c.n < SniffLen {
			return written, nil
		}
		if err := c.choose(); err != nil {
			return written, err
		}
	}
	if c.walk == nil || len(p) == 0 {
		return written, nil
	}
	return written, c.walk.write(p)
}

// choose picks the walker and gives it the held bytes.
func (c *checker) choose() error {
	c.chosen = true
	head := c.head[:c.n]
	c.format = Sniff(head)
	switch f := c.format; f {
	case PlainDump:
		tell := c.piece
		if c.nested {
			tell = nil
		}
		c.walk = newPlain(tell)
	case CustomDump:
		c.walk = newCustom()
	case Tar:
		t := newTar()
		if !c.nested {
			t.entry = c.entry
		}
		c.walk = t
	case Gzip, Zstd, Bzip2:
		if c.nested {
			return nil
		}
		c.walk = newCompressed(f, c.allowEmpty)
	case XZ:
		c.walk = &tail{format: f, judge: endOfXZ}
	case LZ4:
		c.walk = newLZ4()
	case MySQLDump:
		c.walk = &tail{format: f, judge: endOfMySQL}
	case SQLiteDump:
		c.walk = &tail{format: f, judge: endOfSQLite}
	case RedisDump:
		c.walk = new(redis)
	case MongoArchive:
		c.walk = newMongo()
	default:
		return nil
	}
	return c.walk.write(head)
}

func (c *checker) finish() error {
	if c.n == 0 {
		if c.allowEmpty {
			return nil
		}
		return ErrEmpty
	}
	if !c.chosen {
		if err := c.choose(); err != nil {
			return err
		}
	}
	if c.walk == nil {
		return nil
	}
	return c.walk.finish()
}

func (c *checker) contents() *Contents {
	switch w := c.walk.(type) {
	case *plain:
		return w.found.contents()
	case *custom:
		return w.toc.found.contents()
	case *compressed:
		return w.content.contents()
	}
	return nil
}

func (c *checker) unjudged() string {
	switch w := c.walk.(type) {
	case nil:
		if c.n == 0 {
			return ""
		}
		if c.format != Unknown {
			return "it is compressed more than once"
		}
		return "its format is not known"
	case *compressed:
		if why := w.content.unjudged(); why != "" {
			return fmt.Sprintf("the %v is whole, and what it holds was not judged: %s", c.format, why)
		}
	case *lz4:
		return "the lz4 stream is whole, and what it holds was not judged"
	case *tail:
		if c.format == XZ {
			return "the xz stream is whole, and what it holds was not judged"
		}
	}
	return ""
}

func (c *checker) close() {
	if w, ok := c.walk.(*compressed); ok {
		w.close()
	}
}
