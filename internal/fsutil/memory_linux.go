package fsutil

import (
	"os"

	"golang.org/x/sys/unix"
)

// memory reports whether the file system has no disk: Kubernetes and Docker mount secrets
// on tmpfs, systemd credentials on either.
func memory(file *os.File) place {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return onDisk
	}
	// The field's width differs by architecture; the magic numbers have 32 bits.
	switch fsType := uint32(st.Type); {
	case fsType != unix.TMPFS_MAGIC && fsType != unix.RAMFS_MAGIC:
		return onDisk
	case st.Flags&unix.ST_RDONLY != 0:
		return readOnly
	}
	return inMemory
}
