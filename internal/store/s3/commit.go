package s3store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Commit sends the rest and gives the file its name, and then writes its
// sidecar. With an error nothing is left; when taking it back failed as well,
// or is not allowed, the error says so.
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
			// The file stands, and is no backup yet: take it back.
			return store.Result{}, withCleanup(w.fail(err), errors.Join(w.undo(made), w.Abort()))
		}
	}
	w.end()
	return result, nil
}

// finish makes the object.
func (w *Writer) finish() (stamp, error) {
	if err := context.Cause(w.ctx); err != nil {
		return stamp{}, err
	}
	if w.up == nil {
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
	if err == nil {
		w.up.id = "" // there is nothing to abort
	}
	return made, err
}

func (w *Writer) sum() (sum [sha256.Size]byte) {
	w.sha.Sum(sum[:0])
	return sum
}

// companions writes what belongs to the file, its sidecar last.
func (w *Writer) companions(sum [sha256.Size]byte) error {
	for _, b := range w.beside {
		if err := w.s.putBeside(w.ctx, w.o.path, b.suffix, b.content, w.o.until); err != nil {
			return err
		}
	}
	return w.s.putBeside(w.ctx, w.o.path, store.SidecarSuffix, sidecarOf(w.o.path, sum), w.o.until)
}

// undo takes back an object that was completed, and what stands beside it.
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

// Abort takes back what Write sent. After Commit, or another Abort, it does
// nothing. It waits for what is under way.
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

// end releases what the Writer holds.
func (w *Writer) end() {
	w.ended = true
	w.s.writers.Add(-1)
	w.cancel(context.Canceled)
	w.wg.Wait()
	w.buf, w.free = nil, nil
}

// withCleanup adds to err that cleaning up after it failed as well. What kind of
// error it is remains decided by err.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return fmt.Errorf("%w (cleaning up failed too: %v)", err, cleanup)
}
