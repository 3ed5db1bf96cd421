package stream

import (
	"bytes"
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// Writer seals what is written to it. Close writes the final chunk, without which a stream
// is refused as truncated, so a Writer can be abandoned. A Writer is not safe for
// concurrent use.
type Writer struct {
	chunker
	dst   io.Writer
	plain []byte // the beginning of the next chunk, shorter than ChunkSize
	out   []byte // sealed bytes that dst has not had yet
	index int64  // of the chunk that plain begins
	err   error  // sticky
}

// NewWriter returns a Writer that seals to dst under the 32-byte key and the context, with
// a fresh random salt. Nothing is written before the first full run, or Close. The key is
// not kept. The error is ErrKeySize.
func NewWriter(dst io.Writer, key, context []byte) (*Writer, error) {
	salt := make([]byte, saltSize)
	random(salt)
	s, err := derive(key, salt, context)
	if err != nil {
		return nil, err
	}
	w := &Writer{chunker: chunker{schedule: s}, dst: dst}
	w.out = append(append(w.out, salt...), s.commitment[:]...)
	return w, nil
}

// random fills p from the system's generator; crypto/rand stops the program when that
// fails. A variable for tests.
var random = func(p []byte) { rand.Read(p) }

// Seal returns message sealed under key and context. It is for messages that fit in memory.
func Seal(key, context, message []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := NewWriter(&sealed, key, context)
	if err != nil {
		return nil, err
	}
	w.Write(message) // the error, if any, is sticky
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// Write seals p on the caller's goroutine. Sealed bytes are passed on in runs of 32 chunks.
// Errors are those of the underlying writer, or ErrTooLong, and stay: Close returns them
// too.
func (w *Writer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && w.err == nil {
		if len(w.plain) == 0 && len(p) >= ChunkSize {
			w.emit(p[:ChunkSize])
			p = p[ChunkSize:]
			continue
		}
		n := min(len(p), ChunkSize-len(w.plain))
		w.plain = append(w.plain, p[:n]...)
		p = p[n:]
		if len(w.plain) == ChunkSize {
			w.emit(w.plain)
			w.plain = w.plain[:0]
		}
	}
	return total - len(p), w.err
}

func (w *Writer) emit(chunk []byte) {
	if w.err = w.room(1); w.err != nil {
		return
	}
	fips140.WithoutEnforcement(func() { w.out = w.sealRun(w.out, chunk, w.index) })
	w.index++
	if len(w.out) >= runChunks*sealedChunkSize {
		w.flush()
	}
}

// room checks that n more full chunks leave a number for the final one.
func (w *Writer) room(n int64) error {
	if w.index+n >= MaxChunks {
		return ErrTooLong
	}
	return nil
}

func (w *Writer) flush() {
	if w.err == nil {
		_, w.err = parallel.WriteFull(w.dst, w.out)
		w.out = w.out[:0]
	}
}

// run is one worker's unit in the pipeline of ReadFrom or WriteTo. Which of in and out is
// sealed depends on the direction.
type run struct {
	chunker
	in, out []byte
	index   int64
	err     error
	work    func() // made once, so that entering WithoutEnforcement does not allocate
}

func newRuns(s *schedule, work func(*run)) []run {
	runs := make([]run, runtime.GOMAXPROCS(0)+2)
	for i := range runs {
		r := &runs[i]
		r.schedule = s
		r.work = func() { work(r) }
	}
	return runs
}

// pipe sends runs through the workers. Each leaves FIPS enforcement for one run
// (docs/SECURITY.md, "FIPS 140").
func pipe(runs []run, fill func(*run) (bool, error), drain func(*run) error) error {
	return parallel.Run(runtime.GOMAXPROCS(0), runs, parallel.Stages[run]{
		Fill:  fill,
		Work:  func(r *run) { fips140.WithoutEnforcement(r.work) },
		Drain: drain,
	})
}

// ReadFrom seals src until io.EOF on all cores; io.Copy uses it. Close writes the final
// chunk. When the underlying writer fails, ReadFrom returns after the current Read of src,
// so a src that can block for ever must be made to fail from outside. The error of src is
// returned as it is and stays.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	w.flush()
	if w.err != nil {
		return 0, w.err
	}
	var total int64
	runs := newRuns(w.schedule, func(r *run) { r.out = r.sealRun(r.out[:0], r.in, r.index) })
	fill := func(r *run) (bool, error) {
		if r.in == nil {
			r.in = make([]byte, runChunks*ChunkSize)
			r.out = make([]byte, 0, runChunks*sealedChunkSize)
		}
		buf := r.in[:cap(r.in)]
		have := copy(buf, w.plain)
		n, err := parallel.ReadFull(src, buf[have:])
		total += int64(n)
		full := (have + n) / ChunkSize * ChunkSize
		w.plain = append(w.plain[:0], buf[full:have+n]...) // the next run, a Write or Close goes on from here
		if tooLong := w.room(int64(full / ChunkSize)); tooLong != nil {
			return false, tooLong
		}
		r.in, r.index = buf[:full], w.index
		w.index += int64(full / ChunkSize)
		return true, err
	}
	w.err = pipe(runs, fill, func(r *run) error {
		_, err := parallel.WriteFull(w.dst, r.out)
		return err
	})
	for i := range runs {
		clear(runs[i].in[:cap(runs[i].in)]) // plaintext
	}
	return total, w.err
}

// Abort clears the buffered plaintext. Nothing is written afterwards, so the bytes in dst
// do not open. After Close it does nothing.
func (w *Writer) Abort() {
	clear(w.plain[:cap(w.plain)])
	w.plain = w.plain[:0]
	if w.err == nil {
		w.err = ErrAborted
	}
}

// Close seals the final chunk, passes everything on and ends the stream. The underlying
// writer stays open. After a failed Write, or a second time, it writes nothing and returns
// the error; a second Close after a good one returns nil.
func (w *Writer) Close() error {
	if errors.Is(w.err, ErrClosed) {
		return nil
	}
	if w.err != nil {
		return w.err
	}
	fips140.WithoutEnforcement(func() { w.out = w.aead.Seal(w.out, w.nonceOf(w.index), w.plain, nil) })
	clear(w.plain[:cap(w.plain)])
	w.flush()
	if w.err != nil {
		return fmt.Errorf("ending the sealed stream: %w", w.err)
	}
	w.err = ErrClosed
	return nil
}
