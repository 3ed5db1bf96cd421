// Package source reads the bytes of a backup: standard input, or the output of a command
// such as pg_dump.
//
// A context can interrupt both readers while they wait for data, and a failed command never
// ends in io.EOF, so that half a dump does not pass for a whole one.
package source

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Input reads an open file, such as standard input, on one goroutine. Cancel its context to
// end a Read.
type Input struct {
	ctx    context.Context
	file   *os.File // held so that fd stays open
	fd     int
	wakeR  *os.File // becomes readable, for good, when ctx is cancelled
	wakeW  *os.File
	poll   []unix.PollFd
	unhook func() bool
	closed bool
}

// Stdin returns a reader of file, a pipe, terminal, socket or regular file, whose Read
// returns context.Cause(ctx) as soon as ctx is cancelled, even while file is silent (but
// macOS cannot watch some terminals). A pipe is enlarged to 1 MiB if possible.
//
// Close leaves file open.
func Stdin(ctx context.Context, file *os.File) (*Input, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	in := &Input{ctx: ctx, file: file, fd: int(file.Fd()), wakeR: r, wakeW: w}
	in.poll = []unix.PollFd{
		{Fd: int32(in.fd), Events: unix.POLLIN},
		{Fd: int32(r.Fd()), Events: unix.POLLIN},
	}
	growPipe(file)
	in.unhook = context.AfterFunc(ctx, func() { w.Close() })
	return in, nil
}

// Read waits for data or for the end of the context, without allocating.
func (in *Input) Read(p []byte) (int, error) {
	for {
		if in.ctx.Err() != nil {
			return 0, context.Cause(in.ctx)
		}
		if in.closed {
			return 0, os.ErrClosed
		}
		if len(p) == 0 {
			return 0, nil
		}
		_, err := unix.Poll(in.poll, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, in.fail(err)
		}
		if in.poll[1].Revents != 0 {
			continue // to the cause of it
		}
		// read explains the rest: a hang-up, or a file that poll cannot watch.
		n, err := unix.Read(in.fd, p)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, in.fail(err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (in *Input) fail(err error) error { return fmt.Errorf("read standard input: %w", err) }

// Close ends the watch for the context. It may be called again.
func (in *Input) Close() error {
	if !in.closed {
		in.closed = true
		in.unhook()
		in.wakeW.Close()
		in.wakeR.Close()
	}
	return nil
}
