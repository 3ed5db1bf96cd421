package tree

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strings"

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

// mountBelow returns a mount point below a folder, at any depth, or "" (proc(5),
// mountinfo).
func mountBelow(dir string) string {
	table, _ := os.ReadFile("/proc/self/mountinfo") // without it, as where nothing is mounted
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	escaped := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			if at := escaped.Replace(fields[4]); strings.HasPrefix(at, dir+"/") {
				return at
			}
		}
	}
	return ""
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
