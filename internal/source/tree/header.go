package tree

import (
	"archive/tar"
	"bytes"
	"os/user"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// headerExtra is what a header needs or leaves beside the metadata.
type headerExtra struct {
	target     string // of a symbolic link
	start, end int    // of the header, in the batch's buffer
}

// encode appends the header of e to the batch.
func (l *loader) encode(b *batch, e *entry) {
	if e.extra == nil {
		e.extra = new(headerExtra)
	}
	h := e.header()
	h.Uname, h.Gname = l.owners.user(h.Uid), l.owners.group(h.Gid)
	e.extra.start = b.heads.Len()
	err := tar.NewWriter(&b.heads).WriteHeader(h)
	e.extra.end = b.heads.Len()
	if err != nil {
		b.heads.Truncate(e.extra.start)
		e.close()
		e.extra, e.problem = nil, err
	}
}

func (e *entry) header() *tar.Header {
	h := &tar.Header{
		Name: e.path, Mode: int64(e.stat.Mode & 0o7777), Uid: int(e.stat.Uid), Gid: int(e.stat.Gid),
		ModTime: time.Unix(e.stat.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, e.stat.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.extra.target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if e.stat.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(e.stat.Rdev))), int64(unix.Minor(uint64(e.stat.Rdev)))
	}
	return h
}

// encodeLink returns the header of e as a hard link to first.
func (e *entry) encodeLink(first string) ([]byte, error) {
	h := e.header()
	h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).WriteHeader(h); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// owners knows the names of users and groups that were asked for.
type owners struct {
	mu            sync.Mutex
	users, groups map[int]string
}

func (o *owners) user(id int) string {
	return o.name(&o.users, id, func(text string) string {
		if u, err := user.LookupId(text); err == nil {
			return u.Username
		}
		return ""
	})
}

func (o *owners) group(id int) string {
	return o.name(&o.groups, id, func(text string) string {
		if g, err := user.LookupGroupId(text); err == nil {
			return g.Name
		}
		return ""
	})
}

// name asks once for each id; nobody may be known by it, and that is no error.
func (o *owners) name(known *map[int]string, id int, ask func(string) string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if *known == nil {
		*known = make(map[int]string)
	}
	text, ok := (*known)[id]
	if !ok {
		text = ask(strconv.Itoa(id))
		(*known)[id] = text
	}
	return text
}
