package s3store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Writer is a file on its way into a bucket. It is not safe for concurrent use.
// Every Writer has to be ended with Commit or Abort; Abort after Commit does
// nothing, so it can be deferred. Its context governs all of it.
type Writer struct {
	s       *Store
	c       *connection
	ctx     context.Context
	cancel  context.CancelCauseFunc
	o       object
	sidecar bool
	beside  []beside

	buf   []byte // the part that is being filled; nil between parts
	n     int    // parts that were dispatched to up, or are a segment of it
	size  int64
	limit int64
	paid  chan struct{} // tokens for the parts in memory
	price int           // those for buf
	grown int64         // size of the largest part so far
	free  chan []byte   // buffers to use again
	wg    sync.WaitGroup

	up       *upload // nil while all of it fits into buf
	segments []*segment

	sha    hash.Hash     // nil when no one needs the sum
	hashed chan struct{} // closed when sha has everything that was dispatched
	ended  bool
}

type beside struct {
	suffix  string
	content []byte
}

// Create implements store.Store: it tries whether path can be written, now and
// not after hours, and begins it. Options.Parents does nothing: buckets have no
// folders. The returned Writer is a *Writer.
//
// It fails with store.ErrExists when the name is taken. A caller who may not
// look at the bucket learns that only from Commit.
func (s *Store) Create(ctx context.Context, path string, o store.Options) (store.Writer, error) {
	if o.Sidecar && o.Replace {
		panic("s3store: Options.Sidecar and Options.Replace exclude each other")
	}
	bucket, key, err := splitNew(path, o.Sidecar)
	if err != nil {
		return nil, err
	}
	c, err := s.session(ctx, "create", path)
	if err != nil {
		return nil, err
	}
	dst := object{path: path, bucket: bucket, key: key, backup: o.Sidecar, absent: !o.Replace, until: s.lockEnd()}
	if err := s.try(ctx, c, dst); err != nil {
		return nil, s.fault(ctx, "create", path, err)
	}
	w := s.writer(ctx, c, dst)
	w.sidecar = o.Sidecar
	if o.Sidecar {
		w.sha = sha256.New()
	}
	return w, nil
}

// try finds out whether an object can be made: its name is free, and beginning
// an upload of it is allowed, with the lock, the class and the tags that it
// will have. Only such a request tells a wrong secret from a missing bucket.
func (s *Store) try(ctx context.Context, c *connection, o object) error {
	if o.backup && s.opts.Tags != nil {
		o.tags = map[string]string{"kind": "test"}
	}
	quick := *c
	quick.api = c.probe
	u, err := s.begin(ctx, &quick, o)
	if err != nil {
		return err
	}
	if err := u.abort(ctx); err != nil {
		return err
	}
	if !o.absent {
		return nil
	}
	_, err = c.probe.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.bucket, Key: &o.key})
	switch {
	case err == nil:
		return fmt.Errorf("create %s: %w", o.path, store.ErrExists)
	case isMissing(err), isDenied(err): // whoever may only write cannot look
		return nil
	}
	return err
}

// writer begins a file without asking anything.
func (s *Store) writer(ctx context.Context, c *connection, o object) *Writer {
	s.writers.Add(1)
	w := &Writer{s: s, c: c, o: o, limit: s.plan.limit(), paid: make(chan struct{}, tokens), free: make(chan []byte, maxSlots)}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.hashed = make(chan struct{})
	close(w.hashed)
	return w
}

// Beside implements store.Writer: path+suffix comes after the file and before its
// sidecar, without which no backup is complete.
func (w *Writer) Beside(suffix string, content []byte) {
	w.beside = append(w.beside, beside{suffix, content})
}

// Write appends p. It returns as soon as p is in memory, and waits while that
// has no room. After an error every Write and Commit fails with that error.
func (w *Writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, os.ErrClosed
	}
	if err := w.s.plan.check(w.o.path, w.size+int64(len(p)), w.limit); err != nil {
		return 0, w.fail(err)
	}
	written := 0
	for len(p) > 0 {
		if err := w.room(); err != nil {
			return written, w.fail(err)
		}
		n := min(len(p), int(w.next())-len(w.buf))
		w.buf = grow(w.buf, n, int(w.next()))
		w.buf = append(w.buf, p[:n]...)
		w.size += int64(n)
		written += n
		p = p[n:]
	}
	return written, context.Cause(w.ctx)
}

// dispatch sends buf as the next part.
func (w *Writer) dispatch() error {
	part, price := w.buf, w.price
	w.buf = nil
	if w.up == nil {
		up, err := w.s.begin(w.ctx, w.c, w.tagged(part))
		if err != nil {
			return err
		}
		w.up = up
	}
	up, n, sent, err := w.slot()
	if err != nil {
		return err
	}
	done := w.hash(part)
	w.wg.Go(func() {
		defer sent()
		err := up.send(w.ctx, n, part)
		<-done
		if err != nil {
			_ = w.fail(err)
			return
		}
		select {
		case w.free <- part:
		default:
		}
		for range price {
			<-w.paid
		}
	})
	return nil
}

// hash adds part to the sum of the whole, beside the caller and behind the parts
// before it. The channel is closed when that is done.
func (w *Writer) hash(part []byte) <-chan struct{} {
	if w.sha == nil {
		return w.hashed
	}
	before, done := w.hashed, make(chan struct{})
	w.hashed = done
	w.wg.Go(func() {
		<-before
		w.sha.Write(part)
		close(done)
	})
	return done
}

func (w *Writer) tagged(head []byte) object {
	if w.o.backup && w.s.opts.Tags != nil {
		w.o.tags = w.s.opts.Tags(w.o.path, head)
	}
	return w.o
}

// fail makes err, or the one that came before it, the outcome.
func (w *Writer) fail(err error) error {
	w.cancel(w.s.fault(w.ctx, "write", w.o.path, err))
	return context.Cause(w.ctx)
}
