package tree

import (
	"archive/tar"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// sys holds the calls that make, name and sync restored files, so that tests can make each
// fail.
var sys = system{
	mkdir:     os.Mkdir,
	chownPath: os.Chown,
	chmodPath: os.Chmod,
	renameNew: renameNew,
	rename:    unix.Rename,
	swap:      exchange,
	rmdir:     unix.Rmdir,
	syncTree:  syncTree,
	syncDir:   fsutil.SyncDir,

	mkdirIn: (*os.Root).Mkdir,
	create: func(in *os.Root, name string) (*os.File, error) {
		return in.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	},
	symlink:  (*os.Root).Symlink,
	link:     (*os.Root).Link,
	mknod:    mknod,
	write:    (*os.File).WriteAt,
	truncate: (*os.File).Truncate,
	close:    (*os.File).Close,
	chown:    (*os.Root).Lchown,
	chmod:    (*os.Root).Chmod,
	setTime: func(folder int, name string, when unix.Timespec) error {
		return unix.UtimesNanoAt(folder, name, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
	},
	setAttribute: setAttribute,
}

type system struct {
	// Of the folder itself and what is around it.
	mkdir     func(path string, mode fs.FileMode) error
	chownPath func(path string, uid, gid int) error
	chmodPath func(path string, mode fs.FileMode) error
	renameNew func(from, to string) error // fails with fs.ErrExist, never replaces
	rename    func(from, to string) error // over an empty folder
	swap      func(a, b string) error     // fails with errors.ErrUnsupported where names cannot be exchanged
	rmdir     func(path string) error
	syncTree  func(*os.File) error // everything in an open folder
	syncDir   func(dir string) error

	// Of what is in it; folder is an open one.
	mkdirIn      func(in *os.Root, name string, mode fs.FileMode) error
	create       func(in *os.Root, name string) (*os.File, error)
	symlink      func(in *os.Root, target, name string) error
	link         func(in *os.Root, from, to string) error
	mknod        func(folder int, name string, h *tar.Header) error
	write        func(f *os.File, p []byte, off int64) (int, error)
	truncate     func(f *os.File, size int64) error
	close        func(*os.File) error
	chown        func(in *os.Root, name string, uid, gid int) error
	chmod        func(in *os.Root, name string, mode fs.FileMode) error
	setTime      func(folder int, name string, when unix.Timespec) error
	setAttribute func(folder int, name string, a attribute) error
}
