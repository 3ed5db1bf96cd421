package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// patience is how many pauses, a minute in all, a changing backup is waited for, and
// distance as many in a bucket, where nobody can be seen at work.
const (
	patience = 240
	distance = 20
)

// settled waits until nobody works on a seemingly bad backup, and reports whether it did
// not have to wait: between a change of the file and of its sidecar a backup looks damaged.
func (c *Checker) settled(ctx context.Context, b *Backup, changed time.Time) bool {
	if store.IsRemote(b.Path) {
		if time.Since(changed) >= strayAge || !b.has(SidecarDiffers) {
			return true
		}
		return !wait(ctx, distance*c.pause)
	}
	// A link's target is what is changed.
	path, err := filepath.EvalSymlinks(b.Path)
	if err != nil || !reserved(path) {
		return true
	}
	for end := time.Now().Add(patience * c.pause); reserved(path) && time.Now().Before(end); {
		if !wait(ctx, c.pause) {
			break
		}
	}
	return false
}

// wait waits, and says whether ctx did not end.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// reserved reports whether a live process holds the name of a local backup, or of its
// sidecar.
func reserved(path string) bool {
	return locked(path) || locked(path+store.SidecarSuffix)
}

// locked checks the lock of path's temporary file; see package local.
func locked(path string) bool {
	dir, name := filepath.Split(path)
	file, err := os.OpenFile(dir+"."+name+".partial", os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
