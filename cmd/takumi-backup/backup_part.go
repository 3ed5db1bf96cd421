package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// part is one thing to back up, and how that went.
type part struct {
	Name     string   `json:"name"`
	State    string   `json:"state"` // done, failed or left out
	Why      string   `json:"why,omitempty"`
	ExitCode int      `json:"exit_code"`
	Seconds  float64  `json:"seconds"`
	Paths    []string `json:"paths,omitempty"`

	args []string
}

const (
	partDone    = "done"
	partFailed  = "failed"
	partLeftOut = "left out"
)

// parts lists what is configured, and what is not with the reason.
func (b *backupAll) parts() []*part {
	database := []string{"database"}
	if b.globals {
		database = append(database, "--globals")
	}
	if b.manifest {
		database = append(database, "--manifest")
	}
	var parts []*part
	for _, p := range []struct {
		variables []string
		args      []string
	}{
		{[]string{"DB_NAME", "PGDATABASE", "PGSERVICE"}, database},
		{[]string{"CONTRACTS_DIR"}, []string{"contracts"}},
		{[]string{"UPLOADS_DIR"}, []string{"uploads"}},
	} {
		made := &part{Name: p.args[0], State: partLeftOut, args: append([]string{"backup"}, p.args...)}
		made.Why = strings.Join(p.variables, ", ") + ": not set"
		for _, name := range p.variables {
			if os.Getenv(name) != "" {
				made.State, made.Why = "", ""
			}
		}
		parts = append(parts, made)
	}
	return parts
}

// head is how long a child has to stop by the signal that it got with us, as
// from a terminal or a service manager, before we send it one: the second ends
// it before it has cleaned up.
const head = 2 * time.Second

// runPart runs this program for one part. Lines go to out as they come. An
// error means that all is to end; a part that fails is none.
func (b *backupAll) runPart(cmd *cobra.Command, p *part, out io.Writer) error {
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
	}
	if err := checkStdout(); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	args := slices.Clone(p.args)
	for _, uri := range b.keys {
		args = append(args, "--key", uri)
	}
	if b.quiet {
		args = append(args, "--quiet")
	}
	args = append(args, auditArgs(cmd)...)
	began := time.Now()
	child := exec.CommandContext(cmd.Context(), exe, args...)
	child.Args[0] = os.Args[0]
	child.Stdin, child.Stderr = os.Stdin, os.Stderr
	// The lock goes with this process: no part may run on without it. What the
	// kernel watches is the thread, which therefore has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child.SysProcAttr = diesWithUs()
	child.Cancel = func() error {
		time.Sleep(head)
		return child.Process.Signal(syscall.SIGTERM)
	}
	child.WaitDelay = head + 10*time.Second
	lines, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", strings.Join(p.args, " "), err)
	}
	var untold error
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		if p.args[0] == "backup" {
			p.Paths = append(p.Paths, scan.Text())
			if b.json {
				continue
			}
		}
		if _, err := fmt.Fprintln(out, scan.Text()); err != nil && untold == nil {
			untold = stdoutError(err) // the child goes on: its backup is worth having
		}
	}
	err = child.Wait()
	p.Seconds = time.Since(began).Seconds()
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
	}
	p.State, p.ExitCode = partDone, child.ProcessState.ExitCode()
	if err != nil {
		p.State, p.Why = partFailed, child.ProcessState.String()
	}
	return untold
}

// outcome is errSome, or with a single part its own failure.
func outcome(parts []*part, ran int) error {
	for _, p := range parts {
		switch {
		case p.State != partFailed:
		case ran == 1:
			return &partError{p}
		default:
			return errSome
		}
	}
	return nil
}

// partError is the failure of the only part that ran, which has been told. It
// wraps an error of the sort that the part's exit code stands for, so that ours
// is the same.
type partError struct{ *part }

func (e *partError) Error() string { return "backup " + e.Name + " failed: " + e.Why }

func (e *partError) Unwrap() error {
	switch e.ExitCode {
	case exitSource:
		return sourceError(errSome)
	case exitKey:
		return &keystore.Error{Kind: keystore.ErrNotFound, Err: errSome}
	case exitStore:
		return &store.Error{Op: "write", Path: storeFolder(), Err: errSome}
	case exitUsage:
		return usage(errSome)
	case exitSome:
		return errSome
	}
	return nil
}
