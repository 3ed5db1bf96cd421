package local

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// fault makes a *store.Error of an error of package os, whose operation and temporary path
// would be misleading.
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

// withCleanup adds to err that the clean-up failed too; err still decides the kind.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return fmt.Errorf("%w (cleaning up failed too: %v)", err, cleanup)
}

func firstError(errs ...error) error { return cmp.Or(errs...) }
