package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// RemoveBeside deletes path+suffix for good.
func (Folder) RemoveBeside(ctx context.Context, path, suffix string, content []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	path = filepath.Clean(path) + suffix
	there, err := Folder{}.Open(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return syncDir(filepath.Dir(path)) // who removed it may have been killed before this
	}
	if err != nil {
		return fault("read", path, err)
	}
	defer there.Close()
	if text, err := io.ReadAll(io.LimitReader(there, int64(len(content))+1)); err != nil {
		return fault("read", path, err)
	} else if !bytes.Equal(text, content) {
		return fmt.Errorf("remove %s: %w", path, store.ErrChanged)
	}
	if err := sys.remove(path); err != nil {
		return fault("remove", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// Reserve makes this process the writer of path, and puts the sidecar in its
// place that a Swap left that was killed between its renames.
func (Folder) Reserve(ctx context.Context, path string) (release func() error, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path = filepath.Clean(path)
	if err := checkName(path, true); err != nil {
		return nil, err
	}
	name, err := reserve(path)
	if err != nil {
		return nil, err
	}
	release = func() error {
		defer name.release()
		return name.remove()
	}
	if err := mend(ctx, path); err != nil {
		return nil, withCleanup(err, release())
	}
	return release, nil
}

// Overwrite writes in place. The new sidecar is written and synced
// first, under its temporary name, so that a full disk is found out before the
// file is touched; then the head; and last the sidecar gets its name. was has to
// come from Open of a Folder.
func (Folder) Overwrite(ctx context.Context, path string, was store.Object, head []byte, sum [sha256.Size]byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	before, ok := was.(*opened)
	if !ok || int64(len(head)) > before.Size() {
		return fmt.Errorf("overwrite %s: %d bytes do not go over what was read", path, len(head))
	}
	path = filepath.Clean(path)
	sidecar, err := reserve(path + store.SidecarSuffix)
	if err != nil {
		return err
	}
	defer sidecar.release()
	file, err := stageOverwrite(path, before.info, sidecar, sum)
	if err == nil {
		defer file.Close()
		err = overwrite(file, path, head, sidecar)
	}
	if err != nil && !sidecar.placed {
		err = withCleanup(err, sidecar.remove())
	}
	return err
}

// stageOverwrite does all that can fail before the file is touched, and opens it.
func stageOverwrite(path string, was fs.FileInfo, sidecar *reservation, sum [sha256.Size]byte) (*os.File, error) {
	if err := checkTarget(sidecar.path, true); err != nil {
		return nil, err
	}
	giveTo(was, sidecar.file)
	if err := sidecar.fill(store.FormatSidecar(sum, filepath.Base(path))); err != nil {
		return nil, err
	}
	file, err := sys.open(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("overwrite %s: %w", path, store.ErrChanged)
	}
	if err != nil {
		return nil, fault("open for writing", path, err)
	}
	now, err := file.Stat()
	if err == nil && !(os.SameFile(was, now) && was.Size() == now.Size() && was.ModTime().Equal(now.ModTime())) {
		err = fmt.Errorf("overwrite %s: %w", path, store.ErrChanged)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// overwrite changes the file and then its sidecar. A file that lost its name
// meanwhile, to prune, leaves no sidecar.
func overwrite(file *os.File, path string, head []byte, sidecar *reservation) error {
	if _, err := sys.write(file, head); err != nil {
		return fault("write", path, err)
	}
	if err := sys.sync(file); err != nil {
		return fault("sync", path, err)
	}
	if err := sidecar.place(true); err != nil {
		return err
	}
	if there, err := isSameFile(file, path); err == nil && !there {
		return withCleanup(fmt.Errorf("overwrite %s: %w", path, store.ErrChanged), sidecar.remove())
	}
	return syncDir(filepath.Dir(path))
}
