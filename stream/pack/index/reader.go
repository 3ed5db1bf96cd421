package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// tail is what a Reader reads of the end at first: mostly all of the directory.
	tail = 64 << 10
	// maxDirectory bounds a directory in bytes.
	maxDirectory = 64 << 20
)

// Reader reads an index. It is safe for concurrent use when its source is, and
// needs no closing.
type Reader struct {
	src    io.ReaderAt
	frames []frame
	dec    *zstd.Decoder

	mu   sync.Mutex
	held []byte // the lines of frame at, for whoever looks up one after the other
	at   int
}

// Packed is a packed stream that may have an index, such as a pack.ReaderAt.
type Packed interface {
	Index() (content *io.SectionReader, ok bool, err error)
	Size() int64 // of the content
}

// ErrOther is returned by [Open] for an index of contents of another size.
var ErrOther = errors.New("it is not the index of this content")

// Open returns the index of packed if it is one of that format, with its header in
// head, a pointer to a struct; ok is false without one, and for one of another format or
// version. The errors are ErrOther, those of [NewReader] and those of the source.
func Open(packed Packed, format string, head any) (r *Reader, ok bool, err error) {
	content, ok, err := packed.Index()
	if err != nil || !ok {
		return nil, false, err
	}
	if r, err = NewReader(content, content.Size()); err != nil {
		return nil, false, err
	}
	line, err := r.Header()
	if err != nil {
		return nil, false, err
	}
	var common struct {
		Version int    `json:"v"`
		Format  string `json:"format"`
		Size    int64  `json:"size"`
	}
	if json.Unmarshal(line, &common) != nil || common.Version != 1 || common.Format != format || json.Unmarshal(line, head) != nil {
		return nil, false, nil
	}
	if common.Size != packed.Size() {
		return nil, false, fmt.Errorf("%w: it is of %d bytes, and the content has %d", ErrOther, common.Size, packed.Size())
	}
	return r, true, nil
}

// NewReader reads the directory of the index that fills the first size bytes of
// src. The errors are ErrMalformed and those of src. Memory is the directory, at
// most 64 MiB, a frame of 1 MiB, and for each range another.
func NewReader(src io.ReaderAt, size int64) (*Reader, error) {
	if size < int64(len(intro)+footerSize) {
		return nil, malformed("it has %d bytes", size)
	}
	end, err := section(src, max(0, size-tail), size)
	if err != nil {
		return nil, err
	}
	footer := end[len(end)-footerSize:]
	length := int64(binary.LittleEndian.Uint32(footer))
	count := int64(binary.LittleEndian.Uint32(footer[4:]))
	begin := size - int64(footerSize) - length
	switch {
	case string(footer[16:]) != magic:
		return nil, malformed("its end is not one")
	case binary.LittleEndian.Uint64(footer[8:]) != uint64(size):
		return nil, malformed("it says that it has %d bytes, of %d", binary.LittleEndian.Uint64(footer[8:]), size)
	case begin < int64(len(intro)) || length > maxDirectory || count > length/entrySize:
		return nil, malformed("its directory has %d bytes and %d frames", length, count)
	}
	directory := end[:len(end)-footerSize]
	if length > int64(len(directory)) {
		if directory, err = section(src, begin, begin+length); err != nil {
			return nil, err
		}
	}
	r := &Reader{src: src}
	if err := r.parse(directory[int64(len(directory))-length:], count, begin); err != nil {
		return nil, err
	}
	intros, err := section(src, 0, int64(len(intro)))
	if err != nil {
		return nil, err
	}
	if string(intros) != intro {
		return nil, malformed("it begins with %q", intros)
	}
	r.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxFrame), zstd.WithDecoderMaxWindow(MaxFrame))
	if err != nil {
		return nil, fmt.Errorf("setting up zstd: %w", err)
	}
	return r, nil
}

func section(src io.ReaderAt, begin, end int64) ([]byte, error) {
	b := make([]byte, end-begin)
	if n, err := src.ReadAt(b, begin); n < len(b) {
		if err == io.EOF {
			err = malformed("it is cut short")
		}
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	return b, nil
}

func (r *Reader) parse(directory []byte, count, end int64) error {
	offset := int64(len(intro))
	for i := range count {
		if len(directory) < entrySize {
			return malformed("its directory ends too early")
		}
		length := int64(binary.LittleEndian.Uint32(directory))
		key := int64(binary.LittleEndian.Uint32(directory[4:]))
		directory = directory[entrySize:]
		if key > MaxKey || key > int64(len(directory)) {
			return malformed("frame %d has a key of %d bytes", i, key)
		}
		f := frame{offset, length, directory[:key]}
		directory = directory[key:]
		if length > 2*MaxFrame || i > 0 && bytes.Compare(f.first, r.frames[i-1].first) < 0 {
			return malformed("frame %d is too long, or out of order", i)
		}
		offset += length
		r.frames = append(r.frames, f)
	}
	if len(directory) > 0 || offset != end || len(r.frames) == 0 || len(r.frames[0].first) > 0 {
		return malformed("its directory does not fit its frames")
	}
	return nil
}

// Header returns the first line, which is about the whole.
func (r *Reader) Header() ([]byte, error) {
	for line, err := range r.lines(0, 1) {
		return line, err
	}
	return nil, malformed("it has no first line")
}

// Range returns the lines, without their LFs and in order of their keys, of the
// frames in which a key from first to last can be: so lines before and after are
// among them, and the header may be. Without last, it goes to the end. A line is
// the caller's to use until the next. An error, ErrMalformed or the source's, ends
// the range.
func (r *Reader) Range(first, last []byte) iter.Seq2[[]byte, error] {
	// The frame before the first that begins at the key may end with it.
	from := sort.Search(len(r.frames), func(i int) bool { return bytes.Compare(r.frames[i].first, first) >= 0 })
	to := len(r.frames)
	if last != nil {
		to = sort.Search(len(r.frames), func(i int) bool { return bytes.Compare(r.frames[i].first, last) > 0 })
	}
	return r.lines(max(0, from-1), to)
}

// All returns all lines but the header.
func (r *Reader) All() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		header := true
		for line, err := range r.lines(0, len(r.frames)) {
			if (!header || err != nil) && !yield(line, err) {
				return
			}
			header = false
		}
	}
}

func (r *Reader) lines(from, to int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var plain []byte
		for i := from; i < to; i++ {
			var err error
			if to-from <= few {
				plain, err = r.looked(i)
			} else {
				plain, err = r.unpack(i, plain[:0])
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for line := range bytes.Lines(plain) {
				if !yield(line[:len(line)-1], nil) {
					return
				}
			}
		}
	}
}

// few is how many frames a key is looked up in.
const few = 2

func (r *Reader) looked(i int) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil && r.at == i {
		return r.held, nil
	}
	plain, err := r.unpack(i, nil)
	if err == nil {
		r.held, r.at = plain, i
	}
	return plain, err
}

func (r *Reader) unpack(i int, dst []byte) ([]byte, error) {
	f := r.frames[i]
	packed, err := section(r.src, f.offset, f.offset+f.length)
	if err != nil {
		return nil, err
	}
	plain, err := r.dec.DecodeAll(packed, slices.Grow(dst, MaxFrame))
	if err != nil || len(plain) == 0 || plain[len(plain)-1] != '\n' {
		return nil, malformed("frame %d does not unpack to lines: %v", i, err)
	}
	return plain, nil
}
