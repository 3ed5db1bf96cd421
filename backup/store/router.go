package store

import (
	"context"
	"iter"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// Router is the place of all paths. What is remote is only connected to when a
// path asks for it. It is safe for concurrent use.
type Router struct {
	remote func(Server) (Store, error)
	mu     sync.Mutex
	made   map[Server]Store
}

var _ Store = (*Router)(nil)

// New returns a router that calls remote once for each server, when the first path
// that names it comes. Paths that name none are of the zero Server, the one that the
// environment says.
func New(remote func(Server) (Store, error)) *Router {
	return &Router{remote: remote, made: map[Server]Store{}}
}

func (r *Router) at(path string) (Store, error) {
	if !store.IsRemote(path) {
		return local.Folder{}, store.Check(path)
	}
	_, server, err := store.SplitURL(path)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.made[server]
	if !ok {
		if s, err = r.remote(server); err != nil {
			return nil, err
		}
		r.made[server] = s
	}
	return s, nil
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

// Walk is that of root's place.
func (r *Router) Walk(ctx context.Context, root string, all bool) iter.Seq2[Backup, error] {
	p, err := r.at(root)
	if err != nil {
		return func(yield func(Backup, error) bool) { yield(Backup{}, err) }
	}
	return p.Walk(ctx, root, all)
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

// Put is that of the path's place.
func (r *Router) Put(ctx context.Context, path, suffix string, was, now []byte) error {
	p, err := r.at(path)
	if err != nil {
		return err
	}
	return p.Put(ctx, path, suffix, was, now)
}

// Replace is that of the path's place.
func (r *Router) Replace(ctx context.Context, path string) (Replacement, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Replace(ctx, path)
}
