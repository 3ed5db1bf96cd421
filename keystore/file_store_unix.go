//go:build unix

package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

var _ Storer = File{}

// formerName matches the end of a former key's file name: a dot and its id.
var formerName = regexp.MustCompile(`^\.[0-9a-f]{16}$`)

func (f File) former(id kek.ID) File { return File{Path: f.Path + "." + string(id)} }

func (f File) real() File {
	if path, err := filepath.EvalSymlinks(f.Path); err == nil {
		f.Path = path
	}
	return f
}

// Versions implements Keeper: the key file and the former keys that Store keeps next to it,
// or next to the target of a symbolic link.
func (f File) Versions(ctx context.Context) ([]Version, error) {
	current, err := f.Load(ctx)
	if err != nil {
		return nil, err
	}
	current.Wipe()
	real := f.real()
	all := []Version{{Source: f, Name: filepath.Base(f.Path), Current: true, Created: modTime(real.Path)}}
	entries, err := os.ReadDir(filepath.Dir(real.Path))
	if err != nil {
		return nil, f.systemError(err)
	}
	for _, e := range entries {
		suffix, found := strings.CutPrefix(e.Name(), filepath.Base(real.Path))
		if !found || !formerName.MatchString(suffix) || suffix[1:] == string(current.ID()) {
			continue
		}
		former := real.former(kek.ID(suffix[1:]))
		all = append(all, Version{Source: former, Name: e.Name(), Created: modTime(former.Path)})
	}
	slices.SortStableFunc(all[1:], func(a, b Version) int { return b.Created.Compare(a.Created) })
	return all, nil
}

// modTime is when a file was written, zero if unknown.
func modTime(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Store implements Storer. The new file has the mode and owner of the old one, which stays
// next to it with a dot and its id appended. A symbolic link is followed. Temporary key
// files that killed runs left are removed after an hour.
func (f File) Store(ctx context.Context, key *kek.Key, before kek.ID) (err error) {
	f = f.real()
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	removeStrays(filepath.Dir(f.Path))
	old, err := f.Load(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		if before != "" {
			return conflict(f, "", before)
		}
		return WriteFile(f.Path, key)
	case err != nil:
		return err
	}
	defer old.Wipe()
	if old.ID() == key.ID() {
		return nil
	}
	if old.ID() != before {
		return conflict(f, old.ID(), before)
	}
	if err := f.keep(ctx, old); err != nil {
		return f.unchanged("the former key cannot be kept", err)
	}
	return f.replace(key)
}

// unchanged is the error of a Store that failed before it touched the current key.
func (f File) unchanged(doing string, err error) error {
	if known := (*Error)(nil); errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	err = cause(err)
	return &Error{URI: f.String(), Kind: ErrRefused, Reason: doing + ": " + err.Error() + "; nothing was changed", Err: err}
}

// conflict is the error for another key than Store expects.
func conflict(src Source, current, before kek.ID) error {
	name := func(id kek.ID) string {
		if id == "" {
			return "no key"
		}
		return "key " + string(id)
	}
	return &Error{URI: src.String(), Kind: ErrConflict, Reason: fmt.Sprintf("it holds %s, where %s was expected; nothing was changed", name(current), name(before))}
}

// keep copies the current key to the name of a former one, unless an interrupted run did.
func (f File) keep(ctx context.Context, old *kek.Key) error {
	place := f.former(old.ID())
	text := textOf(old)
	defer clear(text)
	err := writeNew(place.Path, text, f.copyOwner)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	kept, err := place.Load(ctx)
	if err != nil {
		return err
	}
	defer kept.Wipe()
	if kept.ID() != old.ID() {
		return &Error{URI: place.String(), Kind: ErrRefused, Reason: "it holds another key than its name says: key " + string(kept.ID()), Fix: "move it away"}
	}
	// The owner may have changed.
	file, err := sys.open(place.Path)
	if err != nil {
		return place.openError(err)
	}
	defer file.Close()
	return errors.Join(f.copyOwner(file), sys.sync(file))
}

func (f File) replace(key *kek.Key) error {
	dir := filepath.Dir(f.Path)
	const doing = "the new key file cannot be written"
	text := textOf(key)
	defer clear(text)
	temp, err := writeTemp(dir, text, f.copyOwner)
	if err != nil {
		return f.unchanged(doing, err)
	}
	if err := sys.rename(temp, f.Path); err != nil {
		return f.unchanged(doing, errors.Join(cause(err), remove(temp)))
	}
	// The key has changed by now, even if the sync fails.
	if err := sys.syncDir(dir); err != nil {
		return fmt.Errorf("replace key file %s: %w", display(f.Path), cause(err))
	}
	return nil
}

// copyOwner gives a file the owner and the mode of f.
func (f File) copyOwner(file *os.File) error {
	info, err := os.Stat(f.Path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := sys.chown(file, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return sys.chmod(file, info.Mode().Perm())
}

// strayAge is the age after which no live writer needs a temporary file.
const strayAge = time.Hour

// removeStrays removes temporary files of killed writers: each holds a key, which would
// outlive the destruction of the others. Failures are ignored; the next run tries again.
func removeStrays(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if stray, _ := filepath.Match(tempPattern, e.Name()); !stray {
			continue
		}
		if path := filepath.Join(dir, e.Name()); sys.now().Sub(modTime(path)) > strayAge {
			_ = sys.remove(path)
		}
	}
}

// lockPause is the time between two tries of a lock.
const lockPause = 5 * time.Millisecond

// lock locks the keys in the folder of f against other processes. It waits until ctx ends.
func (f File) lock(ctx context.Context) (unlock func(), err error) {
	folder, err := os.Open(filepath.Dir(f.Path))
	if err != nil {
		return nil, f.systemError(err)
	}
	for {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { folder.Close() }, nil
		case err == unix.EINTR:
			continue
		case err != unix.EWOULDBLOCK:
			folder.Close()
			return nil, f.systemError(err)
		}
		select {
		case <-ctx.Done():
			folder.Close()
			return nil, ctx.Err()
		case <-time.After(lockPause):
		}
	}
}
