// Package places sends a path to the place that it names: "s3://bucket/key" to
// S3, and any other to this host's folders. Make a [Router] and use it as the
// [store.Place] of everything.
package places

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// ErrScheme is returned for a path that looks like one of a remote place and is
// none: taken for a folder's name, it would keep backups here that were to leave.
var ErrScheme = errors.New("it names no place that there is: want s3://BUCKET/KEY, or ./ before a folder's name")

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

// Check fails with ErrScheme for a path that Router would not take.
func Check(path string) error {
	if !IsRemote(path) && scheme.MatchString(path) {
		return fmt.Errorf("%s: %w", path, ErrScheme)
	}
	return nil
}

// IsRemote tells whether a path names something on no file system of this host.
func IsRemote(path string) bool { return strings.HasPrefix(path, "s3://") }

// Clean is [filepath.Clean] for paths of any place: how Walk begins the paths of
// what it finds below root.
func Clean(root string) string {
	if !IsRemote(root) {
		return filepath.Clean(root)
	}
	return strings.TrimRight(root, "/")
}

// Join is [filepath.Join] for paths of any place.
func Join(root string, elements ...string) string {
	if !IsRemote(root) {
		return filepath.Join(append([]string{root}, elements...)...)
	}
	return Clean(root) + "/" + path.Join(elements...)
}

// Dir is [filepath.Dir] for paths of any place.
func Dir(name string) string {
	if !IsRemote(name) {
		return filepath.Dir(name)
	}
	if i := strings.LastIndexByte(name, '/'); i > len("s3://") {
		return name[:i]
	}
	return name
}

// Base is [filepath.Base] for paths of any place.
func Base(name string) string {
	if !IsRemote(name) {
		return filepath.Base(name)
	}
	return path.Base(name)
}

// Router is the place of all paths. What is remote is only connected to when a
// path asks for it. It is safe for concurrent use.
type Router struct {
	remote func() (store.Place, error)
}

var _ store.Place = (*Router)(nil)

// New returns a router that calls remote once, when the first remote path comes.
func New(remote func() (store.Place, error)) *Router {
	return &Router{remote: sync.OnceValues(remote)}
}

func (r *Router) at(path string) (store.Place, error) {
	if IsRemote(path) {
		return r.remote()
	}
	return store.Folder{}, Check(path)
}

// Open is that of the path's place, as all methods are.
func (r *Router) Open(ctx context.Context, path string) (store.Object, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, path)
}

// Create is that of the path's place.
func (r *Router) Create(ctx context.Context, path string, o store.Options) (store.Writer, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Create(ctx, path, o)
}

// CreateUnique is that of the place of path(1).
func (r *Router) CreateUnique(ctx context.Context, path func(n int) string, o store.Options) (store.Writer, error) {
	p, err := r.at(path(1))
	if err != nil {
		return nil, err
	}
	return p.CreateUnique(ctx, path, o)
}

// Walk is that of root's place.
func (r *Router) Walk(ctx context.Context, root string) iter.Seq2[store.Backup, error] {
	p, err := r.at(root)
	if err != nil {
		return failed(err)
	}
	return p.Walk(ctx, root)
}

// Files is that of root's place.
func (r *Router) Files(ctx context.Context, root string) iter.Seq2[store.Backup, error] {
	p, err := r.at(root)
	if err != nil {
		return failed(err)
	}
	return p.Files(ctx, root)
}

func failed(err error) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) { yield(store.Backup{}, err) }
}

// Stat is that of the path's place.
func (r *Router) Stat(ctx context.Context, path string) (store.Backup, bool, error) {
	p, err := r.at(path)
	if err != nil {
		return store.Backup{}, false, err
	}
	return p.Stat(ctx, path)
}

// Remove is that of the backup's place.
func (r *Router) Remove(ctx context.Context, b store.Backup, beside ...string) error {
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
func (r *Router) Overwrite(ctx context.Context, path string, was store.Object, head []byte, sum [sha256.Size]byte) error {
	p, err := r.at(path)
	if err != nil {
		return err
	}
	return p.Overwrite(ctx, path, was, head, sum)
}

// Replace is that of the path's place.
func (r *Router) Replace(ctx context.Context, path string) (store.Replacement, error) {
	p, err := r.at(path)
	if err != nil {
		return nil, err
	}
	return p.Replace(ctx, path)
}
