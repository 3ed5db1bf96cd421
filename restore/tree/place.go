package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

var (
	// ErrTarget is wrapped when the target path is a file, a symbolic link, a mount point,
	// or the like.
	ErrTarget = fail.New(fail.Failed, "name another folder with --to; nothing was changed", "cannot be restored to")

	// ErrNotEmpty is returned for a non-empty folder that may not be replaced.
	ErrNotEmpty = fail.New(fail.Failed, "name another folder with --to; nothing was changed", "the folder is there already, and is not empty")

	// ErrReplaced is wrapped when somebody with rights on the parent folder replaces the
	// fresh folder.
	ErrReplaced = fail.New(fail.Failed, "name another folder with --to; nothing was changed", "somebody put something else in the place of")
)

// Fresh is a new folder until it is committed or removed. It is for one goroutine at a
// time.
type Fresh struct {
	// Strays are folders of other restores to the same name, killed or running.
	Strays []string

	o       Target
	final   string // absolute
	path    string // where the folder is now
	stamp   string
	exists  bool // final does
	within  bool // the fresh folder is in the final one, and contents are exchanged
	inherit bool
	root    *os.Root
	made    fs.FileInfo // what root is
	ended   bool
}

// Target says what may become of the folder to restore.
type Target struct {
	Replace bool // it may hold something
	NoModes bool // its file system need not keep modes
}

// Check returns the absolute path of dir, and whether that folder exists. The error wraps
// [ErrTarget] when dir cannot be replaced, and is [ErrNotEmpty] when it is not empty and
// replace is false.
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
	if errors.Is(err, fs.ErrNotExist) {
		// Its owner and mode are for the operator to choose.
		return "", false, fail.As(fail.Failed, "mkdir -p "+fsutil.ShellWord(parent)+", with the owner and mode that it should have; then again",
			fmt.Errorf("%w %s: its parent folder is missing", ErrTarget, path))
	}
	if err != nil {
		return "", false, fmt.Errorf("looking for the folder that is to hold the restored one: %w", err)
	}
	if !above.IsDir() {
		return refuse("it is in no folder")
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
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", false, err
	}
	if err := checkMounts(path); err != nil {
		return "", false, err
	}
	inside := isOwnFileSystem(path, info)
	for _, e := range entries {
		if !replace && !(inside && e.Name() == lostAndFound) {
			return "", false, fmt.Errorf("%s: %w", path, ErrNotEmpty)
		}
	}
	return path, true, nil
}

// checkMounts refuses a folder in which another file system is mounted: it would move away
// with what is replaced.
func checkMounts(path string) error {
	if at := mountBelow(path); at != "" {
		return fmt.Errorf("%w %s: another file system is mounted in it, at %s; unmount that first", ErrTarget, path, at)
	}
	return nil
}

// lostAndFound is in every new file system of some kinds.
const lostAndFound = "lost+found"

// isOwnFileSystem reports whether a folder cannot be renamed, or would change by it: a
// mount point, a container's volume, a subvolume.
func isOwnFileSystem(path string, info fs.FileInfo) bool {
	above, err := os.Stat(filepath.Dir(path))
	return isMount(path) || err == nil && device(info) != device(above)
}

// Former is the path, as a pattern, of dir's former content.
func Former(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		if info, err := os.Lstat(path); err == nil && isOwnFileSystem(path, info) {
			return filepath.Join(dir, ".before-TIME")
		}
	}
	return dir + ".before-TIME"
}

