//go:build unix

package keystore

import (
	"os"
	"syscall"
)

// openFlags keep a named pipe without a writer from blocking and a terminal
// from becoming the controlling one. Neither changes how a regular file reads.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
