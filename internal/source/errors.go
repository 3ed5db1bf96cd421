package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// StartError means that a command is missing, not executable, or not by this user.
type StartError struct {
	Name string // the command as it was given, without its arguments
	Err  error
}

func (e *StartError) Error() string { return "cannot start " + e.Name + ": " + e.Err.Error() }

func (e *StartError) Unwrap() error { return e.Err }

// ExitError means that a command failed. It omits the arguments, which may be secret.
type ExitError struct {
	Name   string
	Status int            // the exit status, if Signal is 0
	Signal syscall.Signal // what killed the command, or 0
}

// Fail is the class and the hint of the error.
func (*StartError) Fail() (fail.Class, string) {
	return fail.Source, "check the name, the path and the permissions of the command; nothing was kept"
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s was killed by signal %d (%v)", e.Name, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("%s exited with status %d", e.Name, e.Status)
}

// Fail is the class and the hint of the error.
func (*ExitError) Fail() (fail.Class, string) {
	return fail.Source, "read what the command says above; nothing was kept"
}

// startError makes a *StartError without the command's name from package exec.
func startError(name string, err error) error {
	var lookup *exec.Error
	var start *fs.PathError
	switch {
	case errors.As(err, &lookup):
		err = lookup.Err
	case errors.As(err, &start):
		err = start.Err
	}
	return &StartError{Name: name, Err: err}
}

func exitError(name string, err error) error {
	if err == nil {
		return nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fmt.Errorf("wait for %s: %w", name, err)
	}
	status := exit.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return &ExitError{Name: name, Signal: status.Signal()}
	}
	return &ExitError{Name: name, Status: status.ExitStatus()}
}
