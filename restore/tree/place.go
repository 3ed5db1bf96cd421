package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

var (
	// ErrTarget is wrapped when a folder cannot be restored to the path it was
	// to have: the path is a file, a symbolic link, a mount point, or the like.
	ErrTarget = fail.New(fail.Failed, "name another folder with --to; nothing was changed", "cannot be restored to")

	// ErrNotEmpty is returned for a folder that holds something and may not be
	// replaced.
	ErrNotEmpty = fail.New(fail.Failed, "name another folder with --to; nothing was changed", "the folder is there already, and is not empty")

	// ErrReplaced is wrapped when somebody who may write to the folder around it
	// puts something else in the place of the fresh folder.
	ErrReplaced = fail.New(fail.Failed, "name another folder with --to; nothing was changed", "somebody put something else in the place of")
)

// Variables for the tests.
var (
	swap  = exchange
	sync  = syncTree
	mkdir = os.Mkdir
)

// Fresh is a new folder that will get its final name, or will go. It is for one
// goroutine at a time.
type Fresh struct {
	// Strays are folders that an earlier restore to the same name left behind
	// when it was killed, or that one still works on.
	Strays []string

	final   string // absolute
	path    string // where the folder is now
	stamp   string
	exists  bool // final does
	replace bool
	root    *os.Root
	made    fs.FileInfo // what root is
	ended   bool
}

// Check returns the absolute path of dir, and whether a folder stands there. It
// fails with an error that wraps [ErrTarget] when dir cannot be replaced by a
// rename, and with [ErrNotEmpty] when it holds something although replace is
// false.
func Check(dir string, replace bool) (path string, exists bool, err error) {
	path, err = filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	parent := filepath.Dir(path)
	refuse := func(why string) (string, bool, error) {
		return "", false, fmt.Errorf("%w %s: %s", ErrTarget, path, why)
	}
	if parent == path {
		return refuse("it is the root of all folders")
	}
	above, err := os.Stat(parent)
	if err != nil {
		return "", false, fmt.Errorf("looking for the folder that is to hold the restored one: %w", err)
	}
	if !above.IsDir() {
		return refuse("it stands in no folder")
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, false, nil
	}
	switch {
	case err != nil:
		return "", false, err
	case info.Mode()&fs.ModeSymlink != 0:
		return refuse("it is a symbolic link; name the folder that it leads to")
	case !info.IsDir():
		return refuse("it is not a folder")
	case isMount(path) || device(info) != device(above):
		return refuse("a file system is mounted there, which cannot be exchanged for a folder; name a folder below it, or unmount it")
	}
	if !replace {
		entries, err := os.ReadDir(path)
		if err != nil {
			return "", false, err
		}
		if len(entries) > 0 {
			return "", false, fmt.Errorf("%s: %w", path, ErrNotEmpty)
		}
	}
	return path, true, nil
}

// Begin makes a fresh folder beside dir, DIR.restore-TIME, which only its owner
// may enter. dir may exist; if it holds something, replace has to be true. Begin
// fails as [Check] does. The Fresh has to be ended by Commit or Abort.
func Begin(dir string, replace bool, now time.Time) (*Fresh, error) {
	final, exists, err := Check(dir, replace)
	if err != nil {
		return nil, err
	}
	f := &Fresh{final: final, exists: exists, replace: replace}
	// What is strange in a name is no pattern.
	if entries, err := os.ReadDir(filepath.Dir(final)); err == nil {
		prefix := filepath.Base(final) + ".restore-"
		for _, e := range entries {
			if len(e.Name()) > len(prefix) && e.Name()[:len(prefix)] == prefix {
				f.Strays = append(f.Strays, filepath.Join(filepath.Dir(final), e.Name()))
			}
		}
	}
	stamp := now.UTC().Format("20060102_150405")
	for n := 1; ; n++ {
		f.stamp = stamp
		if n > 1 {
			f.stamp = fmt.Sprintf("%s-%d", stamp, n)
		}
		f.path = final + ".restore-" + f.stamp
		if _, err := os.Lstat(f.before()); err == nil {
			continue
		}
		err := mkdir(f.path, 0o700)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) || n == 1000 {
			return nil, fmt.Errorf("making a folder to restore into: %w", err)
		}
	}
	if err = f.open(); err != nil {
		_ = unix.Rmdir(f.path) // a link that is there is not ours
		return nil, fmt.Errorf("making a folder to restore into: %w", err)
	}
	return f, nil
}

