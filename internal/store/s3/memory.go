package s3store

import (
	"context"
	"runtime"
)

// next is the size of the part that is being filled.
func (w *Writer) next() int64 {
	if n := w.n + 1; n <= w.s.plan.direct {
		return w.s.plan.size(n)
	}
	return w.s.plan.top
}

// grow makes room for n more bytes, without taking all of a part's memory for a
// small file.
func grow(buf []byte, n, most int) []byte {
	need := len(buf) + n
	if need <= cap(buf) {
		return buf
	}
	larger := make([]byte, len(buf), min(max(need, 2*cap(buf), 64<<10), most))
	copy(larger, buf)
	return larger
}

// room sees that buf is a part with room in it.
func (w *Writer) room() error {
	if w.buf != nil && int64(len(w.buf)) < w.next() {
		return context.Cause(w.ctx)
	}
	if w.buf != nil {
		if err := w.dispatch(); err != nil {
			return err
		}
	}
	// A part that is not the first will be filled: its memory is taken at once.
	size := w.next()
	if size > w.grown {
		if err := w.growParts(size); err != nil {
			return err
		}
	}
	w.price = cost(size, w.s.writers.Load())
	if err := w.pay(w.price); err != nil {
		return err
	}
	select {
	case w.buf = <-w.free:
		w.buf = w.buf[:0]
	default:
	}
	if w.n > 0 || w.up != nil {
		w.buf = grow(w.buf, int(size)-len(w.buf), int(size))
	} else if w.buf == nil {
		w.buf = make([]byte, 0, 64<<10)
	}
	return nil
}

func (w *Writer) pay(price int) error {
	for range price {
		select {
		case w.paid <- struct{}{}:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	return nil
}

// growParts has the memory of smaller parts given back before larger ones take
// any: both together, and as much again before the collector runs by itself,
// would be a multiple of the budget. It happens once or twice in an upload.
func (w *Writer) growParts(size int64) error {
	if w.grown > 0 {
		if err := w.pay(tokens); err != nil { // when the last one is sent
			return err
		}
		for len(w.free) > 0 {
			<-w.free
		}
		runtime.GC()
		for range tokens {
			<-w.paid
		}
	}
	w.grown = size
	return nil
}
