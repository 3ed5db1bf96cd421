package s3store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"regexp"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Writer writes a file to a bucket. It is not safe for concurrent use. It must be ended
// with Commit or Abort; Abort after Commit does nothing, so it can be deferred. Its context
// governs all of it.
type Writer struct {
	s       *Store
	c       *connection
	ctx     context.Context
	cancel  context.CancelCauseFunc
	o       object
	sidecar bool
	beside  []beside

	plan  plan
	buf   []byte // the part that is being filled; nil between parts
	n     int    // parts sent to up, or to a segment of it
	size  int64
	paid  chan struct{} // tokens for the parts in memory
	price int           // those for buf
	free  chan []byte   // buffers to use again
	wg    sync.WaitGroup

	up       *upload // nil while all of it fits into buf
	segments []*segment

	sha    hash.Hash
	hashed chan struct{} // closed when sha has everything that was dispatched
	ended  bool
}

type beside struct {
	suffix  string
	content []byte
}

// Create implements store.Store: it tries whether path can be written, now and not after
// hours, and begins it. Options.Parents is ignored: buckets have no folders. It returns a
// *Writer.
//
// It fails with store.ErrExists when the name is taken; without the right to look at the
// bucket only Commit does. It fails with ErrTooLarge when Options.Size does not fit.
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
	if o.Sidecar && o.Size == 0 && c.of(bucket).unequal.no() {
		w.plan.part = max(w.plan.part, s.partFor(ctx, path))
	}
	if err = w.expect(o.Size); err == nil && o.Size > w.plan.limit() {
		err = w.plan.tooLarge(path)
	}
	if err != nil {
		w.end()
		return nil, s.fault(ctx, "create", path, err)
	}
	return w, nil
}

// expect makes the parts large enough for so many bytes where all must have one size.
func (w *Writer) expect(size int64) error {
	if size <= w.plan.part*int64(w.plan.direct) {
		return nil
	}
	able, err := w.s.unequal(w.ctx, w.c, w.o)
	if err == nil && !able {
		w.plan = w.s.plan.equal().holding(size)
	}
	return err
}

// seriesTime is the part of a name that differs within a series.
var seriesTime = regexp.MustCompile(`_\d{8}_\d{6}.*$`)

// partFor is the size of equal parts for a backup half as large again as the largest listed
// one of its series.
func (s *Store) partFor(ctx context.Context, path string) (part int64) {
	name := store.Base(path)
	series := seriesTime.ReplaceAllString(name, "")
	for b, err := range s.list(ctx, store.Dir(path)) {
		if err != nil {
			return part
		}
		if other := store.Base(b.Path); b.Named() && series != name && seriesTime.ReplaceAllString(other, "") == series {
			part = max(part, s.plan.holding(b.Size+b.Size/2).part)
		}
	}
	return part
}

// writer begins a file without asking anything.
func (s *Store) writer(ctx context.Context, c *connection, o object) *Writer {
	s.writers.Add(1)
	w := &Writer{s: s, c: c, o: o, plan: s.plan, sha: sha256.New(), paid: make(chan struct{}, tokens), free: make(chan []byte, maxSlots)}
	if c.of(o.bucket).unequal.no() {
		w.plan = s.plan.equal()
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.hashed = make(chan struct{})
	close(w.hashed)
	return w
}

// Beside implements store.Writer: path+suffix is written after the file and before its
// sidecar.
func (w *Writer) Beside(suffix string, content []byte) {
	w.beside = append(w.beside, beside{suffix, content})
}

// Write returns once p is in memory, and waits while that is full. After an error every
// Write and Commit returns that error.
func (w *Writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, os.ErrClosed
	}
	if w.size+int64(len(p)) > w.plan.limit() {
		return 0, w.fail(w.plan.tooLarge(w.o.path))
	}
	written := 0
	for len(p) > 0 {
		if err := w.room(); err != nil {
			return written, w.fail(err)
		}
		n := min(len(p), int(w.plan.part)-len(w.buf))
		w.buf = grow(w.buf, n, int(w.plan.part))
		w.buf = append(w.buf, p[:n]...)
		w.size += int64(n)
		written += n
		p = p[n:]
	}
	return written, context.Cause(w.ctx)
}

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

