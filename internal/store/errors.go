package store

import (
	"errors"
	"io/fs"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

var (
	// ErrExists is returned when the final name is taken.
	ErrExists = fail.New(fail.Failed, "choose another name, or move the old file away", "the file exists already and is not overwritten")

	// ErrBusy is returned when another live process writes the same name.
	ErrBusy = errors.New("another process is writing this file")

	// ErrArchived is returned for a file that has to be fetched from an archive first.
	ErrArchived = fail.New(fail.Store, "fetch it back with takumi-backup restore-object PATH, which takes minutes to days, and run this again", "the file is archived and cannot be read")

	// ErrName is returned for a name that cannot be stored, or that a sidecar cannot name.
	ErrName = fail.New(fail.Usage, "", "unfit file name")
)

// Error is a failure of the store itself: full, read-only, denied, missing, broken. A
// mistake of the caller or another writer is not an *Error.
type Error struct {
	Op   string // such as "write"
	Path string
	Err  error // most often a syscall.Errno
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// IsStoreFault reports whether err is an *Error. An ENOSPC or EPIPE of, say, standard
// output is not one.
func IsStoreFault(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// Fail is the class and the hint of the error.
func (e *Error) Fail() (fail.Class, string) {
	hint := fail.StoreHint
	if e.Op == "read" && errors.Is(e.Err, fs.ErrNotExist) {
		hint = "check the path, and whether its disk is mounted; the first backup makes a folder that is missing"
	}
	return fail.Inner(e.Err, fail.Store, hint)
}

// ErrChanged is returned by Remove when another file has taken the path.
var ErrChanged = fail.New(fail.Failed, "run it again", "it has changed since it was looked at, and is left alone")

// ErrLink is returned by Walk for a symbolic link that it does not follow although backups
// may be behind it.
var ErrLink = errors.New("a symbolic link that leads out of the store, or nowhere, is not followed")
