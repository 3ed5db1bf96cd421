package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// ErrNoSeekTable is returned for a packed stream that can be read in order alone.
var ErrNoSeekTable = errors.New("the packed stream has no seek table")

// IndexMagic begins the skippable frame that holds an index (docs/FORMAT.md,
// "The index").
const IndexMagic = 0x184D2A5B

// ReaderAt unpacks ranges of a zstd stream by its seek table. A range costs the
// frames that it touches. The table is a hint: a frame is used only when it is as
// long, packed and unpacked, as the table says. A ReaderAt is safe for concurrent
// use when its source is; it needs no closing.
type ReaderAt struct {
	src    io.ReaderAt
	frames []frameSpan
	size   int64
	dec    *zstd.Decoder // safe for concurrent use
	packed sync.Pool     // of *[]byte
	last   atomic.Pointer[unpacked]
}

// frameSpan is where a frame ends, packed and unpacked. It begins where the one
// before it ends.
type frameSpan struct{ packed, plain int64 }

// unpacked is the content of a frame, and is not changed any more.
type unpacked struct {
	frame int
	plain []byte
}

// NewReaderAt reads the seek table of the zstd stream that fills the first size
// bytes of src. The errors are ErrNoSeekTable, *Error for a table that cannot be
// this stream's, and those of src. Memory is 16 bytes for each frame, and for each
// call at most three frames of 8 MiB.
func NewReaderAt(src io.ReaderAt, size int64) (*ReaderAt, error) {
	r := &ReaderAt{src: src}
	if err := r.readTable(size); err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderMaxMemory(MaxBlockSize), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("setting up zstd: %w", err)
	}
	r.dec = dec
	r.packed.New = func() any { return new([]byte) }
	return r, nil
}

func badTable(format string, args ...any) error {
	return &Error{Zstd, fmt.Errorf("the seek table is not this stream's: "+format, args...)}
}

// readTable reads the table from the end of the stream, and holds it to its own
// place.
func (r *ReaderAt) readTable(size int64) error {
	const head = 8
	if size < head+seekFooterSize {
		return ErrNoSeekTable
	}
	var footer [seekFooterSize]byte
	if err := readAt(r.src, footer[:], size-seekFooterSize); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(footer[5:]) != seekFooterMagic {
		return ErrNoSeekTable
	}
	count := int64(binary.LittleEndian.Uint32(footer[:]))
	if footer[4] != 0 {
		return badTable("its entries are of a form that backups do not have")
	}
	start := size - seekFooterSize - count*seekEntrySize - head
	if count > maxSeekEntries || start <= 0 { // before the table is a frame at least
		return badTable("it says that there are %d frames", count)
	}
	table := make([]byte, size-seekFooterSize-start) // no more than src has
	if err := readAt(r.src, table, start); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(table) != seekTableMagic || int64(binary.LittleEndian.Uint32(table[4:])) != size-start-head {
		return badTable("it does not begin where it should")
	}
	r.frames = make([]frameSpan, 0, count)
	var end frameSpan
	for e := table[head:]; len(e) > 0; e = e[seekEntrySize:] {
		end.packed += int64(binary.LittleEndian.Uint32(e))
		end.plain += int64(binary.LittleEndian.Uint32(e[4:]))
		r.frames = append(r.frames, end)
	}
	if end.packed != start {
		return badTable("its frames end at byte %d, and it begins at byte %d", end.packed, start)
	}
	r.size = end.plain
	return nil
}

// readAt fills p from off. An io.ReaderAt may return io.EOF with a full p.
func readAt(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return &Error{Zstd, errors.New("the packed stream ends too early")}
	}
	return err
}

// Size returns the length of the content by the table.
func (r *ReaderAt) Size() int64 { return r.size }

func (r *ReaderAt) begin(i int) frameSpan {
	if i == 0 {
		return frameSpan{}
	}
	return r.frames[i-1]
}

