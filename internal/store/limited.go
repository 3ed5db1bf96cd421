package store

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Limited returns a store whose Create writes at most so many bytes a second over all
// files. Small files and replacements are not slowed.
func Limited(s Store, bytesPerSecond int64) Store {
	burst := int(min(bytesPerSecond, 1<<20)) // no step waits longer than a second
	return &limited{s, rate.NewLimiter(rate.Limit(bytesPerSecond), burst)}
}

type limited struct {
	Store
	limit *rate.Limiter
}

func (l *limited) Create(ctx context.Context, path string, o Options) (Writer, error) {
	w, err := l.Store.Create(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return &limitedWriter{w, ctx, l.limit}, nil
}

type limitedWriter struct {
	Writer
	ctx   context.Context
	limit *rate.Limiter
}

func (w *limitedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		step := p[:min(len(p), w.limit.Burst())]
		if wait := w.limit.ReserveN(time.Now(), len(step)).Delay(); wait > 0 {
			select {
			case <-time.After(wait):
			case <-w.ctx.Done():
				return n, context.Cause(w.ctx)
			}
		}
		written, err := w.Writer.Write(step)
		n += written
		if err != nil {
			return n, err
		}
		p = p[len(step):]
	}
	return n, nil
}
