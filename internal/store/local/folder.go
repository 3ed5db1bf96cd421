package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Folder is the Place that this host's file system is. Its methods are those of
// this package's functions; see there.
type Folder struct{}

var _ store.Store = Folder{}

// Open opens a regular file; anything else is an error and makes nobody wait.
func (Folder) Open(ctx context.Context, path string) (store.Object, error) {
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fault("look at", path, err)
	}
	return &opened{ctx: ctx, File: f, info: info}, nil
}

// opened is a file of a folder.
type opened struct {
	ctx context.Context
	*os.File
	info fs.FileInfo // when it was opened
}

func (o *opened) Read(p []byte) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	return o.File.Read(p)
}

func (o *opened) ReadAt(p []byte, off int64) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	return o.File.ReadAt(p, off)
}

func (o *opened) Size() int64        { return o.info.Size() }
func (o *opened) ModTime() time.Time { return o.info.ModTime() }

// Create is [Create].
func (Folder) Create(_ context.Context, path string, o store.Options) (store.Writer, error) {
	return asWriter(Create(path, o))
}

// CreateUnique is [CreateUnique].
func (Folder) CreateUnique(_ context.Context, path func(n int) string, o store.Options) (store.Writer, error) {
	return asWriter(CreateUnique(path, o))
}

// asWriter keeps a nil *File from becoming a Writer that is not nil.
func asWriter(f *File, err error) (store.Writer, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Walk is [Walk].
func (Folder) Walk(ctx context.Context, root string) iter.Seq2[store.Backup, error] {
	return Walk(ctx, root)
}

// Files is [Files].
func (Folder) Files(ctx context.Context, root string) iter.Seq2[store.Backup, error] {
	return Files(ctx, root)
}

// Stat follows links.
func (Folder) Stat(_ context.Context, path string) (store.Backup, bool, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return store.Backup{}, false, fmt.Errorf("look for %s: %w", path, fs.ErrNotExist)
	case err != nil:
		return store.Backup{}, false, fault("look for", path, err)
	case info.IsDir():
		return store.Backup{}, true, nil
	case !info.Mode().IsRegular():
		return store.Backup{}, false, fmt.Errorf("look for %s: it is neither a file nor a folder", path)
	}
	sidecar, err := os.Lstat(path + store.SidecarSuffix)
	return store.Backup{Path: path, Size: info.Size(), ModTime: info.ModTime(), Sidecar: err == nil && sidecar.Mode().IsRegular()}, false, nil
}

// Remove is [Remove].
func (Folder) Remove(_ context.Context, b store.Backup, beside ...string) error {
	return Remove(b, beside...)
}

// PutBeside writes path+suffix whole or not at all. It gets the owner of the
// backup.
func (Folder) PutBeside(_ context.Context, path, suffix string, content []byte) error {
	f, err := Create(path+suffix, store.Options{Replace: true})
	if err != nil {
		return err
	}
	defer f.Abort()
	if backup, err := os.Lstat(filepath.Clean(path)); err == nil {
		giveTo(backup, f.data.file)
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	_, err = f.Commit()
	return err
}
