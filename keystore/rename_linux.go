package keystore

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames temp to path, where nothing may stand yet.
func renameNew(temp, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	// Some file systems, NFS among them, know no such rename.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return linkNew(temp, path)
	}
	return err
}
