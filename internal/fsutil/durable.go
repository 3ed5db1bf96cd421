// Package fsutil has the steps that give a finished file its name for good:
// rename without replacing, and sync the folder.
package fsutil

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// LinkNew renames from to to, unless to exists, on systems that have no call
// for it: link never replaces. Between its two steps the file is under both
// names, which a crash turns into a stale temporary file and no harm.
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

// MkdirAll makes dir and what it stands in, with mode 0700, and what it makes is
// durable.
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

// SyncDir makes what happened to the names in dir durable. File systems that
// cannot sync a folder keep their names in order by themselves, so their refusal
// is not an error.
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
