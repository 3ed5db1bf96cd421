package keystore

import (
	"os"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// sys holds the calls that write a key file, so that tests can make each fail.
var sys = system{
	create:    os.CreateTemp,
	open:      func(path string) (*os.File, error) { return os.OpenFile(path, openFlags, 0) },
	chown:     (*os.File).Chown,
	chmod:     (*os.File).Chmod,
	write:     (*os.File).Write,
	read:      (*os.File).Read,
	sync:      (*os.File).Sync,
	close:     (*os.File).Close,
	renameNew: fsutil.RenameNew,
	rename:    os.Rename,
	remove:    os.Remove,
	syncDir:   fsutil.SyncDir,
	now:       time.Now,
}

type system struct {
	create    func(dir, pattern string) (*os.File, error)
	open      func(path string) (*os.File, error)
	chown     func(f *os.File, uid, gid int) error
	chmod     func(*os.File, os.FileMode) error
	write     func(*os.File, []byte) (int, error)
	read      func(*os.File, []byte) (int, error)
	sync      func(*os.File) error
	close     func(*os.File) error        // of a written file
	renameNew func(from, to string) error // fails with fs.ErrExist, never replaces
	rename    func(from, to string) error
	remove    func(path string) error
	syncDir   func(dir string) error
	now       func() time.Time
}
