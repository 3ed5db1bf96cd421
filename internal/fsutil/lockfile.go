package fsutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrHeld is returned while somebody else holds the lock.
var ErrHeld = fail.New(fail.Failed, "wait for the other run, or look why it takes so long", "another run holds the lock")

// Lock is a held lock of flock(2), which ends with the process. Children do not inherit it.
type Lock struct{ lock *flock.Flock }

// LockFile locks the file at path, which it makes if missing, for its owner alone, and
// which stays. It does not wait: the error is ErrHeld, or of the file.
func LockFile(path string) (*Lock, error) {
	return take(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK)
}

// LockSoon is LockFile, but waits up to ten seconds.
func LockSoon(path string) (*Lock, error) {
	for n := 0; ; n++ {
		lock, err := LockFile(path)
		if !errors.Is(err, ErrHeld) || n == 200 {
			return lock, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// LockExisting is LockFile for an existing file: the error is [fs.ErrNotExist] without one,
// also when the holder of the lock has removed it meanwhile.
func LockExisting(path string) (*Lock, error) {
	l, err := take(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	held, err := l.lock.Stat()
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

// LockFolder locks the folder at dir without a file in it, so the disk may be full or
// read-only. It returns (nil, nil) where folders have no locks.
func LockFolder(dir string) (*Lock, error) {
	l, err := take(dir, os.O_RDONLY|syscall.O_DIRECTORY)
	for _, without := range []error{unix.EBADF, unix.EISDIR, unix.ENOTSUP, unix.ENOSYS, unix.EINVAL, unix.ENOLCK} {
		if errors.Is(err, without) {
			return nil, nil
		}
	}
	return l, err
}

func take(path string, flags int) (*Lock, error) {
	l := flock.New(path, flock.SetFlag(flags), flock.SetPermissions(0o600))
	held, err := l.TryLock()
	for errors.Is(err, unix.EINTR) {
		held, err = l.TryLock()
	}
	if err == nil && !held {
		err = ErrHeld
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{l}, nil
}

// Release gives the lock back. That of nil does nothing.
func (l *Lock) Release() {
	if l != nil {
		_ = l.lock.Close() // what cannot be unlocked is when the process ends
	}
}
