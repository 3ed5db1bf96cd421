package parallel

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Each calls do(i) for i from 0 to n-1 on the given number of goroutines, and done with
// each result, in order and on the caller's goroutine. When the context ends no further do
// begins; Each waits for those that began, and returns the context's cause if some did not.
func Each[T any](ctx context.Context, workers, n int, do func(ctx context.Context, i int) T, done func(i int, result T)) error {
	type result struct {
		i     int
		value T
	}
	results := make(chan result)
	var begun errgroup.Group
	begun.SetLimit(max(1, workers))
	go func() {
		for i := 0; i < n && ctx.Err() == nil; i++ {
			begun.Go(func() error { // after another ended, and maybe the context
				if ctx.Err() == nil {
					results <- result{i, do(ctx, i)}
				}
				return nil
			})
		}
		begun.Wait()
		close(results)
	}()
	waiting := make(map[int]T)
	told := 0
	for r := range results {
		waiting[r.i] = r.value
		for value, ok := waiting[told]; ok; value, ok = waiting[told] {
			delete(waiting, told)
			done(told, value)
			told++
		}
	}
	if told < n {
		return context.Cause(ctx)
	}
	return nil
}
