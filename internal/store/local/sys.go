package local

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// sys holds the calls that change a folder or make a change durable, so that tests can make
// each fail, or the process die before it.
var sys = system{
	open:      os.OpenFile,
	lock:      lock,
	chmod:     (*os.File).Chmod,
	write:     (*os.File).Write,
	sync:      (*os.File).Sync,
	renameNew: fsutil.RenameNew,
	rename:    os.Rename,
	remove:    remove,
	syncDir:   fsutil.SyncDir,
	share:     share,
	copy:      func(to, from *os.File, n int64) (int64, error) { return io.CopyN(to, from, n) },
	free:      free,
}

type system struct {
	open      func(path string, flags int, mode fs.FileMode) (*os.File, error)
	lock      func(*os.File) error
	chmod     func(*os.File, fs.FileMode) error
	write     func(*os.File, []byte) (int, error)
	sync      func(*os.File) error
	renameNew func(from, to string) error // fails with fs.ErrExist, never replaces
	rename    func(from, to string) error
	remove    func(path string) error // a missing file is not an error
	syncDir   func(dir string) error

	// share lets two files share blocks, and copy has the kernel copy between the files'
	// positions.
	share func(to *os.File, at int64, from *os.File, off, size int64) error
	copy  func(to, from *os.File, n int64) (int64, error)
	free  func(*os.File) (bytes int64, known bool) // of the file system that a file is on
}

func lock(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			return err
		}
	}
}

func remove(path string) error {
	if err := unlink(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unlink is os.Remove without its attempt at removing a folder.
func unlink(path string) error {
	for {
		err := unix.Unlink(path)
		if err != unix.EINTR {
			return err
		}
	}
}
