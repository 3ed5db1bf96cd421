package source

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is the limit for unprivileged processes. A dump goes on while a block of that
// size is sealed.
const pipeSize = 1 << 20

// growPipe enlarges file if it is a pipe and the system permits it.
func growPipe(file *os.File) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	// Control and not Fd, which may disable deadlines.
	_ = conn.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		if err == nil && size < pipeSize {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize)
		}
	})
}
