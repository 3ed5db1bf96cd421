package store

import (
	"context"
	"crypto/sha256"
	"iter"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// Router is the place of all paths. What is remote is only connected to when a
// path asks for it. It is safe for concurrent use.
type Router struct {
	remote func() (store.Store, error)
}

var _ store.Store = (*Router)(nil)

// New returns a router that calls remote once, when the first remote path comes.
func New(remote func() (store.Store, error)) *Router {
	return &Router{remote: sync.OnceValues(remote)}
}

func (r *Router) at(path string) (store.Store, error) {
	if store.IsRemote(path) {
		return r.remote()
	}
	return local.Folder{}, store.Check(path)
}

// Open is that of the path's place, as all methods are.
func (r *Router) Open(ctx context.Context, path string) (Object, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, path)
}

// Create is that of the path's place.
func (r *Router) Create(ctx context.Context, path string, o Options) (Writer, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Create(ctx, path, o)
}

// CreateUnique is that of the place of path(1).
func (r *Router) CreateUnique(ctx context.Context, path func(n int) string, o Options) (Writer, error) {
	p, err := r.at(path(1))
	if err != nil {
		return nil, err
	}
	return p.CreateUnique(ctx, path, o)
}

// Walk is that of root's place.
func (r *Router) Walk(ctx context.Context, root string) iter.Seq2[Backup, error] {
	p, err := r.at(root)
	if err != nil {
		return failed(err)
	}
	return p.Walk(ctx, root)
}

// Files is that of root's place.
func (r *Router) Files(ctx context.Context, root string) iter.Seq2[Backup, error] {
	p, err := r.at(root)
	if err != nil {
		return failed(err)
	}
	return p.Files(ctx, root)
}

func failed(err error) iter.Seq2[Backup, error] {
	return func(yield func(Backup, error) bool) { yield(Backup{}, err) }
}

// Stat is that of the path's place.
func (r *Router) Stat(ctx context.Context, path string) (Backup, bool, error) {
	p, err := r.at(path)
	if err != nil {
		return Backup{}, false, err
	}
	return p.Stat(ctx, path)
}

// Remove is that of the backup's place.
func (r *Router) Remove(ctx context.Context, b Backup, beside ...string) error {
	p, err := r.at(b.Path)
	if err != nil {
		return err
	}
	return p.Remove(ctx, b, beside...)
}

// PutBeside is that of the path's place.
func (r *Router) PutBeside(ctx context.Context, path, suffix string, content []byte) error {
	p, err := r.at(path)
	if err != nil {
		return err
	}
	return p.PutBeside(ctx, path, suffix, content)
}

// RemoveBeside is that of the path's place.
func (r *Router) RemoveBeside(ctx context.Context, path, suffix string, content []byte) error {
	p, err := r.at(path)
	if err != nil {
		return err
	}
	return p.RemoveBeside(ctx, path, suffix, content)
}

// Reserve is that of the path's place.
func (r *Router) Reserve(ctx context.Context, path string) (release func() error, err error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Reserve(ctx, path)
}

// Overwrite is that of the path's place.
func (r *Router) Overwrite(ctx context.Context, path string, was Object, head []byte, sum [sha256.Size]byte) error {
	p, err := r.at(path)
	if err != nil {
		return err
	}
	return p.Overwrite(ctx, path, was, head, sum)
}

// Replace is that of the path's place.
func (r *Router) Replace(ctx context.Context, path string) (Replacement, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Replace(ctx, path)
}
