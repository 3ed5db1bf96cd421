package fsutil

import (
	"errors"

	"golang.org/x/sys/unix"
)

// RenameNew renames from to to. Where something is at to, it fails with an
// error that wraps fs.ErrExist and changes nothing.
func RenameNew(from, to string) error {
	var err error = unix.EINTR
	for err == unix.EINTR {
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	}
	// an old kernel, or a file system without such a rename, as NFS
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return LinkNew(from, to)
	}
	return err
}
