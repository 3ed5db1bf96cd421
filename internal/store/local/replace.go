package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Replace begins next to the old file: it reserves the names of the backup and its sidecar,
// as a writer of that name does.
//
// Swap renames the backup before its sidecar. A kill in between leaves the new sidecar
// under the temporary name; the next Replace renames it when it fits the file, and removes
// other leftovers of a crash.
func (Folder) Replace(ctx context.Context, path string) (store.Replacement, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path = filepath.Clean(path)
	if err := checkName(path, true); err != nil {
		return nil, err
	}
	data, err := reserve(path)
	if err != nil {
		return nil, err
	}
	r := &replacement{file: &File{path: path, replace: true, data: data, back: writeBack{file: data.file}}}
	if err := r.begin(ctx); err != nil {
		return nil, withCleanup(err, r.Abort())
	}
	return r, nil
}

// replacement is a file next to the one it will replace.
type replacement struct {
	file   *File
	was    fs.FileInfo   // the old file, when this began
	result *store.Result // what Finish made durable
}

func (r *replacement) begin(ctx context.Context) (err error) {
	f := r.file
	r.was, err = os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("replace %s: %w", f.path, fs.ErrNotExist)
	case err != nil:
		return fault("look for", f.path, err)
	case !r.was.Mode().IsRegular():
		return fmt.Errorf("replace %s: it is a link or no file at all: name the backup itself", f.path)
	}
	if err := finishSwap(ctx, f.path); err != nil {
		return err
	}
	if left := partialPath(f.path + envelopeSuffix); exists(left) {
		_ = reclaim(left) // unless somebody is writing it
	}
	if f.sidecar, err = reserve(f.path + store.SidecarSuffix); err != nil {
		return err
	}
	f.hash = store.NewHasher()
	giveTo(r.was, f.data.file, f.sidecar.file)
	return checkTarget(f.sidecar.path, true)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// giveTo gives files the owner of their backup, where permitted.
func giveTo(backup fs.FileInfo, files ...*os.File) {
	owner := backup.Sys().(*syscall.Stat_t)
	for _, file := range files {
		_ = file.Chown(int(owner.Uid), int(owner.Gid))
	}
}

// isOld reports whether a file is the one to be replaced.
func (r *replacement) isOld(file fs.FileInfo) bool {
	return os.SameFile(r.was, file) && r.was.Size() == file.Size() && r.was.ModTime().Equal(file.ModTime())
}

func (r *replacement) Write(p []byte) (int, error) { return r.file.Write(p) }

// Finish syncs the new file, and its sidecar under a temporary name.
func (r *replacement) Finish() (store.Result, error) {
	f := r.file
	if f.ended || r.result != nil {
		return store.Result{}, os.ErrClosed
	}
	if f.err != nil {
		return store.Result{}, f.err
	}
	if err := sys.sync(f.data.file); err != nil {
		return store.Result{}, fault("sync", f.path, err)
	}
	digest := f.hash.Finish()
	if err := f.sidecar.fill(store.FormatSidecar(digest, filepath.Base(f.path))); err != nil {
		return store.Result{}, err
	}
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		return store.Result{}, err
	}
	r.result = &store.Result{Path: f.path, Size: f.size, SHA256: hex.EncodeToString(digest[:])}
	return *r.result, nil
}

// Open opens the new file under its temporary name.
func (r *replacement) Open(ctx context.Context) (store.Object, error) {
	f := r.file
	if f.ended || r.result == nil {
		return nil, os.ErrClosed
	}
	o, err := Folder{}.Open(ctx, f.data.temp)
	if err != nil {
		return nil, err
	}
	if same, err := isSameFile(f.data.file, f.data.temp); err != nil || !same {
		o.Close()
		return nil, fmt.Errorf("read %s back: %w", f.path, store.ErrChanged)
	}
	return o, nil
}

// Swap renames the new file over the old one, and then its sidecar.
func (r *replacement) Swap(ctx context.Context) error {
	f := r.file
	if f.ended || r.result == nil {
		return os.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now, err := os.Lstat(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault("look for", f.path, err)
	}
	if err != nil || !r.isOld(now) {
		return fmt.Errorf("replace %s: %w", f.path, store.ErrChanged)
	}
	if err := f.data.place(true); err != nil {
		return err
	}
	// Without this sync a power cut could keep the second rename and lose this one, and
	// with it the sidecar of the old file.
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		return err
	}
	if err := f.sidecar.place(true); err != nil {
		return err
	}
	f.end()
	return syncDir(filepath.Dir(f.path))
}

// Abort removes what was written. A new file that has its name stays, and so does its
// sidecar, for the next Replace to rename.
func (r *replacement) Abort() error { return r.file.Abort() }

// finishSwap renames the sidecar of path from its temporary name, if it fits the file. The caller
// holds the reservation of path.
func finishSwap(ctx context.Context, path string) error {
	sidecar := path + store.SidecarSuffix
	staged := partialPath(sidecar)
	if !isSidecarOf(staged, filepath.Base(path)) {
		return nil
	}
	line, err := os.ReadFile(staged)
	if err != nil {
		return fault("read", staged, err) // it may fit, and would be lost
	}
	sum, err := sumOfFile(ctx, path)
	if err != nil {
		return err
	}
	if string(line) != store.FormatSidecar(sum, filepath.Base(path)) {
		return nil
	}
	if err := checkTarget(sidecar, true); err != nil {
		return err
	}
	if err := sys.rename(staged, sidecar); err != nil {
		return fault("rename the finished file to", sidecar, err)
	}
	return syncDir(filepath.Dir(path))
}

func sumOfFile(ctx context.Context, path string) (sum [sha256.Size]byte, err error) {
	file, err := Folder{}.Open(ctx, path)
	if err != nil {
		return sum, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return sum, fmt.Errorf("hashing %s: %w", path, err)
	}
	hash.Sum(sum[:0])
	return sum, nil
}

// isStagedSidecar reports whether name, one of the sorted names of dir, is the temporary
// sidecar of a backup that exists and is not being written: a Swap was killed between its
// renames.
func isStagedSidecar(dir string, names []string, name string) bool {
	backup, partial := strings.CutSuffix(strings.TrimPrefix(name, partialPrefix), store.SidecarSuffix+partialSuffix)
	_, found := slices.BinarySearch(names, backup)
	_, written := slices.BinarySearch(names, partialPath(backup))
	return partial && found && !written && isSidecarOf(filepath.Join(dir, name), backup)
}
