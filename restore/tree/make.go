package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

type level struct {
	name string // as the archive has it
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

// spot is a name in an open folder.
type spot struct {
	at   *level
	name string // on the disk
	path string // in the archive
}

// parent opens the folder of names, and makes missing ones.
func (x *extractor) parent(names []string, h *tar.Header) (spot, error) {
	above := names[:len(names)-1]
	same := 0
	for same < len(above) && same+1 < len(x.chain) && x.chain[same+1].name == above[same] {
		same++
	}
	x.leave(same + 1)
	for i := same; i < len(above); i++ {
		if err := x.descend(above[:i+1], h); err != nil {
			return spot{}, err
		}
	}
	return x.spot(names), nil
}

func (x *extractor) spot(names []string) spot {
	s := spot{x.chain[len(x.chain)-1], names[len(names)-1], strings.Join(names, "/")}
	if local, ok := x.names.local[s.path]; ok {
		s.name = local
	}
	return s
}

// descend opens the folder names, below the last of the chain.
func (x *extractor) descend(names []string, h *tar.Header) error {
	s := x.spot(names)
	info, err := s.at.root.Lstat(s.name)
	if err == nil && info.IsDir() && x.isOther(s) {
		err = fs.ErrNotExist // another name of it is there
	}
	if errors.Is(err, fs.ErrNotExist) || isAny(err, nameErrors) {
		if s, err = x.put(s, h, func(s spot) error { return sys.mkdirIn(s.at.root, s.name, 0o755) }); err != nil {
			return err
		}
		x.adopt(s.path)
		info, err = s.at.root.Lstat(s.name)
	}
	switch {
	case err != nil:
		return failed("looking for the folder of", h, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return unsafef(h, "it is behind the symbolic link %q", s.path)
	case !info.IsDir():
		return unsafef(h, "it is in %q, which is not a folder", s.path)
	}
	root, err := s.at.root.OpenRoot(s.name)
	if err != nil {
		return failed("opening the folder of", h, err)
	}
	x.chain = append(x.chain, &level{name: names[len(names)-1], root: root})
	return nil
}

// adopt gives a folder that was made for an included file its metadata.
func (x *extractor) adopt(path string) {
	x.implied[path] = true
	for _, h := range x.above {
		if h.Name == path {
			x.folders[path] = h
		}
	}
}

// put makes something under a name, and returns the final one. It replaces an earlier entry
// of that name, except a folder.
func (x *extractor) put(s spot, h *tar.Header, make func(spot) error) (spot, error) {
	err := make(s)
	switch {
	case errors.Is(err, fs.ErrExist):
		if x.isOther(s) {
			return x.makeRenamed(s, h, fmt.Errorf("%w: another spelling of %q is there already", ErrConflict, s.name), make)
		}
		info, statErr := s.at.root.Lstat(s.name)
		if statErr != nil {
			return s, failed("looking at", h, statErr)
		}
		if info.IsDir() {
			if h.Typeflag == tar.TypeDir {
				return s, nil
			}
			return s, unsafef(h, "it would take the place of a folder")
		}
		if h.Typeflag == tar.TypeDir {
			return s, unsafef(h, "it is a folder in the place of something else")
		}
		if err := s.at.root.Remove(s.name); err != nil {
			return s, failed("replacing the earlier", h, err)
		}
		err = make(s)
	case err != nil && isAny(err, nameErrors):
		return x.makeRenamed(s, h, bare(err), make)
	}
	if err != nil {
		return s, failed("making", h, err)
	}
	x.madeAs(s)
	return s, nil
}

func (x *extractor) folder(names []string, h *tar.Header) error {
	path := strings.Join(names, "/")
	if path != "" {
		s, err := x.parent(names, h)
		if err != nil {
			return err
		}
		if _, err = x.put(s, h, func(s spot) error { return sys.mkdirIn(s.at.root, s.name, 0o700) }); err != nil {
			return err
		}
	}
	x.folders[path] = h
	return nil
}

func (x *extractor) file(names []string, h *tar.Header, body io.Reader) error {
	s, err := x.parent(names, h)
	if err != nil {
		return err
	}
	return x.fileAt(s, h, func(f *os.File) error { return x.write(f, h, body) })
}

// fileAt makes a file, which fill fills. What cannot be filled goes.
func (x *extractor) fileAt(s spot, h *tar.Header, fill func(*os.File) error) error {
	var f *os.File
	s, err := x.put(s, h, func(s spot) (err error) {
		f, err = sys.create(s.at.root, s.name)
		return err
	})
	if err != nil {
		return err
	}
	err = fill(f)
	if closeErr := sys.close(f); err == nil && closeErr != nil {
		err = failed("writing", h, closeErr)
	}
	if err == nil {
		err = x.finish(s, h)
	}
	if err != nil {
		return errors.Join(err, s.at.root.Remove(s.name))
	}
	return nil
}

const holeSize = 4096

var zeros [holeSize]byte

// write fills a new file. Pages of zeros become holes.
func (x *extractor) write(f *os.File, h *tar.Header, body io.Reader) error {
	// Refuse a file that cannot fit before reading it.
	if h.Size > int64(len(x.buf)) {
		if err := sys.truncate(f, h.Size); err != nil {
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
				if _, err := sys.write(f, data, off+int64(hole)); err != nil {
					return failed("writing", h, err)
				}
				end = off + int64(hole+len(data))
			}
			off += int64(hole + len(data))
			p = p[hole+len(data):]
		}
	}
	if end < h.Size && h.Size <= int64(len(x.buf)) {
		if err := sys.truncate(f, h.Size); err != nil {
			return failed("writing", h, err)
		}
	}
	return nil
}

// runs returns the length of the hole at the start of p, and the data up to the next. p
// begins at a page.
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
	s, err := x.parent(names, h)
	if err != nil {
		return err
	}
	return x.symlinkAt(s, h, h.Linkname)
}

func (x *extractor) symlinkAt(s spot, h *tar.Header, target string) error {
	s, err := x.put(s, h, func(s spot) error { return sys.symlink(s.at.root, target, s.name) })
	if err != nil {
		return err
	}
	if _, err := x.setOwner(s, h); err != nil {
		return err
	}
	attrs := x.attributes(h)
	if err := errors.Join(x.setAttributes(s, h, attrs, true), x.setAttributes(s, h, attrs, false)); err != nil {
		return err
	}
	if err := x.setTime(s, h); err != nil && !isAny(err, unsupported) {
		return err
	}
	return nil
}

func (x *extractor) special(names []string, h *tar.Header) error {
	s, err := x.parent(names, h)
	if err != nil {
		return err
	}
	if s, err = x.put(s, h, func(s spot) error {
		fd, err := s.at.fd()
		if err != nil {
			return err
		}
		return sys.mknod(fd, s.name, h)
	}); err != nil {
		return err
	}
	return x.finish(s, h)
}
