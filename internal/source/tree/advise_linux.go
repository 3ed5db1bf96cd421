package tree

import "golang.org/x/sys/unix"

// willNeed is how much of a large file is fetched from the disk before its turn.
const willNeed = 512 << 10

// advise has the kernel fetch the beginning of a file: the files before it are
// still on their way. It is a hint, so errors do not matter.
func advise(fd int, size int64) { _ = unix.Fadvise(fd, 0, min(size, willNeed), unix.FADV_WILLNEED) }
