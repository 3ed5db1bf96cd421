package storetest

import (
	"context"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Faulty is a store of which each call can fail, also those of what it opens. It is
// safe for concurrent use.
type Faulty struct {
	store.Store
	// Before is called ahead of each call, one at a time, and its error fails it, before
	// anything happens.
	Before func(op, path string) error

	mu   sync.Mutex
	open atomic.Int64
}

func (f *Faulty) before(op, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Before(op, path)
}

// Left is how many of the files that were opened are not closed.
func (f *Faulty) Left() int { return int(f.open.Load()) }

// Open is that of the store.
func (f *Faulty) Open(ctx context.Context, path string) (store.Object, error) {
	if err := f.before("open", path); err != nil {
		return nil, err
	}
	return f.object(path)(f.Store.Open(ctx, path))
}

func (f *Faulty) object(path string) func(store.Object, error) (store.Object, error) {
	return func(o store.Object, err error) (store.Object, error) {
		if err != nil {
			return nil, err
		}
		f.open.Add(1)
		return &faultyObject{Object: o, f: f, path: path}, nil
	}
}

type faultyObject struct {
	store.Object
	f      *Faulty
	path   string
	closed atomic.Bool
}

func (o *faultyObject) Read(p []byte) (int, error) {
	if err := o.f.before("read", o.path); err != nil {
		return 0, err
	}
	return o.Object.Read(p)
}

func (o *faultyObject) ReadAt(p []byte, off int64) (int, error) {
	if err := o.f.before("read", o.path); err != nil {
		return 0, err
	}
	return o.Object.ReadAt(p, off)
}

func (o *faultyObject) Close() error {
	if !o.closed.Swap(true) {
		o.f.open.Add(-1)
	}
	return o.Object.Close()
}

// Create is that of the store.
func (f *Faulty) Create(ctx context.Context, path string, o store.Options) (store.Writer, error) {
	if err := f.before("create", path); err != nil {
		return nil, err
	}
	w, err := f.Store.Create(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{w, f, path}, nil
}

type faultyWriter struct {
	store.Writer
	f    *Faulty
	path string
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if err := w.f.before("write", w.path); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

func (w *faultyWriter) Commit() (store.Result, error) {
	if err := w.f.before("commit", w.path); err != nil {
		return store.Result{}, err
	}
	return w.Writer.Commit()
}

// Walk is that of the store.
func (f *Faulty) Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		if err := f.before("walk", root); err != nil {
			yield(store.Backup{}, &store.Error{Op: "list", Path: root, Err: err})
			return
		}
		f.Store.Walk(ctx, root, all)(yield)
	}
}

// Stat is that of the store.
func (f *Faulty) Stat(ctx context.Context, path string) (store.Backup, bool, error) {
	if err := f.before("stat", path); err != nil {
		return store.Backup{}, false, err
	}
	return f.Store.Stat(ctx, path)
}

// Remove is that of the store.
func (f *Faulty) Remove(ctx context.Context, b store.Backup, beside ...string) error {
	if err := f.before("remove", b.Path); err != nil {
		return err
	}
	return f.Store.Remove(ctx, b, beside...)
}

// Put is that of the store.
func (f *Faulty) Put(ctx context.Context, path, suffix string, was, now []byte) error {
	if err := f.before("put", path+suffix); err != nil {
		return err
	}
	return f.Store.Put(ctx, path, suffix, was, now)
}

// Replace is that of the store.
func (f *Faulty) Replace(ctx context.Context, path string) (store.Replacement, error) {
	if err := f.before("replace", path); err != nil {
		return nil, err
	}
	r, err := f.Store.Replace(ctx, path)
	if err != nil {
		return nil, err
	}
	return &faultyReplacement{r, f, path}, nil
}

type faultyReplacement struct {
	store.Replacement
	f    *Faulty
	path string
}

func (r *faultyReplacement) Write(p []byte) (int, error) {
	if err := r.f.before("write", r.path); err != nil {
		return 0, err
	}
	return r.Replacement.Write(p)
}

func (r *faultyReplacement) CopyFrom(ctx context.Context, off int64, seen io.Writer) error {
	if err := r.f.before("copy", r.path); err != nil {
		return err
	}
	return r.Replacement.CopyFrom(ctx, off, seen)
}

func (r *faultyReplacement) Finish() (store.Result, error) {
	if err := r.f.before("finish", r.path); err != nil {
		return store.Result{}, err
	}
	return r.Replacement.Finish()
}

func (r *faultyReplacement) Open(ctx context.Context) (store.Object, error) {
	if err := r.f.before("open new", r.path); err != nil {
		return nil, err
	}
	return r.f.object(r.path)(r.Replacement.Open(ctx))
}

func (r *faultyReplacement) Swap(ctx context.Context) error {
	if err := r.f.before("swap", r.path); err != nil {
		return err
	}
	return r.Replacement.Swap(ctx)
}
