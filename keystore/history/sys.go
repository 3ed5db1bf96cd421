package history

import (
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// sys holds the calls that read or write the history, so that tests can make each fail.
// Commits are [local.File]'s.
var sys = system{
	mkdir: fsutil.MkdirAll,
	open:  os.OpenFile,
	lock:  lock,
	read:  func(f *os.File, limit int64) ([]byte, error) { return io.ReadAll(io.LimitReader(f, limit)) },
	create: func(path string) (file, error) {
		f, err := local.Create(path, store.Options{Replace: true})
		if err != nil {
			return nil, err // a nil *local.File would be a file that is not nil
		}
		return f, nil
	},
	now: time.Now,
}

type system struct {
	mkdir  func(dir string) error
	open   func(path string, flags int, mode fs.FileMode) (*os.File, error)
	lock   func(*os.File) error // fails with EWOULDBLOCK
	read   func(f *os.File, limit int64) ([]byte, error)
	create func(path string) (file, error)
	now    func() time.Time
}

type file interface {
	io.Writer
	Commit() (store.Result, error)
	Abort() error
}

func lock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			return err
		}
	}
}
