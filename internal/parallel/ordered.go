// Package parallel runs work on several cores and delivers it in order: a fixed set of
// workers that take turns at the input, and one consumer, over a fixed set of reused items,
// which bound the memory. No goroutine outlives the call.
package parallel

import (
	"io"
	"sync"
)

// Stages are an item's three steps. Fill runs on one goroutine at a time, Drain on one,
// and both see the items in the same order; Work runs on many.
type Stages[T any] struct {
	// Fill puts the next piece of input into item. ok means that there is a piece; the
	// input is over when ok is false or err is not nil. io.EOF is a good end; other errors
	// are reported after all pieces, including one that came with it, were drained.
	Fill func(item *T) (ok bool, err error)

	// Work does the expensive step. It leaves its error in the item, for Drain.
	Work func(item *T)

	// Drain delivers a finished item. An error ends the run.
	Drain func(item *T) error
}

// Run moves pieces through the stages until the input is over or a stage fails, and returns
// the first error in the order of the pieces. Drain runs on the caller's goroutine. When
// Drain fails, Run still waits for a Fill under way: a caller whose input may block forever
// makes it fail from outside.
//
// Who fills an item also works on it, so that its bytes are in the nearest cache, and
// nobody needs to be woken. There is one goroutine more than workers, for the input.
//
// An item is filled only when those before it are in use, so a short input touches few.
func Run[T any](workers int, items []T, s Stages[T]) error {
	type slot struct {
		item *T
		done chan struct{}
	}
	// Room for every slot, so that no send below can block.
	free := make(chan *slot, len(items))
	order := make(chan *slot, len(items))
	quit := make(chan struct{})
	for i := range items {
		free <- &slot{item: &items[i], done: make(chan struct{}, 1)}
	}

	var turn sync.Mutex // at the input, guards over and fillErr
	var over bool
	var fillErr error
	fill := func() *slot {
		turn.Lock()
		defer turn.Unlock()
		if over {
			return nil
		}
		select {
		case <-quit:
			return nil
		case sl := <-free:
			ok, err := s.Fill(sl.item)
			if ok {
				order <- sl
			}
			if over = !ok || err != nil; over {
				fillErr = err
				close(order)
			}
			if !ok {
				return nil
			}
			return sl
		}
	}
	var wg sync.WaitGroup
	for range min(workers+1, len(items)) {
		wg.Go(func() {
			for sl := fill(); sl != nil; sl = fill() {
				select {
				case <-quit: // nobody will look at it
				default:
					s.Work(sl.item)
				}
				sl.done <- struct{}{}
			}
		})
	}

	var drainErr error
	for sl := range order {
		<-sl.done
		if drainErr = s.Drain(sl.item); drainErr != nil {
			close(quit)
			break
		}
		free <- sl
	}
	wg.Wait()
	if drainErr != nil {
		return drainErr
	}
	if fillErr == io.EOF {
		return nil
	}
	return fillErr
}

// WriteFull writes all of p to dst. A short write without an error, which io.Writer
// forbids, is io.ErrShortWrite. Nothing is written as nothing: a pipe whose reader has all
// that it needs, and has closed it, would fail.
func WriteFull(dst io.Writer, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := dst.Write(p)
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// ReadFull is ReadAtLeast for the whole of buf.
func ReadFull(src io.Reader, buf []byte) (int, error) { return ReadAtLeast(src, buf, len(buf)) }

// ReadAtLeast reads into buf until it holds min bytes or src fails. With fewer than min
// bytes the error is src's; with min or more it is nil, and src will report its error
// again. Package io would turn an early io.EOF into io.ErrUnexpectedEOF, so that a source
// that reports that itself (a truncated decompressor, say) could pass for one that ended
// well.
func ReadAtLeast(src io.Reader, buf []byte, min int) (n int, err error) {
	for idle := 0; n < min && err == nil; {
		var got int
		got, err = src.Read(buf[n:])
		n += got
		if got > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	if n >= min {
		err = nil
	}
	return n, err
}
