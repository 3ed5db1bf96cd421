package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// hook runs a command of the settings by /bin/sh, with its output on out.
// outcome is what it finds in TAKUMI_OUTCOME.
func (s *Settings) hook(ctx context.Context, out io.Writer, name, command, outcome string) error {
	if command == "" {
		return nil
	}
	hook := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	hook.Env = append(secretenv.Environ(), "TAKUMI_HOOK="+name, "TAKUMI_OUTCOME="+outcome)
	hook.Stdout, hook.Stderr = out, out
	// What the shell has started ends with it.
	hook.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	hook.Cancel = func() error { return syscall.Kill(-hook.Process.Pid, syscall.SIGTERM) }
	hook.WaitDelay = 5 * time.Second
	// What it leaves running may keep the output open.
	if err := hook.Run(); err != nil && (ctx.Err() != nil || !errors.Is(err, exec.ErrWaitDelay)) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fail.As(fail.Source, "see hooks."+name+" in "+s.Path, fmt.Errorf("running the hook %s: %w", name, err))
	}
	return nil
}

// Hooked does work between the hooks before, and after, on_error and on_success, whose
// output goes to out. When before fails there is no work. What a later hook fails with is a
// failure of its own, and a warning where the work has failed.
func (s *Settings) Hooked(ctx context.Context, out io.Writer, warn func(format string, args ...any), work func() error) error {
	if s.File == nil {
		return work()
	}
	h := s.File.Hooks
	err := s.hook(ctx, out, "before", h.Before, "")
	if err == nil {
		err = work()
	}
	patience := hookPatience
	if ctx.Err() != nil {
		patience = stopPatience
	}
	ctx = context.WithoutCancel(ctx) // a stop is when on_error matters
	outcome, name, command := "good", "on_success", h.OnSuccess
	if err != nil {
		outcome, name, command = "failed", "on_error", h.OnError
	}
	for _, next := range [][2]string{{name, command}, {"after", h.After}} {
		limited, cancel := context.WithTimeout(ctx, patience)
		patience = hookPatience // after goes on when this program has ended
		fault := s.hook(limited, out, next[0], next[1], outcome)
		cancel()
		switch {
		case fault == nil:
		case err == nil:
			err = fault
		default:
			warn("%v", fault)
		}
	}
	return err
}

// hookPatience is how long a hook may take that runs when the work is over, and stopPatience
// how long on_error may take after a stop: this program ends then within harden.Patience, and
// after is to have begun.
const hookPatience = 10 * time.Minute

var stopPatience = 5 * time.Second
