package backup

import (
	"io"
	"sync"
)

// tailSize covers the seek table of 10 GiB, the directory of an index and more, in one
// request.
const tailSize = 256 << 10

// tailed reads the end of a stream once, when needed.
type tailed struct {
	src   io.ReaderAt
	start int64
	read  func() ([]byte, error)
}

func newTailed(src io.ReaderAt, size int64) *tailed {
	t := &tailed{src: src, start: max(0, size-tailSize)}
	t.read = sync.OnceValues(func() ([]byte, error) {
		tail := make([]byte, size-t.start)
		n, err := src.ReadAt(tail, t.start)
		if n == len(tail) {
			err = nil
		}
		return tail[:n], err
	})
	return t
}

// ReadAt implements io.ReaderAt, as src does.
func (t *tailed) ReadAt(p []byte, off int64) (int, error) {
	if off < t.start {
		return t.src.ReadAt(p, off)
	}
	tail, err := t.read()
	if err != nil {
		return t.src.ReadAt(p, off) // which may be more lucky with less
	}
	if off-t.start >= int64(len(tail)) {
		return 0, io.EOF
	}
	n := copy(p, tail[off-t.start:])
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}
