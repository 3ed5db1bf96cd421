package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// level is an open folder of the tree.
type level struct {
	name string
	root *os.Root
	dir  *os.File // for the calls that os.Root does not have; opened when needed
}

func (l *level) fd() (int, error) {
	if l.dir == nil {
		var err error
		if l.dir, err = l.root.Open("."); err != nil {
			return 0, err
		}
	}
	return int(l.dir.Fd()), nil
}

func (l *level) closeDir() {
	if l.dir != nil {
		l.dir.Close()
		l.dir = nil
	}
}

// leave closes the open folders but the first keep.
func (x *extractor) leave(keep int) {
	for len(x.chain) > keep {
		last := x.chain[len(x.chain)-1]
		last.closeDir()
		last.root.Close()
		x.chain = x.chain[:len(x.chain)-1]
	}
}

// parent opens the folder that names stands in, and makes what is missing of it.
// It returns the last name as well.
func (x *extractor) parent(names []string, h *tar.Header) (*level, string, error) {
	above, last := names[:len(names)-1], names[len(names)-1]
	same := 0
	for same < len(above) && same+1 < len(x.chain) && x.chain[same+1].name == above[same] {
		same++
	}
	x.leave(same + 1)
	for i := same; i < len(above); i++ {
		if err := x.descend(above[:i+1], h); err != nil {
			return nil, "", err
		}
	}
	return x.chain[len(x.chain)-1], last, nil
}

// descend opens the folder names, whose parent is the last of the chain.
func (x *extractor) descend(names []string, h *tar.Header) error {
	at, name := x.chain[len(x.chain)-1], names[len(names)-1]
	info, err := at.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := at.root.Mkdir(name, 0o755); err != nil {
			return failed("making a folder for", h, err)
		}
		x.adopt(strings.Join(names, "/"))
		info, err = at.root.Lstat(name)
	}
	switch {
	case err != nil:
		return failed("looking for the folder of", h, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return unsafef(h, "it stands behind the symbolic link %q", strings.Join(names, "/"))
	case !info.IsDir():
		return unsafef(h, "it stands in %q, which is no folder", strings.Join(names, "/"))
	}
	root, err := at.root.OpenRoot(name)
	if err != nil {
		return failed("opening the folder of", h, err)
	}
	x.chain = append(x.chain, &level{name: name, root: root})
	return nil
}

// adopt gives a folder that was made for the sake of an included file the
// metadata that the archive has of it.
func (x *extractor) adopt(path string) {
	for _, h := range x.above {
		if h.Name == path {
			x.folders[path] = h
		}
	}
}

// put makes something under a name. What stands there from an earlier entry of
// that name goes, unless it is a folder.
func (x *extractor) put(at *level, name string, h *tar.Header, make func() error) error {
	err := make()
	if errors.Is(err, fs.ErrExist) {
		info, statErr := at.root.Lstat(name)
		if statErr != nil {
			return failed("looking at", h, statErr)
		}
		if info.IsDir() {
			return unsafef(h, "it would take the place of a folder")
		}
		if err := at.root.Remove(name); err != nil {
			return failed("replacing the earlier", h, err)
		}
		err = make()
	}
	if err != nil {
		return failed("making", h, err)
	}
	return nil
}

func (x *extractor) folder(names []string, h *tar.Header) error {
	path := strings.Join(names, "/")
	x.folders[path] = h
	if path == "" {
		return nil
	}
	at, name, err := x.parent(names, h)
	if err != nil {
		return err
	}
	err = at.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, statErr := at.root.Lstat(name)
		if statErr == nil && !info.IsDir() {
			return unsafef(h, "it is a folder in the place of something else")
		}
		err = statErr
	}
	if err != nil {
		return failed("making the folder", h, err)
	}
	return nil
}

func (x *extractor) file(names []string, h *tar.Header, body io.Reader) error {
	at, name, err := x.parent(names, h)
	if err != nil {
		return err
	}
	var f *os.File
	if err := x.put(at, name, h, func() (err error) {
		f, err = at.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	}); err != nil {
		return err
	}
	err = x.write(f, h, body)
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = failed("writing", h, closeErr)
	}
	if err != nil {
		return err
	}
	return x.finish(at, name, h, x.mode(h))
}

const holeSize = 4096

var zeros [holeSize]byte