// hash adds part to the sum, concurrently and in order. The channel is closed when that is
// done.
func (w *Writer) hash(part []byte) <-chan struct{} {
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

// fail makes err, or an earlier error, the outcome.
func (w *Writer) fail(err error) error {
	w.cancel(w.s.fault(w.ctx, "write", w.o.path, err))
	return context.Cause(w.ctx)
}

// grow makes room for n more bytes, without all of a part's memory for a small file.
func grow(buf []byte, n, most int) []byte {
	need := len(buf) + n
	if need <= cap(buf) {
		return buf
	}
	larger := make([]byte, len(buf), min(max(need, 2*cap(buf), 64<<10), most))
	copy(larger, buf)
	return larger
}

func (w *Writer) room() error {
	if w.buf != nil && int64(len(w.buf)) < w.plan.part {
		return context.Cause(w.ctx)
	}
	if w.buf != nil {
		if err := w.dispatch(); err != nil {
			return err
		}
	}
	// Later parts will be filled: their memory is allocated at once.
	w.price = cost(w.plan.part, w.s.writers.Load())
	if err := w.pay(w.price); err != nil {
		return err
	}
	select {
	case w.buf = <-w.free:
		w.buf = w.buf[:0]
	default:
	}
	if w.n > 0 || w.up != nil {
		w.buf = grow(w.buf, int(w.plan.part)-len(w.buf), int(w.plan.part))
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

// Commit sends the rest, gives the file its name, and then writes its sidecar. After an
// error nothing is left, unless the error says that the clean-up failed too.
func (w *Writer) Commit() (store.Result, error) {
	if w.ended {
		return store.Result{}, os.ErrClosed
	}
	made, err := w.finish()
	if err != nil {
		return store.Result{}, withCleanup(w.fail(err), w.Abort())
	}
	result := store.Result{Path: w.o.path, Size: w.size}
	if w.sidecar {
		sum := w.sum()
		result.SHA256 = hex.EncodeToString(sum[:])
		if err := w.companions(sum); err != nil {
			// The file exists, but is not a backup yet: delete it.
			return store.Result{}, withCleanup(w.fail(err), errors.Join(w.undo(made), w.Abort()))
		}
	}
	w.end()
	return result, nil
}

// onePut is the limit of a single request: a server may refuse a larger one by breaking the
// connection, but not a part of an upload.
const onePut = 8 * mib

func (w *Writer) finish() (stamp, error) {
	if err := context.Cause(w.ctx); err != nil {
		return stamp{}, err
	}
	if w.up == nil && len(w.buf) <= onePut {
		<-w.hash(w.buf)
		return w.s.put(w.ctx, w.c, w.tagged(w.buf), w.buf)
	}
	if w.buf != nil {
		if err := w.dispatch(); err != nil {
			return stamp{}, err
		}
	}
	w.endSegment()
	w.wg.Wait()
	if err := context.Cause(w.ctx); err != nil {
		return stamp{}, err
	}
	if w.up.size != w.size {
		return stamp{}, fmt.Errorf("write %s: %d of %d bytes were uploaded", w.o.path, w.up.size, w.size)
	}
	made, err := w.up.complete(w.ctx)
	if err != nil {
		return stamp{}, err
	}
	w.up.id = "" // there is nothing to abort
	if w.up.unproved {
		err = w.s.readBack(w.ctx, w.c, w.o, made, w.sum())
	}
	if err != nil {
		ctx, cancel := w.s.cleanup(w.ctx)
		defer cancel()
		err = withCleanup(err, w.s.delete(ctx, w.c, w.o.path, w.o.bucket, w.o.key, made))
	}
	return made, err
}

func (w *Writer) sum() (sum [sha256.Size]byte) {
	w.sha.Sum(sum[:0])
	return sum
}

func (w *Writer) companions(sum [sha256.Size]byte) error {
	for _, b := range w.beside {
		if err := w.s.putBeside(w.ctx, w.o.path, b.suffix, b.content, w.o.until); err != nil {
			return err
		}
	}
	return w.s.putBeside(w.ctx, w.o.path, store.SidecarSuffix, sidecarOf(w.o.path, sum), w.o.until)
}

// undo deletes a completed object and its companions.
func (w *Writer) undo(made stamp) error {
	ctx, cancel := w.s.cleanup(w.ctx)
	defer cancel()
	for _, b := range append([]beside{{suffix: store.SidecarSuffix}}, w.beside...) {
		if err := w.s.removeBeside(ctx, w.o.path, b.suffix, nil); err != nil {
			return err
		}
	}
	return w.s.fault(ctx, "delete", w.o.path, w.s.delete(ctx, w.c, w.o.path, w.o.bucket, w.o.key, made))
}

// Abort deletes what Write sent, and waits for requests under way. After Commit or another
// Abort it does nothing.
func (w *Writer) Abort() error {
	if w.ended {
		return nil
	}
	w.cancel(context.Canceled)
	w.wg.Wait()
	var err error
	if w.up != nil && w.up.id != "" {
		err = w.up.abort(w.ctx)
	}
	err = errors.Join(err, w.dropSegments())
	w.end()
	return err
}

func (w *Writer) end() {
	w.ended = true
	w.s.writers.Add(-1)
	w.cancel(context.Canceled)
	w.wg.Wait()
	w.buf, w.free = nil, nil
}

// withCleanup adds to err that the clean-up failed too; err still decides the kind.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return fmt.Errorf("%w (cleaning up failed too: %v)", err, cleanup)
}
