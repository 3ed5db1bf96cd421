package source

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what an unprivileged process may ask for by default. A pipe as
// large as a block lets a dump run on while a block is sealed.
const pipeSize = 1 << 20

// growPipe enlarges file if it is a pipe. Refused, the pipe works as it is.
func growPipe(file *os.File) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	// Control and not Fd, which may turn a file into one without deadlines.
	_ = conn.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		if err == nil && size < pipeSize {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize)
		}
	})
}
