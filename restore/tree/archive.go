package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// Archive reads a tar archive of a backup, on one goroutine.
type Archive struct {
	wrapped *Unwrapped
	whole   *guard.Reader
}

// Open returns the archive in content, decompressed and guarded: one that was cut before it
// was sealed is authentic but not whole. The caller closes it; content is not closed.
func Open(content io.Reader) (*Archive, error) {
	u, err := Unwrap(content)
	if err != nil {
		return nil, err
	}
	return &Archive{u, guard.NewReader(u, guard.Options{})}, nil
}

// Read returns the next bytes. When the archive is not whole, the error is a
// [guard.IncompleteError] with a hint for a restore.
func (a *Archive) Read(p []byte) (int, error) {
	n, err := a.whole.Read(p)
	if cut := (*guard.IncompleteError)(nil); errors.As(err, &cut) {
		err = fail.As(fail.Failed, "the backup is authentic, and what was sealed is not whole: use an older one, and look why its source stopped early", err)
	}
	return n, err
}

// Close ends what works on it. It returns nil.
func (a *Archive) Close() error {
	a.whole.Close()
	return a.wrapped.Close()
}

// ErrRoom is wrapped when the target's file system is too small.
var ErrRoom = fail.New(fail.Store, "make room there, or name another folder with --to; nothing was changed", "there is not enough room")

// CheckRoom fails with [ErrRoom] when less than need bytes are free where dir is or would
// be. Unknown room is not an error.
func CheckRoom(dir string, need int64) error {
	for {
		var st unix.Statfs_t
		switch err := unix.Statfs(dir, &st); {
		case err == nil:
			if free := int64(st.Bavail) * int64(st.Bsize); free < need {
				return fmt.Errorf("%w at %s: the content takes at least %d bytes, and %d are free", ErrRoom, dir, need, free)
			}
			return nil
		case !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir:
			return nil
		}
		dir = filepath.Dir(dir)
	}
}
