package tree

import (
	"bytes"
	"crypto/sha256"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts show whether a file has changed. Times are Unix times in nanoseconds.
type Facts struct {
	Type         byte // f, d, l (symbolic link), h (a further name of a file) or o
	Size         int64
	MTime, CTime int64 // without a CTime, the file is taken for another one
	Inode        uint64
	Mode         int64
	UID, GID     int
	Target       string // of a link; that of a further name is the first one
	Hash         []byte // SHA-256, with Options.Checksum
}

// An entry that was not read as it is has no CTime.
func (e *entry) facts() Facts {
	f := Facts{
		Type: 'o', MTime: e.stat.Mtim.Nano(), CTime: e.stat.Ctim.Nano(), Inode: e.stat.Ino,
		Mode: int64(e.stat.Mode & 0o7777), UID: int(e.stat.Uid), GID: int(e.stat.Gid), Hash: e.hash,
	}
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.Type, f.Size = 'f', e.stat.Size
	case unix.S_IFDIR:
		f.Type = 'd'
	case unix.S_IFLNK:
		f.Type = 'l'
		if e.extra != nil {
			f.Target = e.extra.target
		}
	}
	if e.linked != "" {
		f.Type, f.Size, f.Target = 'h', 0, e.linked
	}
	if e.problem != nil {
		f.CTime = 0
	}
	return f
}

// isUnchanged reports whether the entry is unchanged. Any change of a file, even of its
// names, changes its ctime.
func (e *entry) isUnchanged() bool {
	if e.earlier == nil || e.problem != nil {
		return false
	}
	was, is := *e.earlier, e.facts()
	return was.CTime != 0 && was.Type == is.Type && was.Size == is.Size && was.MTime == is.MTime && was.CTime == is.CTime && was.Inode == is.Inode &&
		was.Mode == is.Mode && was.UID == is.UID && was.GID == is.GID && was.Target == is.Target
}

// isUnread reports whether something is under the name that the archive can't have.
func (e *entry) isUnread() bool {
	return e.problem != nil && e.problem != ErrVanished && e.problem != ErrSocket
}

// isSame reports whether a regular file is unchanged, without opening it.
func (l *loader) isSame(e *entry) bool {
	if e.earlier == nil || l.checksum || fstatat(e.dir.fd, e.name, &e.stat) != nil || !e.regular() {
		return false
	}
	if l.oneDev && uint64(e.stat.Dev) != l.dev {
		return false
	}
	e.same = e.isUnchanged()
	return e.same
}

// sum hashes a loaded file, if wanted, to find unchanged content. It returns how much of
// the batch's buffer the file needs.
func (l *loader) sum(e *entry, fd int) int {
	if !l.checksum || !e.ready || e.problem != nil {
		return len(e.body)
	}
	hash := sha256.New()
	if e.file == nil {
		hash.Write(e.body)
	} else if _, err := io.Copy(hash, io.NewSectionReader(fileAt(fd), 0, e.stat.Size)); err != nil {
		return 0 // reading it again reports that
	}
	e.hash = hash.Sum(nil)
	if e.isUnchanged() && bytes.Equal(e.hash, e.earlier.Hash) {
		if e.file != nil {
			e.file.close()
			e.file = nil
		}
		e.same, e.body = true, nil
	}
	return len(e.body)
}

type fileAt int

func (f fileAt) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var got int
		got, err = pread(int(f), p[n:], off+int64(n))
		n += got
	}
	return n, err
}

func (r *Reader) seen(e *entry, stored bool) {
	if r.opts.Seen == nil {
		return
	}
	path := strings.TrimSuffix(e.path, "/")
	if f := e.facts(); stored || e.earlier == nil {
		r.opts.Seen(path, f, stored)
	} else {
		r.opts.Seen(path, *e.earlier, stored)
	}
}
