package keystore

import (
	"os"

	"golang.org/x/sys/unix"
)

// inMemory reports whether the file's file system has no disk: Kubernetes
// mounts secrets on tmpfs, systemd credentials on either.
func inMemory(file *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return false
	}
	// The field's width differs by architecture; the magic numbers have 32 bits.
	fsType := uint32(st.Type)
	return fsType == unix.TMPFS_MAGIC || fsType == unix.RAMFS_MAGIC
}
