// Package source is where the bytes of a backup come from: standard input, or
// the output of a command such as pg_dump.
//
// Both are readers that a context can interrupt while they wait for data, and
// a command that failed never ends in io.EOF, so that nobody downstream takes
// half a dump for a whole one.
package source

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Input reads a file that somebody else opened, such as standard input. It is
// for one goroutine at a time: to end a Read from outside, cancel its context.
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

// Stdin returns a reader of file, a pipe, terminal, socket or regular file,
// whose Read returns context.Cause(ctx) as soon as ctx is cancelled, even while
// file is silent. (Except that macOS cannot watch some terminals.) A pipe is
// enlarged to 1 MiB where the system allows it.
//
// Close releases what Stdin made and leaves file open.
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

// Read waits for data or for the end of the context. It does not allocate.
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
		// Whatever poll reports otherwise, data or hang-up or an object that
		// it cannot watch, is for read to tell.
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