// Index returns the content of the skippable frame before the table, if it is an
// index.
func (r *ReaderAt) Index() (_ *io.SectionReader, ok bool, err error) {
	const head = 8
	i := len(r.frames) - 1
	if r.frames[i].plain != r.begin(i).plain || r.frames[i].packed-r.begin(i).packed < head {
		return nil, false, nil
	}
	begin, length := r.begin(i).packed, r.frames[i].packed-r.begin(i).packed
	var b [head]byte
	if err := readAt(r.src, b[:], begin); err != nil {
		return nil, false, err
	}
	if binary.LittleEndian.Uint32(b[:]) != IndexMagic {
		return nil, false, nil
	}
	if int64(binary.LittleEndian.Uint32(b[4:])) != length-head {
		return nil, false, badTable("the index is not as long as its entry says")
	}
	return io.NewSectionReader(r.src, begin+head, length-head), true, nil
}

// ReadAt fills p with content from off on, as io.ReaderAt has it. Neighbouring
// frames are read in one go, and the last frame of a call is remembered for the
// next. The errors are io.EOF, *Error for a frame that does not unpack or is not as
// the table says, and those of the source.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("reading the packed stream at a negative offset")
	}
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		i := sort.Search(len(r.frames), func(i int) bool { return r.frames[i].plain > off })
		got, err := r.readFrom(i, p[n:], off)
		n += got
		off += int64(got)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readFrom reads from frame i, which holds off, and from as many after it as p
// wants and one read can bring.
func (r *ReaderAt) readFrom(i int, p []byte, off int64) (n int, err error) {
	if last := r.last.Load(); last != nil && last.frame == i {
		return copy(p, last.plain[off-r.begin(i).plain:]), nil
	}
	begin := r.begin(i).packed
	end := i + 1
	for end < len(r.frames) && r.frames[end-1].plain < off+int64(len(p)) && r.frames[end].packed-begin <= maxPackedFrame {
		end++
	}
	if length := r.frames[end-1].packed - begin; length > maxPackedFrame {
		return 0, &Error{Zstd, fmt.Errorf("frame %d has %d bytes, which is too much for one that is read by itself", i, length)}
	}
	buf := r.packed.Get().(*[]byte)
	defer r.packed.Put(buf)
	length := int(r.frames[end-1].packed - begin)
	*buf = slices.Grow((*buf)[:0], length)[:length]
	packed := *buf
	if err := readAt(r.src, packed, begin); err != nil {
		return 0, err
	}
	for ; i < end && n < len(p); i++ {
		length := r.frames[i].packed - r.begin(i).packed
		plain, err := r.unpack(i, packed[:length])
		if err != nil {
			return n, &Error{Zstd, fmt.Errorf("frame %d: %w", i, err)}
		}
		packed = packed[length:]
		got := copy(p[n:], plain[off-r.begin(i).plain:])
		n += got
		off += int64(got)
		if n == len(p) {
			r.last.Store(&unpacked{i, plain})
		}
	}
	return n, nil
}

func (r *ReaderAt) unpack(i int, packed []byte) ([]byte, error) {
	size := r.frames[i].plain - r.begin(i).plain
	if size == 0 {
		return nil, nil // skippable, or empty: nothing of it is used
	}
	if size > MaxBlockSize {
		return nil, fmt.Errorf("%d bytes are too much for one that is read by itself", size)
	}
	var head zstd.Header
	if err := head.Decode(packed); err != nil {
		return nil, err
	}
	if head.DictionaryID != 0 {
		return nil, errors.New("it needs a dictionary, and backups have none")
	}
	if length, err := frameLength(packed, &head); err != nil || length != len(packed) {
		return nil, errors.New("it is not as long as the seek table says")
	}
	plain, err := r.dec.DecodeAll(packed, make([]byte, 0, size))
	if err != nil {
		return nil, err
	}
	if int64(len(plain)) != size {
		return nil, fmt.Errorf("it has %d bytes, and the seek table says %d", len(plain), size)
	}
	return plain, nil
}

// frameLength returns how long the frame is that packed begins with, by the
// headers of its blocks.
func frameLength(packed []byte, head *zstd.Header) (int, error) {
	n := head.HeaderSize
	for last := head.Skippable; !last; {
		if n+3 > len(packed) {
			return 0, io.ErrUnexpectedEOF
		}
		var size int
		var err error
		if last, size, err = blockHeader(packed[n:]); err != nil {
			return 0, err
		}
		n += 3 + size
	}
	if head.HasCheckSum {
		n += 4
	}
	return n, nil
}