// write fills a new file. Where the content is zeros for the length of a page,
// the file gets a hole.
func (x *extractor) write(f *os.File, h *tar.Header, body io.Reader) error {
	// What the file system cannot hold is better refused before it is read.
	if h.Size > int64(len(x.buf)) {
		if err := f.Truncate(h.Size); err != nil {
			return failed("making room for", h, err)
		}
	}
	var off, end int64 // end is where the file ends so far
	for off < h.Size {
		n, err := parallel.ReadFull(body, x.buf[:min(h.Size-off, int64(len(x.buf)))])
		if err != nil {
			return fmt.Errorf("%w: %q: %w", ErrArchive, h.Name, err)
		}
		for p := x.buf[:n]; len(p) > 0; {
			hole, data := runs(p)
			if len(data) > 0 {
				if _, err := f.WriteAt(data, off+int64(hole)); err != nil {
					return failed("writing", h, err)
				}
				end = off + int64(hole+len(data))
			}
			off += int64(hole + len(data))
			p = p[hole+len(data):]
		}
	}
	if end < h.Size && h.Size <= int64(len(x.buf)) {
		if err := f.Truncate(h.Size); err != nil {
			return failed("writing", h, err)
		}
	}
	return nil
}

// runs returns how long p is a hole, and what data follows before the next one.
// p begins at a page.
func runs(p []byte) (hole int, data []byte) {
	for hole+holeSize <= len(p) && isHole(p[hole:]) {
		hole += holeSize
	}
	end := hole
	for end < len(p) && !(end+holeSize <= len(p) && isHole(p[end:])) {
		end = min(end+holeSize, len(p))
	}
	return hole, p[hole:end]
}

func isHole(p []byte) bool { return [holeSize]byte(p[:holeSize]) == zeros }

func (x *extractor) symlink(names []string, h *tar.Header) error {
	at, name, err := x.parent(names, h)
	if err != nil {
		return err
	}
	if h.Linkname == "" || strings.IndexByte(h.Linkname, 0) >= 0 {
		return unsafef(h, "it is a symbolic link to %q", h.Linkname)
	}
	if err := x.put(at, name, h, func() error { return at.root.Symlink(h.Linkname, name) }); err != nil {
		return err
	}
	if x.owners != nil {
		if err := at.root.Lchown(name, x.owners.uid(h), x.owners.gid(h)); err != nil {
			return failed("setting the owner of", h, err)
		}
	}
	return x.setTime(at, name, h)
}

// setTime sets the modification time of a file or of a link. Package os cannot
// express all of them.
func (x *extractor) setTime(at *level, name string, h *tar.Header) error {
	fd, err := at.fd()
	if err != nil {
		return failed("opening the folder of", h, err)
	}
	when, err := unix.TimeToTimespec(h.ModTime)
	if err == nil {
		err = unix.UtimesNanoAt(fd, name, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return failed("setting the time of", h, err)
	}
	return nil
}

// hardLink gives a file that was extracted before another name.
func (x *extractor) hardLink(names, linked []string, h *tar.Header) error {
	if len(linked) == 0 {
		return unsafef(h, "it is a hard link to the tree itself")
	}
	from, to := strings.Join(linked, "/"), strings.Join(names, "/")
	if from == to {
		return unsafef(h, "it is a hard link to itself")
	}
	if len(x.Include) > 0 && !x.Include.MatchAbove(from) {
		return unsafef(h, "it is a further name of %q: include that as well", from)
	}
	at, name, err := x.parent(linked, h)
	if err != nil {
		return err
	}
	info, err := at.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unsafef(h, "it is a hard link to %q, which was not extracted before it", from)
	case err != nil:
		return failed("looking at the target of", h, err)
	case !info.Mode().IsRegular():
		return unsafef(h, "it is a hard link to %q, which is not a regular file", from)
	}
	if at, name, err = x.parent(names, h); err != nil {
		return err
	}
	return x.put(at, name, h, func() error { return x.chain[0].root.Link(from, to) })
}

func (x *extractor) special(names []string, h *tar.Header) error {
	at, name, err := x.parent(names, h)
	if err != nil {
		return err
	}
	fd, err := at.fd()
	if err != nil {
		return failed("opening the folder of", h, err)
	}
	if err := x.put(at, name, h, func() error { return mknod(fd, name, h) }); err != nil {
		return err
	}
	return x.finish(at, name, h, x.mode(h))
}

// mode returns the mode of an entry. What setgid and the sticky bit do to a
// folder gives nobody any rights, so that they stay.
func (x *extractor) mode(h *tar.Header) fs.FileMode {
	mode := fs.FileMode(h.Mode & 0o777)
	if h.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	setuid := h.Mode&0o4000 != 0
	setgid := h.Mode&0o2000 != 0
	if h.Typeflag == tar.TypeDir || x.Special {
		if setgid {
			mode |= fs.ModeSetgid
		}
		if setuid && x.Special {
			mode |= fs.ModeSetuid
		}
		return mode
	}
	if setuid || setgid {
		x.leaveOut(h, errors.New("its setuid and setgid bits are left out"))
	}
	return mode
}