// open opens the folder that was just made. Where others may write to the folder
// around it, it may be another by now.
func (f *Fresh) open() (err error) {
	if f.root, err = os.OpenRoot(f.path); err != nil {
		return err
	}
	if f.made, err = f.root.Stat("."); err == nil {
		err = f.inPlace()
	}
	if err == nil && (f.made.Mode().Perm()&0o077 != 0 || int(f.made.Sys().(*syscall.Stat_t).Uid) != os.Geteuid()) {
		err = fmt.Errorf("%w %s: it is not ours alone", ErrReplaced, f.path)
	}
	if err != nil {
		f.root.Close()
	}
	return err
}

// inPlace fails when the fresh folder is not what its path leads to.
func (f *Fresh) inPlace() error {
	info, err := os.Lstat(f.path)
	if err == nil && !os.SameFile(info, f.made) {
		err = fmt.Errorf("%w %s", ErrReplaced, f.path)
	}
	return err
}

func (f *Fresh) before() string { return f.final + ".before-" + f.stamp }

// Root is where to extract to. It is closed by Commit and Abort.
func (f *Fresh) Root() *os.Root { return f.root }

// Inherit gives the fresh folder the mode and owner of the one that it is going
// to replace: for an archive that says nothing of the folder itself. Where there
// is none, only the owner of the fresh folder may enter it.
func (f *Fresh) Inherit() error {
	info, err := os.Lstat(f.final)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && os.Geteuid() == 0 {
		st := info.Sys().(*syscall.Stat_t)
		err = f.root.Lchown(".", int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = f.root.Chmod(".", info.Mode()&(fs.ModePerm|fs.ModeSetgid|fs.ModeSticky))
	}
	if err != nil {
		return fmt.Errorf("giving the restored folder the mode and owner of the former: %w", err)
	}
	return nil
}

// Commit makes the folder durable and gives it its final name. A folder that has
// that name is exchanged for it in one step, and kept as DIR.before-TIME, whose
// path Commit returns; if it may not be replaced, it has to be empty, and goes.
// When Commit fails, the former folder stands where it stood, and the new one is
// gone; only when the very last step fails, the sync of the folder around them,
// both are where they would be after success.
//
// Where the file system cannot exchange names, two renames stand for it, and for
// the moment between them nothing has the final name.
func (f *Fresh) Commit() (former string, err error) {
	if f.ended {
		return "", os.ErrClosed
	}
	if err := f.sync(); err != nil {
		return "", errors.Join(fmt.Errorf("bringing the restored files to disk: %w", err), f.Abort())
	}
	err = f.inPlace()
	switch {
	case err != nil:
	case !f.exists:
		err = renameNew(f.path, f.final)
	case !f.replace:
		// Fails if it is no longer empty. (os.Rename replaces no folder.)
		err = unix.Rename(f.path, f.final)
	default:
		former = f.before()
		err = f.exchange()
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("giving the restored folder its name: %w", err), f.Abort())
	}
	f.ended = true
	f.root.Close()
	if err := fsutil.SyncDir(filepath.Dir(f.final)); err != nil {
		return former, fmt.Errorf("the folder is restored, but syncing the one around it failed: %w", err)
	}
	return former, nil
}

func (f *Fresh) sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return sync(dir)
}

// exchange renames the fresh folder to what the former one is to be called, and
// exchanges the two. Whoever finds DIR.before-TIME after a crash finds either
// the former folder or something that the backup holds as well.
func (f *Fresh) exchange() error {
	if err := renameNew(f.path, f.before()); err != nil {
		return err
	}
	fresh := f.path
	f.path = f.before()
	err := swap(f.path, f.final)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := renameNew(f.path, fresh); err != nil {
		return err
	}
	f.path = fresh
	if err := renameNew(f.final, f.before()); err != nil {
		return err
	}
	if err := renameNew(f.path, f.final); err != nil {
		return errors.Join(err, renameNew(f.before(), f.final))
	}
	return nil
}

// renamePlain is renameNew for systems without a call for it.
func renamePlain(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return os.Rename(from, to)
}

// Abort removes the fresh folder, and nothing that stands in its place. After Commit, or another Abort, it does
// nothing.
func (f *Fresh) Abort() error {
	if f.ended {
		return nil
	}
	f.ended = true
	err := f.inPlace()
	f.root.Close()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil: // what is there is not ours to remove
		return fmt.Errorf("removing the unfinished folder: %w", err)
	}
	err = os.RemoveAll(f.path)
	if errors.Is(err, fs.ErrPermission) {
		// Folders that were finished already may not let their owner in.
		_ = filepath.WalkDir(f.path, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
		err = os.RemoveAll(f.path)
	}
	if err != nil {
		return fmt.Errorf("removing the unfinished folder: %w", err)
	}
	return nil
}

// device returns the file system that something stands on.
func device(info fs.FileInfo) uint64 { return uint64(info.Sys().(*syscall.Stat_t).Dev) }
