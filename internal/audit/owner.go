package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// asRoot: files would belong to root unless given away.
func asRoot() bool { return os.Geteuid() == 0 }

// makeFolder makes the folder of a log. Root gives it to the owner of the parent folder: a
// restore by root must not lock out the backups' own user.
func makeFolder(dir string) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return os.MkdirAll(dir, 0o700) // the error, when it is not a folder
	} else if err != nil || !asRoot() {
		return err
	}
	made, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer made.Close()
	return giveTo(made, parent)
}

// makeFile makes a file of a log, if missing, for the owner of the folder. Only root needs
// to call it first.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return giveTo(f, filepath.Dir(path))
}

// giveTo gives a new file the owner and the group of a folder.
func giveTo(f *os.File, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && (s.Uid != 0 || s.Gid != 0) {
		return f.Chown(int(s.Uid), int(s.Gid))
	}
	return nil
}
