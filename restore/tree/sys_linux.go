package tree

import (
	"archive/tar"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func mknod(fd int, name string, h *tar.Header) error {
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	dev := 0
	if h.Typeflag != tar.TypeFifo {
		dev = int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	return unix.Mknodat(fd, name, kind|0o600, dev)
}

func syncTree(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }

func isMount(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st)
	return err == nil && st.Attributes_mask&st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// exchange swaps the names of two folders in one step. It fails with errors.ErrUnsupported
// where that is impossible.
func exchange(a, b string) error { return rename(a, b, unix.RENAME_EXCHANGE) }

// renameNew renames a folder to a name that does not exist.
func renameNew(from, to string) error {
	err := rename(from, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, errors.ErrUnsupported) {
		return renamePlain(from, to)
	}
	return err
}

func rename(from, to string, flags uint) error {
	for {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		// An old kernel, or a file system such as NFS.
		case unix.ENOSYS, unix.EINVAL:
			err = unix.ENOTSUP
		}
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
}
