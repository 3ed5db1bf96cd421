package pack

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// Writer packs what is written to it. Close packs the last block and writes
// the seek table; without it the result is cut short. A Writer is not safe for
// concurrent use. After an error nothing more is written, and every later call
// returns the error.
type Writer struct {
	dst    io.Writer
	opts   Options
	enc    *prover // nil for None
	block  []byte  // the beginning of the next block
	packed []byte  // scratch of Write and Close
	table  seekTable
	blocks int
	err    error
}

// NewWriter returns a Writer that packs to dst. The error says which option is
// wrong.
func NewWriter(dst io.Writer, opts Options) (*Writer, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	w := &Writer{dst: dst, opts: opts}
	if opts.Codec != None {
		enc, err := newProver(opts)
		if err != nil {
			return nil, err
		}
		w.enc = enc
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
	if w.packed, w.err = w.enc.encode(w.packed[:0], w.block); w.err == nil {
		w.err = w.emit(w.packed, len(w.block))
	}
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

type block struct {
	plain, packed []byte
	err           error
}

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
		Work: func(b *block) { b.packed, b.err = w.enc.encode(b.packed[:0], b.plain) },
		Drain: func(b *block) error {
			if b.err != nil {
				return b.err
			}
			return w.emit(b.packed, len(b.plain))
		},
	})
	for i := range blocks {
		clear(blocks[i].plain[:cap(blocks[i].plain)]) // plaintext
	}
	w.enc.wipe()
	return total, w.err
}

// Abort gives the stream up: it clears the plaintext that waits for its block to
// be full. Afterwards nothing is written. After Close it does nothing.
func (w *Writer) Abort() {
	clear(w.block[:cap(w.block)])
	w.block = w.block[:0]
	w.enc.wipe()
	if w.err == nil {
		w.err = ErrAborted
	}
}

// Proof says what unpacking again found.
type Proof struct {
	Frames int64 // that were unpacked again and compared
	// Differed is how many of them did not unpack to what went in, and were packed
	// again in the ordinary way: a fault of the packer or of the machine's memory.
	Differed int64
}

// String is the proof in words, or empty when nothing was proved.
func (p Proof) String() string {
	switch {
	case p.Frames == 0:
		return ""
	case p.Differed == 0:
		return "proved"
	}
	return fmt.Sprintf("proved, %d of %d blocks packed again", p.Differed, p.Frames)
}

// Proof returns what was proved so far. It is for after Close.
func (w *Writer) Proof() Proof {
	if w.enc == nil {
		return Proof{}
	}
	return Proof{w.enc.frames.Load(), w.enc.differed.Load()}
}

// MaxIndex bounds an index in bytes, and MaxIndexed the content of streams of full blocks
// of the default size that may have one.
const (
	MaxIndex   = math.MaxUint32 - 8
	MaxIndexed = (maxSeekEntries - 1) * DefaultBlockSize
)

// WriteIndex packs what is left and writes an index of size bytes as a frame that
// other readers pass over (docs/FORMAT.md, "The index"). Nothing but Close may
// follow. It is for codec Zstd; a stream with too many frames for a seek table
// gets no index.
func (w *Writer) WriteIndex(content io.Reader, size int64) error {
	if w.err != nil {
		return w.err
	}
	if w.opts.Codec != Zstd || size > MaxIndex {
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

func (w *Writer) end() {
	if w.enc != nil && (len(w.block) > 0 || w.blocks == 0) {
		w.flush()
	}
	clear(w.block[:cap(w.block)]) // plaintext
	w.enc.wipe()
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
