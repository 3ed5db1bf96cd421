package parallel_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

type item struct{ in, out int }

func count(n int, finally error) func(*item) (bool, error) {
	next := 0
	return func(it *item) (bool, error) {
		if next == n {
			return false, finally
		}
		it.in = next
		next++
		return true, nil
	}
}

func TestOrderIsKept(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		for _, n := range []int{0, 1, 2, 3, 1000} {
			t.Run(fmt.Sprintf("%d workers, %d pieces", workers, n), func(t *testing.T) {
				var got []int
				err := parallel.Run(workers, make([]item, workers+1), parallel.Stages[item]{
					Fill: count(n, nil),
					Work: func(it *item) {
						if it.in%7 == 0 {
							time.Sleep(50 * time.Microsecond) // let later pieces overtake
						}
						it.out = it.in * it.in
					},
					Drain: func(it *item) error { got = append(got, it.out); return nil },
				})
				if err != nil || len(got) != n || !slices.IsSorted(got) {
					t.Errorf("%d results, error %v", len(got), err)
				}
			})
		}
	}
}

func TestFillErrorComesAfterTheLastPiece(t *testing.T) {
	broken := errors.New("broken")
	for name, fill := range map[string]func(*item) (bool, error){
		"alone": count(5, broken),
		"with a piece": func() func(*item) (bool, error) {
			n := 0
			return func(it *item) (bool, error) {
				n++
				if n == 5 {
					return true, broken
				}
				return true, nil
			}
		}(),
	} {
		drained := 0
		err := parallel.Run(2, make([]item, 3), parallel.Stages[item]{
			Fill: fill, Work: func(*item) {}, Drain: func(*item) error { drained++; return nil },
		})
		if !errors.Is(err, broken) || drained != 5 {
			t.Errorf("%s: %d pieces drained, error %v", name, drained, err)
		}
	}
}

func TestDrainErrorStopsTheRest(t *testing.T) {
	full := errors.New("full")
	before := runtime.NumGoroutine()
	var filled atomic.Int32
	err := parallel.Run(2, make([]item, 4), parallel.Stages[item]{
		Fill:  func(*item) (bool, error) { filled.Add(1); return true, nil },
		Work:  func(*item) {},
		Drain: func(*item) error { return full },
	})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if n := filled.Load(); n > 5 {
		t.Errorf("%d pieces were taken in after the failure of the first", n)
	}
	// One that has ended is counted until the scheduler has taken it away.
	for try := 0; runtime.NumGoroutine() > before && try < 6000; try++ {
		time.Sleep(10 * time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func TestReadFullKeepsTheSourcesError(t *testing.T) {
	for name, tc := range map[string]struct {
		src  io.Reader
		n    int
		want error
	}{
		"full":              {strings.NewReader("abcdef"), 4, nil},
		"short":             {strings.NewReader("ab"), 2, io.EOF},
		"full, with EOF":    {iotest.DataErrReader(strings.NewReader("abcd")), 4, nil},
		"byte by byte":      {iotest.OneByteReader(strings.NewReader("abcdef")), 4, nil},
		"broken compressor": {io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF)), 2, io.ErrUnexpectedEOF},
		"stuck":             {stuck{}, 0, io.ErrNoProgress},
	} {
		if n, err := parallel.ReadFull(tc.src, make([]byte, 4)); n != tc.n || err != tc.want {
			t.Errorf("%s: %d bytes, error %v", name, n, err)
		}
	}
}

// TestWriteFull: a pipe whose reader is gone takes nothing, and nothing need be written to
// it.
func TestWriteFull(t *testing.T) {
	t.Parallel()
	gone, w := io.Pipe()
	gone.Close()
	for text, want := range map[string]error{"": nil, "x": io.ErrClosedPipe} {
		if n, err := parallel.WriteFull(w, []byte(text)); n != 0 || err != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }
