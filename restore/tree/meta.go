package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// unsupported is what a file system answers that has no such thing.
var unsupported = []error{unix.ENOTSUP, unix.ENOSYS, unix.EOPNOTSUPP}

// ungiven are the errors of a chown without CAP_CHOWN, to an owner outside the user
// namespace, on NFS with root_squash, or on a file system without owners.
var ungiven = append([]error{unix.EPERM, unix.EACCES, unix.EINVAL}, unsupported...)

// finishFolders sets the metadata of folders, inner ones first: making a file in a folder
// changes its time, and may need more rights than its mode gives.
func (x *extractor) finishFolders() error {
	paths := make([]string, 0, len(x.folders))
	for path := range x.folders {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	for _, path := range paths {
		if x.in.ctx.Err() != nil {
			return context.Cause(x.in.ctx)
		}
		h := x.folders[path]
		if err := x.skipFailed(h, x.finishFolder(path, h)); err != nil {
			return err
		}
	}
	return nil
}

func (x *extractor) finishFolder(path string, h *tar.Header) error {
	s := spot{at: x.chain[0], name: "."}
	if path != "" {
		var err error
		if s, err = x.parent(strings.Split(path, "/"), h); err != nil {
			return err
		}
		// A folder is never replaced, so that this cannot be a link.
		if info, err := s.at.root.Lstat(s.name); err != nil || !info.IsDir() {
			return unsafef(h, "it is not a folder any more")
		}
	}
	return x.finish(s, h)
}

// finish sets owner, mode, attributes and time of all but links.
func (x *extractor) finish(s spot, h *tar.Header) error {
	if _, err := s.at.fd(); err != nil { // for the time: the mode of the tree itself may forbid it
		return failed("opening the folder of", h, err)
	}
	given, err := x.setOwner(s, h)
	if err != nil {
		return err
	}
	// Before the mode, which may forbid it; others depend on owner and mode.
	attrs := x.attributes(h)
	if err := x.setAttributes(s, h, attrs, true); err != nil {
		return err
	}
	if !x.NoModes {
		if err := sys.chmod(s.at.root, s.name, x.mode(h, given)); err != nil {
			err = bare(err)
			if isAny(err, append(unsupported, unix.EPERM)) {
				err = fmt.Errorf("%w: %w", ErrModes, err)
			}
			return failed("setting the mode of", h, err)
		}
	}
	if err := x.setAttributes(s, h, attrs, false); err != nil {
		return err
	}
	return x.setTime(s, h)
}

// setOwner reports whether the owner is as in the archive. A failure is reported once and
// is not an error.
func (x *extractor) setOwner(s spot, h *tar.Header) (bool, error) {
	if x.owners == nil {
		return os.Geteuid() != 0, nil // as root the bits would be for another owner
	}
	uid, gid := x.owners.uid(h), x.owners.gid(h)
	err := sys.chown(s.at.root, s.name, uid, gid)
	switch {
	case err == nil:
		return true, nil
	case isAny(err, ungiven):
		x.stats.NoOwner++
		x.once("owner", h, "its owner %d:%d cannot be set here (%w); it belongs to this user, and so do others that meet this", uid, gid, bare(err))
		return false, nil
	}
	return false, failed("setting the owner of", h, err)
}

// mode returns the mode of an entry. Setgid and sticky bits of a folder give no rights and
// stay; the bits of a file would give the rights of a wrong owner.
func (x *extractor) mode(h *tar.Header, given bool) fs.FileMode {
	mode := fs.FileMode(h.Mode & 0o777)
	if h.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	setuid := h.Mode&0o4000 != 0
	setgid := h.Mode&0o2000 != 0
	isDir := h.Typeflag == tar.TypeDir
	if !isDir && (setuid || setgid) && (!x.Special || !given) {
		x.stats.LeftOut++
		x.Report(h.Name, errors.New("its setuid and setgid bits are left out"))
		return mode
	}
	if setgid {
		mode |= fs.ModeSetgid
	}
	if setuid && x.Special {
		mode |= fs.ModeSetuid
	}
	return mode
}

// setTime sets the modification time of a file or link, which package os cannot do for all.
func (x *extractor) setTime(s spot, h *tar.Header) error {
	fd, err := s.at.fd()
	if err != nil {
		return failed("opening the folder of", h, err)
	}
	when, err := unix.TimeToTimespec(h.ModTime)
	if err == nil {
		err = sys.setTime(fd, s.name, when)
	}
	if err != nil {
		return failed("setting the time of", h, err)
	}
	return nil
}

func rights(name string) bool {
	return !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_")
}

// setAttributes sets the users' attributes or the others. A failure is reported once for
// each name and is not an error unless the disk fails.
func (x *extractor) setAttributes(s spot, h *tar.Header, attrs []attribute, users bool) error {
	missed := false
	for _, a := range attrs {
		if strings.HasPrefix(a.name, "user.") != users {
			continue
		}
		if rights(a.name) && !x.Special {
			// Labels of SELinux are what the policy of the target makes them.
			if a.name != "security.selinux" {
				x.stats.LeftOut++
				x.once(a.name, h, "its attribute %s is left out, as that of others is", a.name)
			}
			continue
		}
		fd, err := s.at.fd()
		if err == nil {
			err = sys.setAttribute(fd, s.name, a)
		}
		if errors.Is(err, unix.EIO) {
			return failed("setting an attribute of", h, err)
		}
		if err != nil {
			missed = true
			x.once(a.name, h, "its attribute %s cannot be set here: %w; the same may be true of others", a.name, err)
		}
	}
	if missed {
		x.stats.NoAttributes++
	}
	return nil
}
