package serve

import (
	"context"
	"sync"
	"time"
)

const (
	// held is how long what was read counts, at least.
	held = 15 * time.Second
	// spared says that reading takes at most one part of so many of the time, so that a
	// page that is open does not keep a large store busy.
	spared = 10
)

// awaited is how long requests wait for a reading, from its beginning on, where the former
// one is missing or twice as old as it may be.
var awaited = 5 * time.Second

// cached is what is dear to read. It is read when somebody asks, by one at a time, and
// not again before it is old. It is safe for concurrent use.
type cached[T any] struct {
	ctx  context.Context // ends the reading
	read func(context.Context) (T, error)

	mu      sync.Mutex
	reading chan struct{} // is closed when it ends; nil: nobody reads
	began   time.Time     // of the reading
	last    result[T]
}

type result[T any] struct {
	value T
	err   error     // why value is not newer; nil when it is what was read last
	at    time.Time // when value was read; zero: never
	asked time.Time // when reading last ended
	took  time.Duration
}

// get returns what was read last, and has it read anew when that is old. It waits for
// that only where what there is will not do, and not for long.
func (c *cached[T]) get(ctx context.Context) result[T] {
	c.mu.Lock()
	good := max(held, spared*c.last.took)
	if c.reading == nil && (c.last.asked.IsZero() || time.Since(c.last.asked) > good) {
		c.reading, c.began = make(chan struct{}), time.Now()
		go c.renew(c.reading)
	}
	reading, patience := c.reading, time.Until(c.began.Add(awaited))
	wait := reading != nil && patience > 0 && time.Since(c.last.at) > 2*good
	c.mu.Unlock()
	if wait {
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case <-reading:
		case <-late.C:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *cached[T]) renew(ended chan struct{}) {
	value, err := c.read(c.ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last.err, c.last.asked, c.last.took = err, time.Now(), time.Since(c.began)
	if err == nil {
		c.last.value, c.last.at = value, c.began
	}
	c.reading = nil
	close(ended)
}
