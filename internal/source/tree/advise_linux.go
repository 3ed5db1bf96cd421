package tree

import "golang.org/x/sys/unix"

// willNeed is prefetched of a large file.
const willNeed = 512 << 10

// advise has the kernel prefetch the beginning of a file. Errors of this hint do not
// matter.
func advise(fd int, size int64) { _ = unix.Fadvise(fd, 0, min(size, willNeed), unix.FADV_WILLNEED) }
