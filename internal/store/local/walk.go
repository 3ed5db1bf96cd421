package local

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Walk finds the backups of a store: the regular files in and under root whose
// names end in ".enc", folder by folder in the order of their names. What a
// writer has not finished yet, or left behind, has another name.
//
// What may hold backups and cannot be looked at comes as an error between them,
// an *[store.Error] with its path, and the walk goes on: a folder that cannot be read,
// root itself included, and a symbolic link to a folder or a backup that the
// walk does not meet anyway. Links inside root are passed over, as are files
// that vanish meanwhile and the lost+found of a file system that is mounted at
// root. The end of ctx ends the walk with its cause.
//
// With all it is for who must miss no backup, whatever its name: every regular file
// is found, also what a writer has not finished yet, and links to files elsewhere
// are followed.
func Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		w := walker{ctx: ctx, root: filepath.Clean(root), all: all, yield: yield}
		// The root may be a link, and is followed: "/." says so to Lstat.
		if err := filepath.WalkDir(strings.TrimRight(w.root, "/")+"/.", w.visit); err != nil {
			yield(store.Backup{}, err)
		}
	}
}

type walker struct {
	ctx   context.Context
	root  string
	all   bool // whatever its name
	yield func(store.Backup, error) bool
}

func (w *walker) visit(path string, entry fs.DirEntry, err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	path = filepath.Clean(path)
	var found store.Backup
	switch {
	case err != nil:
		if errors.Is(err, fs.ErrNotExist) && path != w.root {
			return nil
		}
		err = fault("read", path, err)
	case entry.IsDir():
		if path == filepath.Join(w.root, "lost+found") {
			return fs.SkipDir
		}
		return nil
	case entry.Type()&fs.ModeSymlink != 0:
		if w.mayPass(path) {
			return nil
		}
		if info, statErr := os.Stat(path); w.all && statErr == nil && info.Mode().IsRegular() {
			found = store.Backup{Path: path, Size: info.Size(), ModTime: info.ModTime()}
			break
		}
		err = fault("follow", path, store.ErrLink)
	case !entry.Type().IsRegular() || !w.wants(path):
		return nil
	default:
		info, statErr := entry.Info()
		if errors.Is(statErr, fs.ErrNotExist) {
			return nil
		}
		if err = statErr; err != nil {
			err = fault("look at", path, err)
			break
		}
		sidecar, err := os.Lstat(path + store.SidecarSuffix)
		found = store.Backup{Path: path, Size: info.Size(), ModTime: info.ModTime(), Sidecar: err == nil && sidecar.Mode().IsRegular()}
	}
	if !w.yield(found, err) {
		return fs.SkipAll
	}
	return nil
}

func (w *walker) wants(path string) bool { return w.all || strings.HasSuffix(path, store.BackupSuffix) }

// mayPass reports whether nothing is missed when the link at path is not
// followed.
func (w *walker) mayPass(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if !info.IsDir() && !w.wants(path) {
		return true
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	root, err := filepath.EvalSymlinks(w.root)
	if err != nil {
		return false
	}
	inside := target == root || strings.HasPrefix(target, strings.TrimRight(root, "/")+"/")
	return inside && (info.IsDir() || w.wants(target))
}
