package tree

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// bigFile goes into the archive straight from the disk, with the announced number of bytes
// whatever happens to the file.
type bigFile struct {
	fd   int
	path string
	stat unix.Stat_t
	off  int64

	// Up to end the file is a hole or is data.
	end    int64
	hole   bool
	sparse bool

	lost error // from off on, zeros stand in for what cannot be read
}

func newBigFile(fd int, e *entry) *bigFile {
	const countedIn = 512 // whatever the block size of the file system
	return &bigFile{fd: fd, path: e.path, stat: e.stat, sparse: e.stat.Blocks*countedIn < e.stat.Size}
}

func (f *bigFile) done() bool { return f.off == f.stat.Size }

func (f *bigFile) close() { closeFD(f.fd) }

func (f *bigFile) read(p []byte) int {
	if f.done() {
		return 0 // it became empty
	}
	if f.off == f.end {
		f.nextExtent()
	}
	p = p[:min(int64(len(p)), f.end-f.off)]
	n := len(p)
	if f.hole || f.lost != nil {
		clear(p)
	} else if got, err := pread(f.fd, p, f.off); err == nil {
		n = got
	} else {
		f.lost = err
		clear(p)
	}
	f.off += int64(n)
	return n
}

func (f *bigFile) nextExtent() {
	f.end, f.hole = f.stat.Size, false
	if !f.sparse || f.lost != nil {
		return
	}
	data, err := unix.Seek(f.fd, f.off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO: // no data follows
		f.hole = true
	case err != nil: // the file system cannot tell
		f.sparse = false
	case data > f.off:
		f.end, f.hole = min(data, f.stat.Size), true
	default:
		if hole, err := unix.Seek(f.fd, f.off, unix.SEEK_HOLE); err == nil && hole > f.off {
			f.end = min(hole, f.stat.Size)
		}
	}
}

// restart restarts the file in its present state, and reports whether it can.
func (f *bigFile) restart(st *unix.Stat_t) bool {
	if unix.Fstat(f.fd, st) != nil || st.Size > MaxSize {
		return false
	}
	*f = bigFile{fd: f.fd, path: f.path, stat: *st, sparse: f.sparse}
	return true
}

// checkUnchanged reports, after the last byte, whether the file changed meanwhile.
func (f *bigFile) checkUnchanged() error {
	switch {
	case f.lost != nil && f.lost != io.EOF:
		return fmt.Errorf("only a part could be read, and zeros stand for the rest: %w", f.lost)
	case f.lost != nil, hasChanged(f.fd, &f.stat):
		return ErrChanged
	}
	return nil
}
