package harden

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// Ending is the error of work: after a signal, the signal.
func Ending(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.As(cause, new(*SignalError)) && err != nil {
		return cause
	}
	return err
}

// SignalError is why a program ends that a signal stops.
type SignalError struct{ sig os.Signal }

// Error names the signal.
func (e *SignalError) Error() string { return fmt.Sprintf("stopped by %v", e.sig) }

// Fail is the class and the hint of the error.
func (e *SignalError) Fail() (fail.Class, string) { return fail.Stopped, "nothing unfinished was kept" }

// Patience bounds the clean-up of a stopped program: a child gets five seconds to end, and
// the rest is a few system calls. Only a write to a stuck reader takes longer.
const Patience = 15 * time.Second

// echo is how long further signals count as the first: the kernel repeats that of a dying
// parent for each of its threads, and a terminal and a service manager may send one at
// once.
const echo = 250 * time.Millisecond

// WithSignals returns a context that INT, TERM and HUP cancel. A second signal, a moment
// later, ends the program at once with the exit code.
func WithSignals(parent context.Context, code int) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // nohup, or a job in the background
			signal.Notify(signals, sig)
		}
	}
	// A closed pipe and a file-size limit become errors of the write, so that the program
	// can clean up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-signals:
			cancel(&SignalError{sig})
		case <-done:
			return
		}
		for over := time.After(echo); over != nil; {
			select {
			case <-signals:
			case <-over:
				over = nil
			case <-done:
				return
			}
		}
		select {
		case <-signals:
		case <-time.After(Patience):
		case <-done:
			return
		}
		os.Exit(code)
	}()
	return ctx, func() { close(done); cancel(nil) }
}
