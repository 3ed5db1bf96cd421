// Package many does one thing to many backups: [Find] lists them, a [Shard] takes
// its part of them, and [Each] works through them on several goroutines.
package many

import (
	"context"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Item is one thing that was found: a backup, or what could not be looked at.
type Item struct {
	store.Backup
	Err error
}

// Find lists the backups at the paths: one that names a file is that file,
// whatever its name, and below a folder all that [store.Store.Walk] finds. What
// is found by several paths is listed once. roots says that a folder is among
// them, or more than one path: some of several can fail then. The error is the
// context's, or a path's that leads nowhere.
func Find(ctx context.Context, place store.Store, paths []string) (items []Item, roots bool, err error) {
	roots = len(paths) > 1
	seen := make(map[string]bool)
	add := func(i Item) {
		if i.Err != nil || !seen[i.Path] {
			seen[i.Path] = true
			items = append(items, i)
		}
	}
	for _, path := range paths {
		b, isRoot, err := place.Stat(ctx, path)
		if err != nil {
			if ctx.Err() != nil {
				return nil, roots, context.Cause(ctx)
			}
			if len(paths) == 1 {
				return nil, roots, err
			}
			add(Item{Backup: store.Backup{Path: path}, Err: err})
			continue
		}
		if !isRoot {
			add(Item{Backup: b})
			continue
		}
		roots = true
		for b, err := range place.Walk(ctx, path) {
			if ctx.Err() != nil {
				return nil, roots, context.Cause(ctx)
			}
			if err != nil && b.Path == "" {
				b.Path = path
				if fault, ok := err.(*store.Error); ok {
					b.Path = fault.Path
				}
			}
			add(Item{Backup: b, Err: err})
		}
	}
	return items, roots, nil
}

// Each calls do(i) for i from 0 to n-1, on as many goroutines as workers says,
// and done with each result, in order and on the caller's goroutine. When the
// context ends no further do begins; Each returns when all that began have
// ended, with the context's cause if some were not begun.
func Each[T any](ctx context.Context, workers, n int, do func(ctx context.Context, i int) T, done func(i int, result T)) error {
	type result struct {
		i     int
		value T
	}
	results := make(chan result)
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range max(1, min(workers, n)) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					continue
				}
				results <- result{i, do(ctx, i)}
			}
		})
	}
	go func() { wg.Wait(); close(results) }()
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
