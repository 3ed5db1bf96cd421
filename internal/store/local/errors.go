package local

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// fault makes a *store.Error of what package os returned, whose own operation and
// temporary path would only repeat or blur what op and path say.
func fault(op, path string, err error) error {
	var atPath *fs.PathError
	var atLink *os.LinkError
	var atCall *os.SyscallError
	switch {
	case errors.As(err, &atPath):
		err = atPath.Err
	case errors.As(err, &atLink):
		err = atLink.Err
	case errors.As(err, &atCall):
		err = atCall.Err
	}
	return &store.Error{Op: op, Path: path, Err: err}
}

// withCleanup adds to err that cleaning up after it failed as well. What kind of
// error it is remains decided by err.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return fmt.Errorf("%w (cleaning up failed too: %v)", err, cleanup)
}

func firstError(errs ...error) error { return cmp.Or(errs...) }
