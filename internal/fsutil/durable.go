// Package fsutil opens, locks, renames and syncs files safely: nothing is replaced unasked,
// and no pipe or device blocks a reader.
package fsutil

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// LinkNew is RenameNew for systems without such a call: link never replaces. A crash
// between its two steps leaves both names, one of them a stale temporary file.
func LinkNew(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(to)
		return err
	}
	return nil
}

// MkdirAll durably makes dir and its parents, with mode 0700.
func MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // somebody else was quicker
		}
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes changes of names in dir durable. File systems that refuse this keep their
// names in order themselves, so it is not an error.
func SyncDir(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	err = folder.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
