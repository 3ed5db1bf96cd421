package parallel_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

func TestEach(t *testing.T) {
	for _, workers := range []int{0, 1, 3, 100} {
		var running, most atomic.Int64
		var got []int
		err := parallel.Each(t.Context(), workers, 50, func(_ context.Context, i int) int {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			return i * i
		}, func(i, square int) {
			if square != i*i {
				t.Errorf("%d squared is %d", i, square)
			}
			got = append(got, i)
		})
		if err != nil || len(got) != 50 || !slices.IsSorted(got) || most.Load() > int64(max(1, workers)) {
			t.Errorf("%d workers: %v, %v, %d at once", workers, got, err, most.Load())
		}
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	began := 0
	err := parallel.Each(ctx, 1, 50, func(context.Context, int) int {
		if began++; began == 3 {
			cancel(why)
		}
		return 0
	}, func(int, int) {})
	if !errors.Is(err, why) || began != 3 {
		t.Errorf("stopped after %d: %v", began, err)
	}
}
