package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

var (
	// ErrExists is returned when the final name is taken, by whatever it is.
	ErrExists = errors.New("the file exists already and is not overwritten")

	// ErrBusy is returned when another live process writes the same name.
	ErrBusy = errors.New("another process is writing this file")

	// ErrName is returned for a file name that cannot be stored, or that a
	// sidecar could not name.
	ErrName = errors.New("unfit file name")
)

// Error is a failure of the store itself: full, read-only, denied, missing,
// broken. Whatever a caller does wrong, or another writer does first, is not
// an *Error.
type Error struct {
	Op   string // what was attempted, such as "write"
	Path string
	Err  error // most often a syscall.Errno
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// IsStoreFault reports whether err was raised by the store as an *Error. An
// ENOSPC or EPIPE from elsewhere, say of standard output, is none.
func IsStoreFault(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// fault makes an *Error of what package os returned, whose own operation and
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
	return &Error{Op: op, Path: path, Err: err}
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

func isTaken(err error) bool { return errors.Is(err, ErrExists) || errors.Is(err, ErrBusy) }
