package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBackStep is written before the kernel is asked to start bringing it to disk.
const writeBackStep = 8 << 20

// writeBack starts bringing dirty pages to disk early: otherwise the final fsync does most
// of it while the processors idle.
type writeBack struct {
	file *os.File
	done int64
}

// advance starts the write-back up to size. It is a hint, so errors are ignored; fsync
// reports real ones.
func (b *writeBack) advance(size int64) {
	if size-b.done >= writeBackStep {
		_ = unix.SyncFileRange(int(b.file.Fd()), b.done, size-b.done, unix.SYNC_FILE_RANGE_WRITE)
		b.done = size
	}
}

// share fails where the file system cannot do it, and when the offsets are not multiples of
// its blocks.
func share(to *os.File, at int64, from *os.File, off, size int64) error {
	return unix.IoctlFileCloneRange(int(to.Fd()), &unix.FileCloneRange{
		Src_fd: int64(from.Fd()), Src_offset: uint64(off), Src_length: uint64(size), Dest_offset: uint64(at),
	})
}

func free(file *os.File) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil || st.Blocks == 0 {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}
