package tree

import (
	"io"

	"golang.org/x/sys/unix"
)

const (
	blockSize = 512

	// A batch is one goroutine's unit: enough for a cheap hand-over, and at most a mebibyte
	// of content.
	batchEntries = 16
	smallSize    = 64<<10 - 1 // a byte more shows that a file grew
	batchesAhead = 12
)

type entry struct {
	path  string // as it is in the archive
	name  string // in dir
	dir   *folder
	isReg bool // is said to be a regular file
	stat  unix.Stat_t
	ready bool // stat is filled in, and there is nothing else to load

	problem error
	again   bool   // it changed, and was read again
	head    []byte // nil: it does not go into the archive
	body    []byte
	file    *bigFile
	extra   *headerExtra
	attrs   []attribute

	earlier *Facts
	same    bool   // it is as it was, and does not go into the archive
	linked  string // the first name of the file, where this is a further one
	hash    []byte // with Options.Checksum
}

func (e *entry) regular() bool { return e.stat.Mode&unix.S_IFMT == unix.S_IFREG }

func (e *entry) close() {
	if e.file != nil {
		e.file.close()
		e.file = nil
	}
	if e.dir != nil {
		e.dir.release()
		e.dir = nil
	}
}

type batch struct {
	entries []entry
	heads   []byte
	content []byte
}

func (b *batch) reset() {
	for i := range b.entries {
		b.entries[i].close()
	}
	if b.entries == nil {
		b.entries = make([]entry, 0, batchEntries)
	}
	clear(b.entries)
	b.entries = b.entries[:0]
	b.heads = b.heads[:0]
}

type loader struct {
	checksum bool
	oneDev   bool
	dev      uint64
	noXattrs bool
	owners   owners
}

func newLoader(w *walker) *loader {
	return &loader{checksum: w.opts.Checksum && w.opts.Earlier != nil, oneDev: w.opts.OneFileSystem, dev: w.dev, noXattrs: w.opts.NoXattrs}
}

func (l *loader) load(b *batch) {
	used := 0
	for i := range b.entries {
		e := &b.entries[i]
		if e.dir != nil {
			used += l.open(b, e, used)
			e.dir.release()
			e.dir = nil
		}
		// The root keeps an archive from being empty.
		if e.ready && !e.regular() && e.path != "./" {
			e.same = e.isUnchanged()
		}
		if e.ready && !e.same {
			l.encode(b, e)
		}
	}
	// Only now: the buffer moved while it grew.
	for i := range b.entries {
		if x := b.entries[i].extra; x != nil {
			b.entries[i].head = b.heads[x.start:x.end]
		}
	}
}

// maxTries is how often a file is read that changes meanwhile.
const maxTries = 3

// open reads e's metadata and small content. It returns how much of the batch's buffer it
// took.
func (l *loader) open(b *batch, e *entry, used int) int {
	if !e.isReg {
		l.lookAt(e)
		return 0
	}
	if l.isSame(e) {
		return 0
	}
	fd, err := openat(e.dir.fd, e.name, 0)
	if err != nil {
		e.problem = vanished(err)
		return 0
	}
	for try := 1; ; try++ {
		if err := unix.Fstat(fd, &e.stat); err != nil {
			e.problem = err
			break
		}
		e.again = try > 1
		if l.read(b, e, fd, used); e.file != nil {
			return l.sum(e, fd)
		}
		if e.problem != ErrChanged || e.body == nil || try == maxTries {
			break
		}
	}
	closeFD(fd)
	return l.sum(e, fd)
}

// read prepares e, whose metadata is known. A large file takes fd over.
func (l *loader) read(b *batch, e *entry, fd, used int) {
	e.problem, e.ready, e.body = nil, false, nil
	switch {
	case !e.regular():
		e.problem = ErrChanged
	case l.oneDev && uint64(e.stat.Dev) != l.dev:
	case e.stat.Size > MaxSize:
		e.problem = ErrTooLarge
	case e.stat.Size > smallSize:
		e.ready, e.file = true, newBigFile(fd, e)
		if !e.file.sparse {
			advise(fd, e.stat.Size)
		}
	default:
		if b.content == nil {
			b.content = make([]byte, batchEntries*(smallSize+1))
		}
		e.body, e.problem = readSmall(fd, &e.stat, b.content[used:used+int(e.stat.Size)+1])
		e.ready = e.body != nil
	}
	if e.ready && !l.noXattrs {
		var err error
		if e.attrs, err = attributesOf(fd, ""); err != nil && e.problem == nil {
			e.problem = err
		}
	}
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// lookAt reads the metadata of what is not a regular file.
func (l *loader) lookAt(e *entry) {
	if err := fstatat(e.dir.fd, e.name, &e.stat); err != nil {
		e.problem = vanished(err)
		return
	}
	if l.oneDev && uint64(e.stat.Dev) != l.dev {
		return
	}
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		e.problem = ErrSocket
	case unix.S_IFREG, unix.S_IFDIR:
		e.problem = ErrChanged
	case unix.S_IFLNK:
		target, err := readlinkat(e.dir.fd, e.name)
		if err != nil {
			e.problem = vanished(err)
			return
		}
		e.extra = &headerExtra{target: target}
		e.ready = true
	default:
		e.ready = true
	}
	if e.ready && !l.noXattrs {
		e.attrs, e.problem = attributesOf(e.dir.fd, e.name)
	}
}

func readlinkat(parent int, text string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(parent, text, buf)
		if err == unix.EINTR {
			size /= 2
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// readSmall reads a whole file into buf, one byte longer than its stated size, and sets the
// size in st.
func readSmall(fd int, st *unix.Stat_t, buf []byte) ([]byte, error) {
	n := 0
	for n <= int(st.Size) {
		got, err := pread(fd, buf[n:], int64(n))
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		n += got
		if n == int(st.Size) {
			break // the comparison below finds what has grown since
		}
	}
	var problem error
	if int64(n) != st.Size || hasChanged(fd, st) {
		problem = ErrChanged
	}
	n = min(n, len(buf)-1)
	st.Size = int64(n)
	return buf[:n:n], problem
}

func pread(fd int, p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(fd, p, off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// hasChanged compares a file after reading. The ctime shows writes by somebody who resets
// the mtime; names that come or go change it too.
func hasChanged(fd int, before *unix.Stat_t) bool {
	var now unix.Stat_t
	if unix.Fstat(fd, &now) != nil || now.Size != before.Size || now.Mtim != before.Mtim {
		return true
	}
	return now.Ctim != before.Ctim && now.Nlink == before.Nlink
}
