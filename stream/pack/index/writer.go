package index

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// DefaultMemory is how much of an index a Writer holds, in bytes.
const DefaultMemory = 32 << 20

// Options say how an index is written. The zero value of each field is its default.
type Options struct {
	Memory int    // bytes of lines and keys that are held; default DefaultMemory
	Dir    string // of the temporary file; default os.TempDir
}

// Writer gathers the lines of an index. A Writer is not safe for concurrent use.
// Close frees what it holds, whether it was finished or not.
type Writer struct {
	opts    Options
	chunks  [][]byte // of memory for the records; the first used+1 have some
	used    int
	records []record
	held    int   // bytes of keys, lines and records
	runs    spill // sorted
	made    spill // the content, when it has become large
	err     error
}

// record is a line behind its key.
type record struct {
	data []byte
	key  int
}

func (r record) name() []byte { return r.data[:r.key] }
func (r record) line() []byte { return r.data[r.key:] }

const (
	recordCost = 32
	chunkSize  = 256 << 10
)

// NewWriter returns a Writer. The first line is header, which is about the whole;
// without one, SetHeader gives it later. The error is ErrLine.
func NewWriter(header []byte, o Options) (*Writer, error) {
	o.Memory = cmp.Or(o.Memory, DefaultMemory)
	w := &Writer{opts: o}
	if header == nil {
		return w, nil
	}
	if err := w.add(nil, header); err != nil {
		return nil, err
	}
	return w, nil
}

// SetHeader gives the first line, once, before Finish. The errors are those of Add.
func (w *Writer) SetHeader(header []byte) error { return w.add(nil, header) }

// Add adds a line, without its LF, under a key, which is not empty. Lines of one
// key stay in the order of their coming. The errors are ErrLine and those of the
// temporary file, which stay.
func (w *Writer) Add(key, line []byte) error {
	if len(key) == 0 {
		return ErrLine
	}
	return w.add(key, line)
}

func (w *Writer) add(key, line []byte) error {
	if len(key) > MaxKey || len(line) >= MaxFrame || bytes.IndexByte(line, '\n') >= 0 {
		return ErrLine
	}
	if w.err != nil {
		return w.err
	}
	size := len(key) + len(line)
	if len(w.records) > 0 && w.held+size+recordCost > w.opts.Memory {
		if w.err = w.spillRun(); w.err != nil {
			return w.err
		}
	}
	w.records = append(w.records, record{append(append(w.room(size), key...), line...), len(key)})
	w.held += size + recordCost
	return nil
}

// room returns nothing, with capacity for n bytes.
func (w *Writer) room(n int) []byte {
	for ; w.used < len(w.chunks); w.used++ {
		if c := w.chunks[w.used]; cap(c)-len(c) >= n {
			w.chunks[w.used] = c[:len(c)+n]
			return c[len(c) : len(c) : len(c)+n]
		}
	}
	w.chunks = append(w.chunks, make([]byte, n, max(n, chunkSize)))
	return w.chunks[w.used][:0:n]
}

func (w *Writer) sort() {
	slices.SortStableFunc(w.records, func(a, b record) int { return bytes.Compare(a.name(), b.name()) })
}

// wipe clears what is held, for new records.
func (w *Writer) wipe() {
	for i, c := range w.chunks {
		clear(c)
		w.chunks[i] = c[:0]
	}
	clear(w.records)
	w.records, w.used, w.held = w.records[:0], 0, 0
}

func (w *Writer) spillRun() error {
	w.sort()
	err := w.runs.write(w.opts.Dir, func(dst io.Writer) error {
		var head [2 * binary.MaxVarintLen64]byte
		for _, r := range w.records {
			n := binary.PutUvarint(head[:], uint64(r.key))
			n += binary.PutUvarint(head[n:], uint64(len(r.line())))
			if _, err := dst.Write(head[:n]); err != nil {
				return err
			}
			if _, err := dst.Write(r.data); err != nil {
				return err
			}
		}
		return nil
	})
	w.wipe()
	return err
}

type run struct {
	number    int
	key, line []byte
	next      func(*run) (ok bool, err error)
}

// merge is a heap of runs: the least key first, of equal ones that of the run that
// was begun first.
type merge []*run

func (m merge) Len() int { return len(m) }
func (m merge) Less(i, j int) bool {
	return cmp.Or(bytes.Compare(m[i].key, m[j].key), m[i].number-m[j].number) < 0
}
func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(x any)   { *m = append(*m, x.(*run)) }
func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

