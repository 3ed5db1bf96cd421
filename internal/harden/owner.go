package harden

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// BecomeOwner restarts the program as the owner of the file of settings, when root runs it
// and the file is not root's: the file decides what is read, where it goes and which
// commands run, so these must not exceed its owner's rights. Root's environment is not
// passed on. It returns when there is nothing to change.
func BecomeOwner(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return nil
	}
	return fmt.Errorf("running as the user whom %s belongs to: %w", path, execAs(stat.Uid, stat.Gid))
}

// execAs replaces this process. It only returns when that fails.
func execAs(uid, gid uint32) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	groups, env := []int{int(gid)}, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", RunsFor + "=1"}
	u, err := user.LookupId(strconv.Itoa(int(uid)))
	switch {
	case err == nil:
		groups = groupsOf(u)
		if n, err := strconv.Atoi(u.Gid); err == nil {
			gid = uint32(n)
		}
		env = append(env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	case !errors.As(err, new(user.UnknownUserIdError)):
		return err
	}
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(int(gid)); err != nil {
		return err
	}
	if err := syscall.Setuid(int(uid)); err != nil { // as root: the real, the effective and the saved one
		return err
	}
	return syscall.Exec(program, os.Args, env)
}

// RunsFor marks the environment of a process that root began as somebody else.
const RunsFor = "TAKUMI_RUNS_FOR_ROOT"

func groupsOf(u *user.User) []int {
	var groups []int
	ids, _ := u.GroupIds() // without them it may do less
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			groups = append(groups, n)
		}
	}
	return groups
}

// ForRoot adds to a system error, in a process that root began (RunsFor is set), that it
// ran as another user.
func ForRoot(began bool, err error) error {
	if !began || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	class, _ := fail.Of(err)
	return fail.As(class, "this ran as the user whom the settings belong to; for what needs root give --config FILE with a file that belongs to root, or --config none", err)
}
