package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/all"
	"github.com/takumi-backup/takumi-backup/internal/audit"
)

// reporting is how a run of several parts is reported: as JSON in place of the paths,
// and quietly only where something failed.
type reporting struct{ json, quiet bool }

func (r reporting) took(cmd *cobra.Command, p *all.Part, m *backup.Made) error {
	p.Took(m)
	if r.json || r.quiet {
		return nil
	}
	return printf(cmd, "%s\n", m.Path)
}

// runner runs parts, each with an audit record of its own.
func runner(cmd *cobra.Command) all.Runner {
	return all.Runner{
		Ready: checkStdout,
		Session: func(operation string, work func(context.Context) error) error {
			return session(cmd, operation, changes, nil, func(ctx context.Context, _ *audit.Session) error { return work(ctx) })
		},
		Report: func(err error) int { return report(cmd.ErrOrStderr(), err) },
	}
}

func (r reporting) summarize(cmd *cobra.Command, parts []*all.Part, started time.Time) error {
	for _, p := range parts {
		if !r.quiet || p.State == all.Failed {
			fmt.Fprintln(cmd.ErrOrStderr(), "takumi-backup: "+p.Words())
		}
	}
	if !r.json {
		return nil
	}
	return writeJSON(cmd.OutOrStdout(), night{started.UTC().Truncate(time.Second), time.Since(started).Seconds(), parts})
}

// night is what backup all --json prints.
type night struct {
	Started time.Time   `json:"started"`
	Seconds float64     `json:"seconds"`
	Parts   []*all.Part `json:"parts"`
}
