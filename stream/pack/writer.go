package pack

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// Writer packs what is written to it. Close packs the last block and writes
// the seek table; without it the result is cut short. A Writer is not safe for
// concurrent use. After an error nothing more is written, and every later call
// returns the error.
type Writer struct {
	dst    io.Writer
	opts   Options
	enc    encoder // nil for None
	block  []byte  // the beginning of the next block
	packed []byte  // scratch of Write and Close
	table  seekTable
	blocks int
	err    error
}

// encoder packs a block into a frame or member, appending it to dst. It is safe
// for concurrent use.
type encoder interface {
	encode(dst, block []byte) []byte
}

// NewWriter returns a Writer that packs to dst. The error says which option is
// wrong.
func NewWriter(dst io.Writer, opts Options) (*Writer, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	w := &Writer{dst: dst, opts: opts}
	switch opts.Codec {
	case Zstd:
		enc, err := newZstdEncoder(opts)
		if err != nil {
			return nil, err
		}
		w.enc = enc
	case Gzip:
		w.enc = newGzipEncoder(opts)
	}
	return w, nil
}

// Write packs p on the caller's goroutine. A block ends when it is full, not
// with the call.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.enc == nil {
		var n int
		n, w.err = parallel.WriteFull(w.dst, p)
		return n, w.err
	}
	total := len(p)
	for len(p) > 0 && w.err == nil {
		n := min(len(p), w.opts.BlockSize-len(w.block))
		w.block = append(w.block, p[:n]...)
		p = p[n:]
		if len(w.block) == w.opts.BlockSize {
			w.flush()
		}
	}
	return total - len(p), w.err
}

func (w *Writer) flush() {
	w.packed = w.enc.encode(w.packed[:0], w.block)
	w.err = w.emit(w.packed, len(w.block))
	w.block = w.block[:0]
}

func (w *Writer) emit(packed []byte, plainLen int) error {
	w.blocks++
	if w.opts.Codec == Zstd {
		w.table.add(len(packed), plainLen)
	}
	_, err := parallel.WriteFull(w.dst, packed)
	return err
}

type block struct{ plain, packed []byte }

// ReadFrom packs src until io.EOF on all cores; io.Copy uses it. When dst
// fails, ReadFrom returns after the Read of src that is under way.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.enc == nil {
		var n int64
		n, w.err = io.Copy(w.dst, src)
		return n, w.err
	}
	var total int64
	workers := runtime.GOMAXPROCS(0)
	blocks := make([]block, workers+2)
	w.err = parallel.Run(workers, blocks, parallel.Stages[block]{
		Fill: func(b *block) (bool, error) {
			if b.plain == nil {
				b.plain = make([]byte, w.opts.BlockSize)
			}
			buf := b.plain[:w.opts.BlockSize]
			have := copy(buf, w.block)
			n, err := parallel.ReadFull(src, buf[have:])
			total += int64(n)
			w.block = w.block[:0]
			if have+n < len(buf) { // a short read does not end a block: a later Write, or Close, does
				w.block = append(w.block, buf[:have+n]...)
				return false, err
			}
			b.plain = buf
			return true, err
		},
		Work:  func(b *block) { b.packed = w.enc.encode(b.packed[:0], b.plain) },
		Drain: func(b *block) error { return w.emit(b.packed, len(b.plain)) },
	})
	for i := range blocks {
		clear(blocks[i].plain[:cap(blocks[i].plain)]) // plaintext
	}
	return total, w.err
}

// Abort gives the stream up: it clears the plaintext that waits for its block to
// be full. Afterwards nothing is written. After Close it does nothing.
func (w *Writer) Abort() {
	clear(w.block[:cap(w.block)])
	w.block = w.block[:0]
	if w.err == nil {
		w.err = ErrAborted
	}
}

// WriteIndex packs what is left and writes an index of size bytes as a frame that
// other readers pass over (docs/FORMAT.md, "The index"). Nothing but Close may
// follow. It is for codec Zstd; a stream with too many frames for a seek table
// gets no index.
func (w *Writer) WriteIndex(content io.Reader, size int64) error {
	if w.err != nil {
		return w.err
	}
	if w.opts.Codec != Zstd || size > math.MaxUint32-8 {
		return fmt.Errorf("writing the index: %d bytes do not go into a stream of codec %s", size, w.opts.Codec)
	}
	w.end()
	if w.err != nil || w.table.tooMany {
		return w.err
	}
	head := binary.LittleEndian.AppendUint32(nil, IndexMagic)
	head = binary.LittleEndian.AppendUint32(head, uint32(size))
	w.table.add(len(head)+int(size), 0)
	if _, w.err = parallel.WriteFull(w.dst, head); w.err == nil {
		var n int64
		if n, w.err = io.Copy(w.dst, io.LimitReader(content, size)); w.err == nil && n < size {
			w.err = io.ErrUnexpectedEOF
		}
	}
	return w.err
}

// end packs the last block.
func (w *Writer) end() {
	if w.enc != nil && (len(w.block) > 0 || w.blocks == 0) {
		w.flush()
	}
	clear(w.block[:cap(w.block)]) // plaintext
}

// Close packs what is left, an empty frame or member for an empty input, and
// writes the seek table. The underlying writer stays open.
func (w *Writer) Close() error {
	if w.err == ErrClosed {
		return nil
	}
	if w.err != nil {
		return w.err
	}
	w.end()
	if w.err == nil && w.opts.Codec == Zstd {
		_, w.err = parallel.WriteFull(w.dst, w.table.frame())
	}
	if w.err != nil {
		return fmt.Errorf("ending the packed stream: %w", w.err)
	}
	w.err = ErrClosed
	return nil
}

type zstdEncoder struct{ *zstd.Encoder }

func newZstdEncoder(o Options) (encoder, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstdLevels[o.Level]),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(windowFor(o.BlockSize)),
		zstd.WithSingleSegment(true), // the header then always has the content size
		zstd.WithEncoderCRC(true),
		// Text without repeats, such as hex, still has half its size to lose.
		// By itself the library stores a block in which it finds no match.
		zstd.WithAllLitEntropyCompression(true),
	)
	if err != nil {
		return nil, fmt.Errorf("setting up zstd: %w", err)
	}
	return zstdEncoder{enc}, nil
}

// emptyFrame is a frame of no bytes, with content size and checksum; the
// library would leave the checksum out.
var emptyFrame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x24, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51}

func (e zstdEncoder) encode(dst, block []byte) []byte {
	if len(block) == 0 {
		return append(dst, emptyFrame...)
	}
	return e.EncodeAll(block, dst)
}

// gzipEncoder lends out compressors, as many as there are workers at once.
type gzipEncoder struct{ free chan *gzipWriter }

type gzipWriter struct {
	*gzip.Writer
	out appender
}

// appender is where a member goes; a new bytes.Buffer for each would be garbage.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func newGzipEncoder(o Options) encoder {
	e := gzipEncoder{make(chan *gzipWriter, runtime.GOMAXPROCS(0))}
	for range cap(e.free) {
		w, err := gzip.NewWriterLevel(nil, gzipLevels[o.Level])
		if err != nil {
			panic("pack: " + err.Error()) // the table above holds an impossible level
		}
		e.free <- &gzipWriter{Writer: w}
	}
	return e
}

func (e gzipEncoder) encode(dst, block []byte) []byte {
	w := <-e.free
	defer func() { e.free <- w }()
	w.out = dst
	w.Reset(&w.out)
	w.Write(block) // an appender takes everything
	w.Close()
	dst, w.out = w.out, nil
	return dst
}
