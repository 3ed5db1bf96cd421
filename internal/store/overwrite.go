package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// RemoveBeside deletes path+suffix for good.
func (Folder) RemoveBeside(ctx context.Context, path, suffix string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	path = filepath.Clean(path) + suffix
	if err := sys.remove(path); err != nil {
		return fault("remove", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// Overwrite writes in place. It holds the reservations of the file and of its
// sidecar, as a writer of that name would. The new sidecar is written and synced
// first, under its temporary name, so that a full disk is found out before the
// file is touched; then the head; and last the sidecar gets its name. was has to
// come from Open of a Folder.
func (Folder) Overwrite(ctx context.Context, path string, was Object, head []byte, sum [sha256.Size]byte) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	before, ok := was.(*opened)
	if !ok || int64(len(head)) > before.Size() {
		return fmt.Errorf("overwrite %s: %d bytes do not go over what was read", path, len(head))
	}
	path = filepath.Clean(path)
	if err := checkName(path, true); err != nil {
		return err
	}
	name, err := reserve(path)
	if err != nil {
		return err
	}
	defer func() {
		if cleanup := name.remove(); err == nil {
			err = cleanup
		} else {
			err = withCleanup(err, cleanup)
		}
		name.release()
	}()
	sidecar, err := reserve(path + SidecarSuffix)
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
	if err := sidecar.fill(FormatSidecar(sum, filepath.Base(path))); err != nil {
		return nil, err
	}
	file, err := sys.open(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("overwrite %s: %w", path, ErrChanged)
	}
	if err != nil {
		return nil, fault("open for writing", path, err)
	}
	now, err := file.Stat()
	if err == nil && !(os.SameFile(was, now) && was.Size() == now.Size() && was.ModTime().Equal(now.ModTime())) {
		err = fmt.Errorf("overwrite %s: %w", path, ErrChanged)
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
		return withCleanup(fmt.Errorf("overwrite %s: %w", path, ErrChanged), sidecar.remove())
	}
	return syncDir(filepath.Dir(path))
}
