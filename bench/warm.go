package main

import (
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fillPageCache reads a file of holes that is as large as the memory. A virtual
// machine may have given its free memory back to its host, and getting a page
// of it again costs ten times as much as a page that is at hand: what is
// measured would depend on how much memory others have used of late. After this
// there is no free memory, only cached pages that can be had at once, and those
// of the holes go first. The file is kept: a second run finds it cached.
func (b *bench) fillPageCache() error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	progress("filling the page cache")
	f, err := os.OpenFile(filepath.Join(b.cache, "holes"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(info.Totalram) * int64(info.Unit)); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}
