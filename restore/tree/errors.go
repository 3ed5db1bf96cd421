package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

var (
	// ErrArchive is wrapped when the content is not a tar archive, or its headers
	// contradict themselves.
	ErrArchive = fail.New(fail.Failed, "see takumi-backup inspect for what it is: the content is authentic, but not a tar archive", "not a tar archive that can be read")

	// ErrNoMatch is returned when Options.Include selects nothing.
	ErrNoMatch = fail.New(fail.Failed, "see --dry-run for what the archive holds", "the archive holds nothing by that name")

	// ErrConflict is wrapped when the target takes two names for one.
	ErrConflict = fail.New(fail.Failed, "give --on-conflict rename to rename the second, or --keep-going to leave it out; nothing was changed", "the target takes two names for one")

	// ErrModes is wrapped when the target does not keep modes.
	ErrModes = fail.New(fail.Failed, "name a folder on another file system with --to, or give --no-modes; nothing was changed", "the file system there keeps no modes")
)

// UnsafeError is an entry that would do harm.
type UnsafeError struct {
	Name   string // as the archive has it
	Reason string
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("the archive's entry %q is refused: %s", e.Name, e.Reason)
}

// Fail is the class and the hint of the error.
func (*UnsafeError) Fail() (fail.Class, string) {
	return fail.Failed, "nothing was restored; takumi-backup open FILE | tar -tv lists the archive, and --keep-going restores the rest"
}

func unsafef(h *tar.Header, format string, args ...any) error {
	return &UnsafeError{h.Name, fmt.Sprintf(format, args...)}
}

// TargetError is an entry that the target does not take.
type TargetError struct {
	Doing string // as "making"
	Name  string // as the archive has it
	Err   error
}

func (e *TargetError) Error() string { return fmt.Sprintf("%s %q: %v", e.Doing, e.Name, e.Err) }

func (e *TargetError) Unwrap() error { return e.Err }

// Fail is the class and the hint of the error.
func (e *TargetError) Fail() (fail.Class, string) {
	if isAny(e.Err, []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO}) {
		return fail.Store, "check the free space, the quota and the disk of the target; nothing was changed"
	}
	return fail.Inner(e.Err, fail.Failed, "give --keep-going to restore the rest; nothing was changed")
}

func failed(doing string, h *tar.Header, err error) error {
	return &TargetError{doing, h.Name, bare(err)}
}

// bare is an error of package os without the paths in it.
func bare(err error) error {
	var atPath *fs.PathError
	var atLink *os.LinkError
	switch {
	case errors.As(err, &atPath):
		return atPath.Err
	case errors.As(err, &atLink):
		return atLink.Err
	}
	return err
}

// everybodys are failures that would meet the other entries as well.
var everybodys = []error{
	unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ESTALE, unix.ENODEV, unix.ENOTCONN, ErrModes,
}

// isOnlyOne reports whether an entry's failure leaves the others alone.
func isOnlyOne(err error) bool {
	return errors.As(err, new(*UnsafeError)) || errors.As(err, new(*TargetError)) && !isAny(err, everybodys)
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
