//go:build unix

package keystore

import (
	"os"
	"syscall"
)

// openFlags keep a named pipe from blocking and a terminal from becoming the controlling
// one. Regular files read as ever.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
