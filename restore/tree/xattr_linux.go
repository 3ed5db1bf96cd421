package tree

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// setAttribute sets an attribute of a name in the open folder, without following links.
func setAttribute(folder int, name string, a attribute) error {
	path := "/proc/self/fd/" + strconv.Itoa(folder) + "/" + name
	return unix.Lsetxattr(path, a.name, []byte(a.value), 0)
}

// The attributes that hold ACLs.
const accessACL, defaultACL = "system.posix_acl_access", "system.posix_acl_default"

// dropACL removes inherited ACLs from a new folder: its files would inherit them too, and
// rights that the backup does not have.
func dropACL(path string) {
	_ = unix.Lremovexattr(path, defaultACL)
	_ = unix.Lremovexattr(path, accessACL)
}

// copyAttributes copies a folder's attributes as far as possible.
func copyAttributes(from, to string) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, list)
	if err != nil {
		return
	}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list[:n], []byte{0}), []byte{0}) {
		if n, err := unix.Lgetxattr(from, string(name), value); err == nil {
			_ = unix.Lsetxattr(to, string(name), value[:n], 0)
		}
	}
}
