package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Folder is the Store of this host's file system. Its methods are this package's functions;
// see there.
type Folder struct{}

var _ store.Store = Folder{}

// Open opens a regular file; it fails for others and never blocks.
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
	return &opened{ctx: ctx, file: f, info: info}, nil
}

type opened struct {
	ctx  context.Context
	file *os.File    // whose WriteTo would pass by the context
	info fs.FileInfo // when it was opened
}

func (o *opened) Read(p []byte) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	return o.file.Read(p)
}

func (o *opened) ReadAt(p []byte, off int64) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	return o.file.ReadAt(p, off)
}

func (o *opened) Close() error       { return o.file.Close() }
func (o *opened) Size() int64        { return o.info.Size() }
func (o *opened) ModTime() time.Time { return o.info.ModTime() }

// Create is [Create].
func (Folder) Create(_ context.Context, path string, o store.Options) (store.Writer, error) {
	f, err := Create(path, o)
	if err != nil {
		return nil, err // a nil *File would be a non-nil Writer
	}
	return f, nil
}

// Walk is [Walk].
func (Folder) Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	return Walk(ctx, root, all)
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

// Put writes path+suffix whole or not at all, with the owner of the backup, which is
// reserved meanwhile.
func (Folder) Put(ctx context.Context, path, suffix string, was, now []byte) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	path = filepath.Clean(path)
	if err := checkName(path, true); err != nil {
		return err
	}
	for _, name := range []string{path, path + suffix} {
		r, reserveErr := reserve(name)
		if reserveErr != nil {
			return reserveErr
		}
		defer func() {
			if !r.placed {
				err = cleanedUp(err, r.remove())
			}
			r.release()
		}()
		if name == path+suffix {
			err = put(r, path, was, now)
		}
	}
	return err
}

func cleanedUp(err, cleanup error) error {
	if err == nil {
		return cleanup
	}
	return withCleanup(err, cleanup)
}

// put changes the file of a reservation, which belongs to the backup at path.
func put(r *reservation, path string, was, now []byte) error {
	there, err := readSmall(r.path, len(was))
	gone := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !gone:
		return fault("read", r.path, err)
	case gone && now == nil:
		return syncDir(filepath.Dir(path)) // who removed it may have been killed before this
	case gone != (was == nil), !bytes.Equal(there, was):
		return fmt.Errorf("write %s: %w", r.path, store.ErrChanged)
	case now == nil:
		if err := sys.remove(r.path); err != nil {
			return fault("remove", r.path, err)
		}
		return syncDir(filepath.Dir(path))
	}
	if backup, err := os.Lstat(path); err == nil {
		giveTo(backup, r.file)
	}
	if err := r.fill(string(now)); err != nil {
		return err
	}
	if err := r.place(true); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// readSmall reads little more than size bytes of a file.
func readSmall(path string, size int) ([]byte, error) {
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(size)+1))
}
