// Package fail gives an error a class, which decides the exit code, and a hint about what
// to do. A package classifies its errors where it defines them, by [New] for a sentinel or
// by a method Fail for a type; wrapping with %w keeps the class, [As] replaces it.
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

// New returns an error, such as a package's sentinel.
func New(c Class, hint, text string) error { return &Error{c, hint, errors.New(text)} }

// ErrSome is returned when some of several failed; each was reported.
var ErrSome = New(Some, "", "some failed")

// As replaces the class and hint of err. It returns nil for nil.
func As(c Class, hint string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{c, hint, err}
}

// Inner returns the class and hint of cause, or else the given ones. It is for the method
// Fail of a wrapping type.
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

const usageHint = "see takumi-backup --help, or COMMAND --help"

// storeErrnos are the errors of a full, read-only or denied store, in any system call.
var storeErrnos = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO}

// IsFull reports whether err is of a full, read-only or denied store.
func IsFull(err error) bool {
	for _, errno := range storeErrnos {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Of returns the class and hint of err: of the outermost error that has them, and of the
// first of joined ones. An error without a class is of the store when a system call was
// refused there, and else Failed.
func Of(err error) (Class, string) {
	if c, ok := errors.AsType[Classifier](err); ok {
		return c.Fail()
	}
	switch {
	case errors.Is(err, syscall.EPIPE):
		return Failed, "look why the program that reads the output ended"
	case IsFull(err):
		return Store, StoreHint
	}
	return Failed, ""
}

// StoreHint is for a refused system call in a store.
const StoreHint = "check that the folder is there, its free space, quota and permissions; nothing was kept"
