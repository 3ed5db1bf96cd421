package tree

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReusedInode: a further name is a hard link only while size, mtime and ctime are
// those of the first; a file that got the inode of a deleted one is stored as itself,
// and what follows is a link to that.
func TestReusedInode(t *testing.T) {
	file := func(path string, size int64, mtime, ctime int64) *entry {
		st := unix.Stat_t{Mode: unix.S_IFREG | 0o644, Nlink: 3, Ino: 7, Size: size, Mtim: unix.NsecToTimespec(mtime), Ctim: unix.NsecToTimespec(ctime)}
		return &entry{path: path, stat: st}
	}
	first := file("first", 5, 1, 1)
	for name, other := range map[string]*entry{
		"size": file("other", 6, 1, 1), "mtime": file("other", 5, 2, 1), "ctime": file("other", 5, 1, 2),
	} {
		r := &Reader{links: make(map[inode]*link)}
		if r.isKnown(first) || r.isKnown(other) {
			t.Errorf("%s differs, and a link is stored", name)
		}
		last := *other
		last.path = "last"
		if !r.isKnown(&last) || !bytes.Contains(r.head, []byte("other")) {
			t.Errorf("%s differs: the last is not a link to the second: %q", name, r.head)
		}
	}
}
