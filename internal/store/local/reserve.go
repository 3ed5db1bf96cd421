package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

const (
	partialPrefix = "."
	partialSuffix = ".partial"

	// A look whether the file is stale locks it for a moment, so busy means that it stays
	// locked.
	lockTries = 10
	lockPause = 5 * time.Millisecond
)

// Partial returns the path of a file while it is written, and after a kill. For a sidecar
// it may be the right one of its backup.
func Partial(path string) string { return partialPath(path) }

func partialPath(path string) string {
	dir, name := filepath.Split(path)
	return dir + partialPrefix + name + partialSuffix
}

// reservation is the right to make the file path, held by a locked temporary file. The file
// is always a new inode: one left by a crash is unlinked, not reused, because somebody else
// may own it, hold it open or have it under a second name.
type reservation struct {
	path   string
	temp   string
	file   *os.File
	placed bool // the file is at path, not at temp
}

func reserve(path string) (*reservation, error) {
	temp := partialPath(path)
	for try := range lockTries {
		if try > 0 {
			time.Sleep(lockPause)
		}
		file, err := openLocked(temp, os.O_CREATE|os.O_EXCL)
		if errors.Is(err, fs.ErrExist) {
			if err = reclaim(temp); err == nil {
				file, err = openLocked(temp, os.O_CREATE|os.O_EXCL)
			}
		}
		switch {
		case err == nil:
			r := &reservation{path: path, temp: temp, file: file}
			if err := setMode(file); err != nil {
				err = withCleanup(fault("set mode 0600 of", path, err), r.remove())
				r.release()
				return nil, err
			}
			return r, nil
		case errors.Is(err, errTaken), errors.Is(err, fs.ErrExist):
			// It is, or just was, locked: try again.
		case errors.Is(err, unix.ENAMETOOLONG):
			return nil, fmt.Errorf("create %s: %w: too long for this file system", path, store.ErrName)
		default:
			return nil, fault("create", path, err)
		}
	}
	return nil, fmt.Errorf("create %s: %w", path, store.ErrBusy)
}

// errTaken: the file is, or just was, somebody else's.
var errTaken = errors.New("locked by another process")

// openLocked opens and locks path. It fails with errTaken when the lock is held, or when
// the former owner renamed or removed the file between the open and the lock.
func openLocked(path string, flags int) (*os.File, error) {
	file, err := sys.open(path, flags|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err = sys.lock(file); errors.Is(err, unix.EWOULDBLOCK) {
		err = errTaken
	}
	if err == nil {
		var same bool
		if same, err = isSameFile(file, path); err == nil && !same {
			err = errTaken
		}
	}
	if err == nil {
		return file, nil
	}
	if flags&os.O_CREATE != 0 && !errors.Is(err, errTaken) {
		sys.remove(path) // ours: this call made it
	}
	file.Close()
	return nil, err
}

func isSameFile(file *os.File, path string) (bool, error) {
	held, err := file.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return os.SameFile(held, there), err
}

func reclaim(temp string) error {
	// do not block on a named pipe
	file, err := openLocked(temp, syscall.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return sys.remove(temp)
}

// setMode makes the mode 0600 whatever the umask was. A file system without modes refuses,
// so it is asked only when needed.
func setMode(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm() == 0o600 {
		return nil
	}
	return sys.chmod(file, 0o600)
}

func (r *reservation) fill(text string) error {
	if _, err := sys.write(r.file, []byte(text)); err != nil {
		return fault("write", r.path, err)
	}
	if err := sys.sync(r.file); err != nil {
		return fault("sync", r.path, err)
	}
	return nil
}

func (r *reservation) place(replace bool) error {
	// Without shared locks, another host may have taken the name since.
	if same, err := isSameFile(r.file, r.temp); err == nil && !same {
		return fmt.Errorf("create %s: %w", r.path, store.ErrBusy)
	}
	rename := sys.renameNew
	if replace {
		if err := checkTarget(r.path, true); err != nil {
			return err
		}
		rename = sys.rename
	}
	err := rename(r.temp, r.path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create %s: %w", r.path, store.ErrExists)
	}
	if err != nil {
		return fault("rename the finished file to", r.path, err)
	}
	r.placed = true
	return nil
}

func (r *reservation) remove() error {
	path := r.temp
	if r.placed {
		path = r.path
	}
	// A placed file no longer reserves its name, so look before unlinking.
	if same, err := isSameFile(r.file, path); err == nil && !same {
		return nil
	}
	if err := sys.remove(path); err != nil {
		return fault("remove", path, err)
	}
	return nil
}

// release closes the file, which drops the lock. It may be called twice.
func (r *reservation) release() {
	// The content was synced or is unwanted, so errors of close do not matter.
	r.file.Close()
}
