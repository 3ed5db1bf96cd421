package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

type part struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind,omitempty"`
	State    string   `json:"outcome"` // done, failed or left out
	Why      string   `json:"reason,omitempty"`
	ExitCode int      `json:"exit_code"`
	Seconds  float64  `json:"seconds"`
	Paths    []string `json:"paths,omitempty"`

	run    func(context.Context, *cobra.Command) error
	server string // of a database
	made   []*backup.Made
	err    error
}

const (
	partDone    = "done"
	partFailed  = "failed"
	partLeftOut = "left out"
)

// reporting is how a run of several parts is reported: as JSON in place of the paths,
// and quietly only where something failed.
type reporting struct{ json, quiet bool }

func (r reporting) took(cmd *cobra.Command, p *part, m *backup.Made) error {
	p.Paths = append(p.Paths, m.Path)
	p.made = append(p.made, m)
	if r.json || r.quiet {
		return nil
	}
	return printf(cmd, "%v\n", m.Path)
}

// runAll runs the parts that are not left out, one after the other, and returns how
// many ran and how many of those failed.
func (r reporting) runAll(cmd *cobra.Command, parts []*part) (ran, failed int, err error) {
	for _, p := range parts {
		if p.State == partLeftOut {
			continue
		}
		ran++
		if err := r.runPart(cmd, p, "backup "+p.Kind); err != nil {
			return ran, failed, err
		}
		if p.State == partFailed {
			failed++
		}
	}
	return ran, failed, nil
}

// runPart runs one part, with an audit record of its own. An error means that all is
// to end; a part that fails is none.
func (r reporting) runPart(cmd *cobra.Command, p *part, operation string) error {
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
	}
	if err := checkStdout(); err != nil {
		return err
	}
	began := time.Now()
	if operation == "" { // it records itself
		p.err = p.run(cmd.Context(), cmd)
	} else {
		p.err = session(cmd, operation, changes, nil, func(ctx context.Context, _ *audit.Session) error { return p.run(ctx, cmd) })
	}
	p.Seconds = time.Since(began).Seconds()
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
	}
	p.State = partDone
	if p.err != nil {
		p.State, p.Why = partFailed, redact.Keys(p.err.Error())
		p.ExitCode = report(cmd.ErrOrStderr(), p.err)
	}
	return nil
}

// outcome is errSome, or with a single part its own failure, which was reported.
func outcome(parts []*part, ran int) error {
	for _, p := range parts {
		if p.State != partFailed {
			continue
		}
		if ran > 1 {
			return errSome
		}
		class, _ := fail.Of(p.err)
		return fail.As(class, "", fmt.Errorf("backup %s failed", p.Name))
	}
	return nil
}

func (r reporting) summarize(cmd *cobra.Command, parts []*part, started time.Time) error {
	for _, p := range parts {
		if r.quiet && p.State != partFailed {
			continue
		}
		words := fmt.Sprintf("%s: %s", p.Name, p.State)
		switch p.State {
		case partDone:
			words += fmt.Sprintf(" in %.1f s", p.Seconds)
		case partFailed:
			words = fmt.Sprintf("%s: FAILED after %.1f s: why is said above", p.Name, p.Seconds)
		default:
			words += " (" + p.Why + ")"
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "takumi-backup: "+words)
	}
	if !r.json {
		return nil
	}
	return writeJSON(cmd.OutOrStdout(), struct {
		Started time.Time `json:"started"`
		Seconds float64   `json:"seconds"`
		Parts   []*part   `json:"parts"`
	}{started.UTC().Truncate(time.Second), time.Since(started).Seconds(), parts})
}
