package scratch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

const (
	// prefix begins the name of every scratch folder.
	prefix = "takumi-scratch-"
	// marker is a file in each, which a folder that only has such a name lacks.
	marker = ".takumi-scratch"
)

// Folder is a private temporary folder, locked while its process lives, which distinguishes
// it from leftovers.
type Folder struct {
	path string
	lock *fsutil.Lock
}

// NewFolder makes a folder in parent that only this user may enter, and removes leftovers
// of killed runs in parent, their servers too. The caller ends it with Remove.
func NewFolder(ctx context.Context, parent string) (*Folder, error) {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return nil, err
	}
	if err := sweep(ctx, parent); err != nil {
		return nil, err
	}
	for {
		f, err := tryFolder(parent)
		// Another run's sweep may come between the making and the lock.
		if errors.Is(err, fsutil.ErrHeld) || errors.Is(err, errSwept) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("making a scratch folder: %w", err)
		}
		return f, nil
	}
}

// errSwept means that another run has removed a folder that was not locked yet.
var errSwept = errors.New("swept away")

func tryFolder(parent string) (*Folder, error) {
	path, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	made, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errSwept
	}
	if err != nil {
		return nil, err
	}
	lock, err := fsutil.LockFolder(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errSwept
	}
	if err != nil {
		return nil, err
	}
	f := &Folder{path, lock}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(made, now) {
		lock.Release()
		return nil, errSwept
	}
	if err := os.WriteFile(filepath.Join(path, marker), nil, 0o600); err != nil {
		return nil, errors.Join(err, f.Remove())
	}
	return f, nil
}

// Path returns the absolute path of the folder.
func (f *Folder) Path() string { return f.path }

// Remove removes the folder with all that is in it, whatever modes that has.
func (f *Folder) Remove() error {
	defer f.lock.Release()
	return removeAll(f.path)
}

// removeAll removes a folder, even one that a killed process still writes to, or that does
// not let its owner in.
func removeAll(path string) (err error) {
	for range 50 {
		if err = os.RemoveAll(path); err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrPermission) {
			_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, _ error) error {
				if d != nil && d.IsDir() {
					_ = os.Chmod(path, 0o700)
				}
				return nil
			})
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("removing the scratch folder: %w", err)
}

// sweep removes leftovers of killed runs in parent, ignoring errors.
func sweep(ctx context.Context, parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("looking into the scratch folder: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		if !strings.HasPrefix(e.Name(), prefix) || !e.IsDir() || !isOurs(path) {
			continue
		}
		lock, err := fsutil.LockFolder(path)
		if err != nil || lock == nil { // at work, or nobody can tell
			continue
		}
		stopStray(ctx, path)
		_ = removeAll(path)
		lock.Release()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// isOurs says whether this user, or the one that servers run as for root, has
// made a scratch folder at path.
func isOurs(path string) bool {
	users := []uint32{uint32(os.Geteuid())}
	if cred, err := credential(); err == nil && cred != nil {
		users = append(users, cred.Uid)
	}
	info, err := os.Lstat(path)
	if err != nil || !slices.Contains(users, info.Sys().(*syscall.Stat_t).Uid) {
		return false
	}
	// A run that was killed before it had put the marker there has left nothing else.
	entries, err := os.ReadDir(path)
	return err == nil && (len(entries) == 0 || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == marker }))
}

// stopStray stops a server whose starter was killed, unless the kernel has. It must listen
// in the folder: otherwise the process number in its file could be a stranger's.
func stopStray(ctx context.Context, path string) {
	listens := func() bool {
		conn, err := net.DialTimeout("unix", socketIn(path), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	if !listens() {
		return
	}
	text, err := os.ReadFile(filepath.Join(path, "data", "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	for deadline := time.Now().Add(goodbye); listens() && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(20 * time.Millisecond)
	}
}
