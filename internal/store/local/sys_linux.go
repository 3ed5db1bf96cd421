package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBackStep is how much is written before the kernel is asked to start
// bringing it to disk.
const writeBackStep = 8 << 20

// writeBack keeps dirty pages from piling up until Commit: without it the final
// fsync brings most of the backup to disk while the processors idle.
type writeBack struct {
	file *os.File
	done int64
}

// advance starts the write-back of what has been written up to size. It is a
// hint, so errors do not matter; fsync reports the real ones.
func (b *writeBack) advance(size int64) {
	if size-b.done >= writeBackStep {
		_ = unix.SyncFileRange(int(b.file.Fd()), b.done, size-b.done, unix.SYNC_FILE_RANGE_WRITE)
		b.done = size
	}
}
