// Package fsutil keeps two runs of the program apart. Call [File] or [Folder]
// before the work and [Lock.Release] after it. The lock is flock(2)'s: it goes
// with the process, however that ends, so that nothing stale is left behind.
package fsutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrHeld is returned while somebody else holds the lock.
var ErrHeld = fail.New(fail.Failed, "wait for the other run, or look why it takes so long", "another run holds the lock")

// Lock is a lock that is held. Children of the process do not inherit it.
type Lock struct{ file *os.File }

// LockFile takes the lock of the file at path, which it makes when there is none,
// for its owner alone, and which stays. It does not wait: the error is ErrHeld,
// or why the file cannot be had.
func LockFile(path string) (*Lock, error) {
	return take(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK)
}

// LockExisting is File for one that is there already: the error is [fs.ErrNotExist]
// when there is none, also when who held the lock has removed it meanwhile.
func LockExisting(path string) (*Lock, error) {
	l, err := take(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	held, err := l.file.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Lstat(path); err == nil && !os.SameFile(held, there) {
			err = fmt.Errorf("lock %s: %w", path, fs.ErrNotExist)
		}
	}
	if err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// LockFolder takes the lock of the folder at dir, in which it leaves no file, so
// that it may be on a disk that is full or cannot be written. A file system
// that has no locks for folders is passed over: (nil, nil).
func LockFolder(dir string) (*Lock, error) {
	l, err := take(dir, os.O_RDONLY|syscall.O_DIRECTORY)
	for _, without := range []error{unix.EBADF, unix.ENOTSUP, unix.ENOSYS, unix.EINVAL, unix.ENOLCK} {
		if errors.Is(err, without) {
			return nil, nil
		}
	}
	return l, err
}

func take(path string, flags int) (*Lock, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return &Lock{f}, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrHeld
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// Release gives the lock back. That of nil does nothing.
func (l *Lock) Release() {
	if l != nil {
		l.file.Close()
	}
}