func (w *Writer) sources() (merge, error) {
	var all merge
	add := func(next func(*run) (bool, error)) error {
		r := &run{number: len(all), next: next}
		ok, err := r.next(r)
		if ok {
			all = append(all, r)
		}
		return err
	}
	for i := range w.runs.pieces {
		src, err := w.runs.read(&w.runs.pieces[i])
		if err != nil {
			return nil, err
		}
		buffered := bufio.NewReaderSize(src, 64<<10)
		if err := add(func(r *run) (bool, error) { return r.readFrom(buffered) }); err != nil {
			return nil, err
		}
	}
	w.sort()
	held := w.records
	err := add(func(r *run) (bool, error) {
		if len(held) == 0 {
			return false, nil
		}
		r.key, r.line, held = held[0].name(), held[0].line(), held[1:]
		return true, nil
	})
	heap.Init(&all)
	return all, err
}

func (r *run) readFrom(src *bufio.Reader) (bool, error) {
	key, err := binary.ReadUvarint(src)
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	line, err := binary.ReadUvarint(src)
	if err != nil {
		return false, err
	}
	buf := slices.Grow(r.key[:0], int(key+line))[:key+line] // authentic, and of our own making
	if _, err := io.ReadFull(src, buf); err != nil {
		return false, err
	}
	r.key, r.line = buf[:key], buf[key:]
	return true, nil
}

// Content is a finished index. It is read once, before its Writer is closed.
type Content struct {
	io.Reader
	Size int64 // in bytes
}

// Finish sorts and packs what was added. Nothing can be added afterwards.
func (w *Writer) Finish() (*Content, error) {
	if w.err != nil {
		return nil, w.err
	}
	w.err = errors.New("the index is finished")
	runs, err := w.sources()
	if err != nil {
		return nil, fmt.Errorf("sorting the index: %w", err)
	}
	p := &packer{w: w, lines: make([]byte, 0, MaxFrame)}
	if p.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(true), zstd.WithWindowSize(MaxFrame)); err != nil {
		return nil, fmt.Errorf("setting up zstd: %w", err)
	}
	for len(runs) > 0 {
		r := runs[0]
		if err := p.add(r.key, r.line); err != nil {
			return nil, err
		}
		switch ok, err := r.next(r); {
		case err != nil:
			return nil, fmt.Errorf("sorting the index: %w", err)
		case ok:
			heap.Fix(&runs, 0)
		default:
			heap.Pop(&runs)
		}
	}
	return p.finish()
}

type packer struct {
	w         *Writer
	enc       *zstd.Encoder
	lines     []byte
	first     []byte // key of the first of the lines
	packed    []byte // frames that are not spilled
	size      int64  // of all frames
	frames    int
	directory []byte
}

func (p *packer) add(key, line []byte) error {
	if len(p.lines)+len(line)+1 > MaxFrame {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if len(p.lines) == 0 {
		p.first = append(p.first[:0], key...)
	}
	p.lines = append(append(p.lines, line...), '\n')
	return nil
}

func (p *packer) flush() error {
	before := len(p.packed)
	p.packed = p.enc.EncodeAll(p.lines, p.packed)
	length := len(p.packed) - before
	p.directory = appendEntry(p.directory, length, p.first)
	p.frames++
	p.size += int64(length)
	p.lines = p.lines[:0]
	if len(p.packed) < p.w.opts.Memory/4 {
		return nil
	}
	err := p.w.made.write(p.w.opts.Dir, func(dst io.Writer) error { _, err := dst.Write(p.packed); return err })
	p.packed = p.packed[:0]
	return err
}

func (p *packer) finish() (*Content, error) {
	if err := p.flush(); err != nil {
		return nil, err
	}
	size := int64(len(intro)) + p.size + int64(len(p.directory)+footerSize)
	parts := []io.Reader{bytes.NewReader([]byte(intro))}
	for i := range p.w.made.pieces {
		r, err := p.w.made.read(&p.w.made.pieces[i])
		if err != nil {
			return nil, err
		}
		parts = append(parts, r)
	}
	parts = append(parts, bytes.NewReader(p.packed), bytes.NewReader(appendFooter(p.directory, len(p.directory), p.frames, size)))
	return &Content{io.MultiReader(parts...), size}, nil
}

// Close clears the lines that are held and removes the temporary files.
func (w *Writer) Close() error {
	w.wipe()
	w.chunks = nil
	if w.err == nil {
		w.err = errors.New("the index is closed")
	}
	return errors.Join(w.runs.close(), w.made.close())
}
