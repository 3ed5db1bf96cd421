package local

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Remove deletes a backup that Walk found, its sidecar, and the files of its name with one
// of the further suffixes.
//
// The backup is durably deleted first: a crash leaves files that are never read as backups,
// and a later writer removes the sidecar. Companions that the writer of a new backup
// replaces meanwhile stay.
//
// Nothing is written, so it works on a full disk. It fails with ErrChanged, and with *Error
// when the store refuses; the backup is deleted if the error's path is not the backup's.
func Remove(b store.Backup, beside ...string) error {
	found, err := os.Lstat(b.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!found.Mode().IsRegular() || found.Size() != b.Size || !found.ModTime().Equal(b.ModTime)) {
		return fmt.Errorf("delete %s: %w", b.Path, store.ErrChanged)
	}
	if err != nil {
		return fault("look for", b.Path, err)
	}
	type companion struct {
		path string
		info fs.FileInfo
	}
	var companions []companion
	for _, suffix := range append([]string{store.SidecarSuffix}, beside...) {
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

// removeOrphan removes the sidecar of a missing path: a writer died between its two
// renames, or the backup was deleted. A file with any other content stays. The caller holds
// the reservations of path and of the sidecar.
func removeOrphan(path string) error {
	orphan := path + store.SidecarSuffix
	if !isSidecarOf(orphan, filepath.Base(path)) {
		return nil
	}
	if err := sys.remove(orphan); err != nil {
		return fault("remove the orphan", orphan, err)
	}
	return nil
}

// isSidecarOf reports whether the file at path is a well-formed sidecar for name.
func isSidecarOf(path, name string) bool {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	size := len(store.FormatSidecar([sha256.Size]byte{}, name))
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != int64(size) {
		return false
	}
	line := make([]byte, size)
	if _, err := io.ReadFull(file, line); err != nil {
		return false
	}
	digits, rest := string(line[:2*sha256.Size]), string(line[2*sha256.Size:])
	return strings.Trim(digits, "0123456789abcdef") == "" && rest == "  "+name+"\n"
}
