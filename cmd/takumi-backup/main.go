// Command takumi-backup seals backups with AES-256-GCM before they leave the
// host, and opens them again.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main without os.Exit, so that deferred clean-up always runs.
func run(args []string) int {
	if err := harden.Process(); err != nil {
		fmt.Fprintf(os.Stderr, "takumi-backup: warning: %v\n", err)
	}
	ctx, stop := withSignals(context.Background())
	defer stop()
	defer passfile.WipeTyped()
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if readerLeft(cmd, err) {
		return exitFailed
	}
	return report(os.Stderr, forRoot(ending(ctx, err)))
}

// ending is how work ended: whatever went wrong after a signal, went wrong
// because of it.
func ending(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.As(cause, new(*signalError)) && err != nil {
		return cause
	}
	return err
}

type signalError struct{ sig os.Signal }

func (e *signalError) Error() string { return fmt.Sprintf("stopped by %v", e.sig) }

// Fail is the class and the hint of the error.
func (e *signalError) Fail() (fail.Class, string) { return fail.Stopped, "nothing unfinished was kept" }

// patience is how long a stopped program may take to clean up: a child gets
// five seconds to end, and the rest is a few system calls. What then still
// hangs is a write to a reader that does not read.
const patience = 15 * time.Second

// echo is how long further signals count as the first one again: the kernel
// repeats that of a dying parent for each of its threads, and a terminal and a
// service manager may speak at once.
const echo = 250 * time.Millisecond

// withSignals returns a context that INT, TERM and HUP cancel. A second signal,
// a moment later, ends the program at once.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // nohup, or a job in the background
			signal.Notify(signals, sig)
		}
	}
	// Taken, so that a closed pipe and a file-size limit come back as errors of
	// the write, and do not end the program before it has cleaned up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-signals:
			cancel(&signalError{sig})
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
		case <-time.After(patience):
		case <-done:
			return
		}
		os.Exit(exitSignal)
	}()
	return ctx, func() { close(done); cancel(nil) }
}
