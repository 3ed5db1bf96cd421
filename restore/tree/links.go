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
)

// unlinked are the errors without hard links, or with too many.
var unlinked = append([]error{unix.EPERM, unix.EACCES, unix.EMLINK, unix.EXDEV}, unsupported...)

// hardLink gives what was extracted before another name.
func (x *extractor) hardLink(names, linked []string, h *tar.Header) error {
	to := strings.Join(linked, "/")
	from, err := x.parent(linked, h)
	if err != nil {
		return err
	}
	info, err := from.at.root.Lstat(from.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unsafef(h, "it is a hard link to %q, which was not extracted before it", to)
	case err != nil:
		return failed("looking at the target of", h, err)
	case info.IsDir():
		return unsafef(h, "it is a hard link to %q, which is a folder", to)
	}
	s, err := x.parent(names, h)
	if err != nil {
		return err
	}
	oldPath := strings.Join(x.names.locals(linked), "/")
	_, err = x.put(s, h, func(s spot) error {
		above := x.names.locals(names[:len(names)-1])
		return sys.link(x.chain[0].root, oldPath, strings.Join(append(above, s.name), "/"))
	})
	if err == nil || !isAny(err, unlinked) {
		return err
	}
	x.names.copies[strings.Join(names, "/")] = true
	x.once("links", h, "it is a copy of %q: hard links are not possible here (%w)", to, bare(err))
	return x.copyOf(oldPath, info, s, h)
}

func (x *extractor) copyOf(oldPath string, info fs.FileInfo, s spot, h *tar.Header) error {
	root := x.chain[0].root
	switch info.Mode().Type() {
	case 0:
	case fs.ModeSymlink:
		target, err := root.Readlink(oldPath)
		if err != nil {
			return failed("reading the target of", h, err)
		}
		return x.symlinkAt(s, h, target)
	default:
		return failed("making", h, unix.EPERM)
	}
	from, err := root.Open(oldPath)
	if err != nil {
		return failed("reading the target of", h, err)
	}
	defer from.Close()
	return x.fileAt(s, h, func(to *os.File) error {
		sized := *h
		sized.Size = info.Size()
		return x.write(to, &sized, from)
	})
}

// noteLink notes a hard link to an excluded entry, whose content has passed.
func (x *extractor) noteLink(linked []string, h *tar.Header) error {
	to := strings.Join(linked, "/")
	if x.Again == nil {
		return unsafef(h, "it is a further name of %q, which has passed: include that as well, or name a file that can be read twice", to)
	}
	x.wanted = append(x.wanted, h)
	x.pending[clean(h.Name)] = true
	return nil
}

// extractLinked reads the archive again for hard links: first for the entry behind each, the
// last of its name before the link, through other links, and then for their content. This
// pass is not authenticated to its end again.
func (x *extractor) extractLinked() error {
	if len(x.wanted) == 0 {
		return nil
	}
	leads, err := x.resolveLinks()
	if err != nil {
		return err
	}
	groups := make(map[int][]*tar.Header) // by the entry that they lead to
	for _, link := range x.wanted {
		at, found := leads[clean(link.Name)]
		if !found {
			return unsafef(link, "it is a hard link to %q, which the archive does not hold before it", clean(link.Linkname))
		}
		groups[at] = append(groups[at], link)
	}
	clear(x.pending)
	return x.readAgain(func(n int, h *tar.Header, body io.Reader) error {
		if len(groups[n]) == 0 {
			return nil
		}
		return x.linkAll(h, groups[n], body)
	})
}

// resolveLinks returns the number of the entry behind each link, by the link's name.
func (x *extractor) resolveLinks() (leads map[string]int, err error) {
	to := make(map[string]string)
	known := make(map[string]bool) // the names that links lead to
	for _, link := range x.wanted {
		to[clean(link.Name)] = clean(link.Linkname)
		known[clean(link.Linkname)] = true
	}
	for grown := true; grown; {
		grown, leads = false, make(map[string]int)
		is := make(map[string]int) // the entry that a name is at this point of the archive
		err := x.readAgain(func(n int, h *tar.Header, _ io.Reader) error {
			name, target := clean(h.Name), clean(h.Linkname)
			switch at, there := is[target]; {
			case h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader:
			case h.Typeflag != tar.TypeLink:
				if known[name] {
					is[name] = n
				}
			default:
				if there && to[name] == target {
					leads[name] = at
				}
				if known[name] && !known[target] {
					known[target], grown = true, true
				}
				if known[name] && there {
					is[name] = at
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return leads, nil
}

func (x *extractor) readAgain(each func(n int, h *tar.Header, body io.Reader) error) error {
	src, err := x.Again()
	if err != nil {
		return fmt.Errorf("reading the archive again: %w", err)
	}
	defer src.Close()
	x.in.src, x.in.err = src, nil
	archive := tar.NewReader(x.in)
	for n := 0; ; n++ {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if err := each(n, h, archive); err != nil {
			return err
		}
	}
}

// linkAll makes the first of several names of a file, and links the others.
func (x *extractor) linkAll(h *tar.Header, headers []*tar.Header, body io.Reader) error {
	var first []string
	for _, link := range headers {
		names, err := x.split(link, link.Name)
		if err != nil {
			return err
		}
		if first == nil {
			as := *h
			as.Name = link.Name
			if err = x.normalise(&as, body); err == nil {
				err = x.make(names, nil, &as, body)
			}
			x.stats.Links--
			if err == nil {
				x.count(&as)
			}
			first = names
		} else if err = x.make(names, first, link, body); err != nil {
			x.stats.Links--
		}
		if err := x.skipFailed(link, err); err != nil {
			return err
		}
	}
	return nil
}
