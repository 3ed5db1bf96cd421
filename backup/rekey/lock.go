package rekey

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// ErrHeld is returned while somebody else holds the lock of a backup.
var ErrHeld = fail.New(fail.Failed, "wait for the other run, or look why it takes so long", "another run is changing this backup")

// Lock is a held lock, which Release ends.
type Lock = fsutil.Lock

// Take locks the backup at path, which exists, in the folder dir, which it makes. All paths
// to a backup, and links, lead to one lock. It does not wait: the error is ErrHeld, or why
// locking failed. The caller releases it.
func Take(dir, path string) (*Lock, error) {
	fail := func(err error) error { return fmt.Errorf("locking %s: %w", path, err) }
	name, err := real(path)
	if err != nil {
		return nil, fail(err)
	}
	dir = filepath.Join(dir, "locks")
	if err := fsutil.MkdirAll(dir); err != nil {
		return nil, fail(err)
	}
	sum := sha256.Sum256([]byte(name))
	lock, err := fsutil.LockFile(filepath.Join(dir, hex.EncodeToString(sum[:16])))
	if errors.Is(err, fsutil.ErrHeld) {
		err = ErrHeld
	}
	if err != nil {
		return nil, fail(err)
	}
	return lock, nil
}

func real(path string) (string, error) {
	if store.IsRemote(path) {
		return path, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}
