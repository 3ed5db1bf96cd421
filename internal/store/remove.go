package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrChanged is returned by Remove when another file stands where the backup
// stood.
var ErrChanged = errors.New("it has changed since it was looked at, and is left alone")

// Remove deletes a backup that Walk found, and with it the files beside it:
// its sidecar, and those of its name with one of the further suffixes.
//
// The backup goes first, for good, and then what belongs to it: a crash in
// between leaves files that no reader takes for a backup, and a sidecar of them
// is cleared away by a later writer. Files beside that are replaced meanwhile,
// by the writer of a new backup of that name, stay.
//
// Nothing is written, so that a full disk does not hinder it. It fails with
// ErrChanged, and with *Error when the store refuses; the backup is gone when
// the error's path is not the backup's.
func Remove(b Backup, beside ...string) error {
	found, err := os.Lstat(b.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!found.Mode().IsRegular() || found.Size() != b.Size || !found.ModTime().Equal(b.ModTime)) {
		return fmt.Errorf("delete %s: %w", b.Path, ErrChanged)
	}
	if err != nil {
		return fault("look for", b.Path, err)
	}
	type companion struct {
		path string
		info fs.FileInfo
	}
	var companions []companion
	for _, suffix := range append([]string{SidecarSuffix}, beside...) {
		path := b.Path + suffix
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			companions = append(companions, companion{path, info})
		}
	}
	if err := sys.remove(b.Path); err != nil {
		return fault("delete", b.Path, err)
	}
	dir := filepath.Dir(b.Path)
	if err := sys.syncDir(dir); err != nil {
		return fault("sync", dir, err)
	}
	for _, c := range companions {
		now, err := os.Lstat(c.path)
		if err != nil || !os.SameFile(now, c.info) {
			continue
		}
		if err := sys.remove(c.path); err != nil {
			return fault("delete", c.path, err)
		}
	}
	return nil
}
