package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// limits are what a backup may use.
type limits struct {
	bandwidth int64 // bytes a second to buckets; 0: all
	nice      int
	ionice    string
}

// limitsOf reads TAKUMI_BANDWIDTH, TAKUMI_NICE and TAKUMI_IONICE.
func limitsOf() (l limits, err error) {
	if text := conf.Get("TAKUMI_BANDWIDTH"); text != "" {
		if err := (*sizeFlag)(&l.bandwidth).Set(text); err != nil {
			return l, usagef("TAKUMI_BANDWIDTH is %q: %w", text, err)
		}
	}
	if text := conf.Get("TAKUMI_NICE"); text != "" {
		if l.nice, err = strconv.Atoi(text); err != nil || l.nice < 0 || l.nice > 19 {
			return l, usagef("TAKUMI_NICE is %q, not a number from 0 to 19", text)
		}
	}
	l.ionice = conf.Get("TAKUMI_IONICE")
	if !slices.Contains([]string{"", "idle", "best-effort"}, l.ionice) {
		return l, usagef("TAKUMI_IONICE is %q, neither idle nor best-effort", l.ionice)
	}
	return l, nil
}

// lower lowers the priority of this process, where that is asked for.
func (l limits) lower() error {
	if l.nice == 0 && l.ionice == "" {
		return nil
	}
	return harden.Nice(l.nice, l.ionice)
}

// runHook runs a command of the settings by /bin/sh, with its output on standard error.
// outcome is what it finds in TAKUMI_OUTCOME.
func runHook(ctx context.Context, cmd *cobra.Command, name, command, outcome string) error {
	if command == "" {
		return nil
	}
	hook := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	hook.Env = append(secretenv.Environ(), "TAKUMI_HOOK="+name, "TAKUMI_OUTCOME="+outcome)
	hook.Stdout, hook.Stderr = cmd.ErrOrStderr(), cmd.ErrOrStderr()
	hook.WaitDelay = 5 * time.Second
	if err := hook.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fail.As(fail.Source, "see hooks."+name+" in "+conf.Path, fmt.Errorf("running the hook %s: %w", name, err))
	}
	return nil
}

// hooked does work between the hooks before, and after, on_error and on_success. When
// before fails there is no work. What a later hook fails with is a failure of its own.
func hooked(ctx context.Context, cmd *cobra.Command, work func() error) error {
	if conf.File == nil {
		return work()
	}
	h := conf.File.Hooks
	err := runHook(ctx, cmd, "before", h.Before, "")
	if err == nil {
		err = work()
	}
	ctx = context.WithoutCancel(ctx) // a stop is when on_error matters
	outcome, name, command := "good", "on_success", h.OnSuccess
	if err != nil {
		outcome, name, command = "failed", "on_error", h.OnError
	}
	for _, next := range [][2]string{{name, command}, {"after", h.After}} {
		limited, cancel := context.WithTimeout(ctx, hookPatience)
		fault := runHook(limited, cmd, next[0], next[1], outcome)
		cancel()
		switch {
		case fault == nil:
		case err == nil:
			err = fault
		default:
			warn(cmd, "%v", fault)
		}
	}
	return err
}

// hookPatience is how long a hook may take that runs when the work is over.
const hookPatience = 10 * time.Minute
