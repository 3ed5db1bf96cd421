package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// causeGrace is how long a failure of the child waits for the context's end: Ctrl-C reaches
// both at once, and the child's death may be seen first. A variable for tests.
var causeGrace = 50 * time.Millisecond

// Cmd is a running command and a reader of its output. One goroutine reads; Close may come
// from another and ends a blocked Read.
type Cmd struct {
	ctx    context.Context
	cmd    *exec.Cmd
	out    *os.File
	group  bool          // the child leads a process group of its own
	unhook func() bool   // ends the watch for ctx
	exited chan struct{} // closed when the child is gone and failure is set
	// failure says how the child ended, nil for status 0.
	failure error
	err     error       // what ended the reading, sticky
	whole   atomic.Bool // read to the end of a child that succeeded
	stop    sync.Once
}

// Command starts argv, at least one word, with the standard input of this process and
// stderr as its standard error. The environment is this process's without its secrets
// (secretenv.Environ) and with env, as NAME=VALUE. It fails with *StartError when there is
// no such command.
//
// Read returns its standard output. It ends with io.EOF only when the child exited with
// status 0, otherwise with *ExitError, even while others hold the output open. When ctx is
// cancelled, Read returns context.Cause(ctx) at once.
//
// Close must be called: it stops a running child, and waits for it.
func Command(ctx context.Context, argv, env []string, stderr *os.File) (*Cmd, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for %s: %w", argv[0], err)
	}
	defer in.Close()
	growPipe(out)

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, in, stderr
	cmd.Env = append(secretenv.Environ(), env...)
	c := &Cmd{ctx: ctx, cmd: cmd, out: out, exited: make(chan struct{})}
	// Without a terminal the child gets its own process group, so that its children can be
	// stopped too. With one it stays in ours: a background group could not ask for a
	// password.
	c.group = !hasTerminal()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: c.group}
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, startError(argv[0], err)
	}
	go c.wait()
	c.unhook = context.AfterFunc(ctx, c.interrupt)
	return c, nil
}

func hasTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}

func (c *Cmd) wait() {
	c.failure = exitError(c.cmd.Args[0], c.cmd.Wait())
	close(c.exited)
	if c.failure != nil {
		c.interrupt()
	}
}

func (c *Cmd) interrupt() {
	// fails only when the pipe is closed, which ends a Read too
	_ = c.out.SetReadDeadline(time.Unix(1, 0))
}

// Read does not allocate before the end. Its errors are sticky.
func (c *Cmd) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.out.Read(p)
	if n > 0 {
		return n, nil // an error comes back with the next Read
	}
	if err != nil {
		c.err = c.explain(err)
	}
	return 0, c.err
}

func (c *Cmd) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrClosed):
		return os.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded), err == io.EOF:
		// The child may outlive its output, and its exit status decides.
		select {
		case <-c.exited:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	default:
		return fmt.Errorf("read the output of %s: %w", c.cmd.Args[0], err)
	}
	if c.failure == nil {
		if err != io.EOF { // cancelled, though the child was done
			return context.Cause(c.ctx)
		}
		c.whole.Store(true)
		return io.EOF
	}
	select {
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-time.After(causeGrace):
		return c.failure
	}
}
