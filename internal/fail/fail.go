// Package fail gives an error its class and its hint: what kind of failure it is,
// which decides the exit code, and what to do next. A package that raises an error
// classifies it where it is defined, by [New] for a sentinel or by a method Fail
// for a type; whoever wraps such an error with %w keeps its class, or gives it
// another with [As].
package fail

import (
	"errors"
	"fmt"
	"syscall"
)

// Class is a kind of failure.
type Class int

const (
	Failed  Class = iota // anything else
	Source               // the source failed or is incomplete
	Key                  // a key is missing, refused or wrong
	Damaged              // the backup is damaged, truncated or altered
	Some                 // some of several failed
	Store                // the store is unreachable, denied, read-only or full
	Usage                // a mistake on the command line or in the settings
	Stopped              // stopped by a signal
)

// Classifier is an error that knows its class and hint. The hint may be empty.
type Classifier interface {
	error
	Fail() (Class, string)
}

// Error is an error with its class and its hint.
type Error struct {
	Class Class
	Hint  string
	Err   error
}

func (e *Error) Error() string         { return e.Err.Error() }
func (e *Error) Unwrap() error         { return e.Err }
func (e *Error) Fail() (Class, string) { return e.Class, e.Hint }

// New returns an error of this class, hint and text, such as a package's sentinel.
func New(c Class, hint, text string) error { return &Error{c, hint, errors.New(text)} }

// ErrSome is returned when some of several failed; each has been reported by then.
var ErrSome = New(Some, "", "some failed")

// As gives err a class and a hint in place of those that it has. It returns nil for nil.
func As(c Class, hint string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{c, hint, err}
}

// Inner returns the class and the hint that cause has, and else these. It is for the
// method Fail of a type that wraps what went wrong.
func Inner(cause error, c Class, hint string) (Class, string) {
	if inner, ok := errors.AsType[Classifier](cause); ok {
		return inner.Fail()
	}
	return c, hint
}

// Usagef returns a usage error, formatted as by [fmt.Errorf].
func Usagef(format string, args ...any) error {
	return As(Usage, usageHint, fmt.Errorf(format, args...))
}

const usageHint = "takumi-backup --help, or COMMAND --help, shows how"

// storeErrnos are what a full, read-only or denied store answers, wherever the
// system call was made.
var storeErrnos = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO}

// IsFull reports whether err is what a full, read-only or denied store answers.
func IsFull(err error) bool {
	for _, errno := range storeErrnos {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Of returns the class and the hint of err: those of the outermost error that has
// them, and of the first of several that are joined. An error without a class is
// of the store when a system call was refused there, and else Failed.
func Of(err error) (Class, string) {
	if c, ok := errors.AsType[Classifier](err); ok {
		return c.Fail()
	}
	switch {
	case errors.Is(err, syscall.EPIPE):
		return Failed, "the reader of the output has ended"
	case IsFull(err):
		return Store, StoreHint
	}
	return Failed, ""
}

// StoreHint is what to look at when a store refuses a system call.
const StoreHint = "check that the folder is there, its free space, quota and permissions; nothing was kept"