// Begin makes a fresh folder next to dir, DIR.restore-TIME, with access for its owner only;
// or DIR/.restore-TIME, where dir is a file system or subvolume of its own, or nothing may
// be made next to it. A non-empty dir needs Target.Replace. Begin fails as [Check] does,
// and with [ErrModes]. The Fresh must be ended by Commit or Abort.
func Begin(dir string, o Target, now time.Time) (*Fresh, error) {
	final, exists, err := Check(dir, o.Replace)
	if err != nil {
		return nil, err
	}
	f := &Fresh{final: final, exists: exists, o: o}
	if exists {
		if info, err := os.Lstat(final); err == nil {
			f.within = isOwnFileSystem(final, info)
		}
	}
	err = f.make(now)
	if exists && !f.within && isAny(err, []error{syscall.EACCES, syscall.EPERM, syscall.EROFS}) {
		f.within = true
		err = f.make(now)
	}
	if err == nil {
		if err = f.open(); err != nil {
			_ = unix.Rmdir(f.path) // a link that is there is not ours
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making a folder to restore into: %w", err)
	}
	return f, nil
}

func (f *Fresh) prefix() string {
	if f.within {
		return f.final + "/"
	}
	return f.final
}

func (f *Fresh) make(now time.Time) error {
	// What is strange in a name is not a pattern.
	if entries, err := os.ReadDir(filepath.Dir(f.prefix() + ".")); err == nil {
		prefix := f.prefix() + ".restore-"
		for _, e := range entries {
			if name := filepath.Join(filepath.Dir(prefix), e.Name()); strings.HasPrefix(name, prefix) {
				f.Strays = append(f.Strays, name)
			}
		}
	}
	stamp := now.UTC().Format("20060102_150405")
	for n := 1; ; n++ {
		f.stamp = stamp
		if n > 1 {
			f.stamp = fmt.Sprintf("%s-%d", stamp, n)
		}
		f.path = f.prefix() + ".restore-" + f.stamp
		if _, err := os.Lstat(f.before()); err == nil {
			continue
		}
		err := sys.mkdir(f.path, 0o700)
		if err == nil {
			dropACL(f.path)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) || n == 1000 {
			return err
		}
	}
}

// open opens the new folder, which others with rights on the parent may have replaced.
func (f *Fresh) open() (err error) {
	if f.root, err = os.OpenRoot(f.path); err != nil {
		return err
	}
	if f.made, err = f.root.Stat("."); err == nil {
		err = f.inPlace()
	}
	if err == nil && !f.isOurs() {
		err = fmt.Errorf("%w %s: it is not ours alone", ErrReplaced, f.path)
		if t, probeErr := probe(f.root); probeErr == nil && !t.modes {
			if err = nil; !f.o.NoModes {
				err = ErrModes
			}
		} else if probeErr == nil && f.isMapped() {
			err = nil
		}
	}
	if err != nil {
		f.root.Close()
	}
	return err
}

func (f *Fresh) isOurs() bool {
	return f.made.Mode().Perm()&0o077 == 0 && owner(f.made) == os.Geteuid()
}

// isMapped reports whether the file system gives our files to another user, as NFS with
// root_squash does, and nobody else may enter the folder.
func (f *Fresh) isMapped() bool {
	const name = ".takumi-probe"
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	defer f.root.Remove(name)
	defer file.Close()
	info, err := file.Stat()
	return err == nil && owner(info) != os.Geteuid() && owner(info) == owner(f.made) && f.made.Mode().Perm()&0o077 == 0
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// inPlace fails when another folder is at the fresh folder's path.
func (f *Fresh) inPlace() error {
	info, err := os.Lstat(f.path)
	if err == nil && !os.SameFile(info, f.made) {
		err = fmt.Errorf("%w %s", ErrReplaced, f.path)
	}
	return err
}

func (f *Fresh) before() string { return f.prefix() + ".before-" + f.stamp }

// Root is the folder to extract to. Commit and Abort close it.
func (f *Fresh) Root() *os.Root { return f.root }

// Inherit gives the fresh folder the mode and owner of the one it will replace, for an
// archive without an entry for the folder itself. Without an old folder, only the owner may
// enter it.
func (f *Fresh) Inherit() error {
	if f.within {
		f.inherit = true
		return nil
	}
	info, err := os.Lstat(f.final)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && os.Geteuid() == 0 {
		st := info.Sys().(*syscall.Stat_t)
		if err = sys.chown(f.root, ".", int(st.Uid), int(st.Gid)); isAny(err, ungiven) {
			err = nil
		}
	}
	if err == nil && !f.o.NoModes {
		err = sys.chmod(f.root, ".", info.Mode()&(fs.ModePerm|fs.ModeSetgid|fs.ModeSticky))
	}
	if err != nil {
		return fmt.Errorf("giving the restored folder the mode and owner of the former: %w", err)
	}
	return nil
}

// Commit makes the folder durable and gives it its final name. The old folder of that name
// is exchanged for it in one step, and kept as DIR.before-TIME, the returned path; one that
// may not be replaced must be empty, and is removed. After an error the old folder is in
// place and the new one is gone, unless the last step failed, the sync of the parent
// folder: then both are as after success.
//
// Without an exchange in the file system, two renames do it, and nothing has the final name
// in between. When the fresh folder is inside the final one, each entry is renamed, first
// the old ones into DIR/.before-TIME, then the new ones into DIR: others see a mix
// meanwhile, and after a crash DIR has both, complete together.
func (f *Fresh) Commit() (former string, err error) {
	if f.ended {
		return "", os.ErrClosed
	}
	if err := f.sync(); err != nil {
		return "", errors.Join(fmt.Errorf("bringing the restored files to disk: %w", err), f.Abort())
	}
	if err = f.inPlace(); err == nil && f.exists {
		err = checkMounts(f.final) // again: the restore took a while
	}
	switch {
	case err != nil:
	case f.within:
		former, err = f.exchangeContents()
	case !f.exists:
		err = sys.renameNew(f.path, f.final)
	case !f.o.Replace:
		// Fails if it is no longer empty. (os.Rename replaces no folder.)
		err = sys.rename(f.path, f.final)
	default:
		former = f.before()
		err = f.exchange()
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("giving the restored folder its name: %w", err), f.Abort())
	}
	f.ended = true
	f.root.Close()
	around := filepath.Dir(f.final)
	if f.within {
		around = f.final
	}
	if err := sys.syncDir(around); err != nil {
		return former, fmt.Errorf("the folder is restored, but syncing %s failed: %w", around, err)
	}
	return former, nil
}

func (f *Fresh) sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return sys.syncTree(dir)
}

// exchange renames the fresh folder to the old one's later name, and exchanges the two.
// After a crash DIR.before-TIME is either the old folder or content that the backup has
// too.
func (f *Fresh) exchange() error {
	if err := sys.renameNew(f.path, f.before()); err != nil {
		return err
	}
	fresh := f.path
	f.path = f.before()
	err := sys.swap(f.path, f.final)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := sys.renameNew(f.path, fresh); err != nil {
		return err
	}
	f.path = fresh
	if err := sys.renameNew(f.final, f.before()); err != nil {
		return err
	}
	if err := sys.renameNew(f.path, f.final); err != nil {
		return errors.Join(err, sys.renameNew(f.before(), f.final))
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

// Abort removes the fresh folder, but not another in its place. After Commit, or another
// Abort, it does nothing.
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

func device(info fs.FileInfo) uint64 { return uint64(info.Sys().(*syscall.Stat_t).Dev) }
