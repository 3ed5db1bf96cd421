// Package all is the course of a run that makes several backups: what the settings mean,
// part by part, how each went, and what came of it as a whole. A caller makes the parts by
// [Plan.Parts], runs them by [Run], and calls [Chosen.Remember] of those that were chosen.
package all

import (
	"context"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// What can become of a part.
const (
	Done    = "done"
	Failed  = "failed"
	LeftOut = "left out"
)

// Part is one backup of several, or what follows on them.
type Part struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind,omitempty"`
	State    string   `json:"outcome"` // Done, Failed or LeftOut
	Why      string   `json:"reason,omitempty"`
	ExitCode int      `json:"exit_code"`
	Seconds  float64  `json:"seconds"`
	Paths    []string `json:"paths,omitempty"`

	Run  func(context.Context) error `json:"-"`
	Made []*backup.Made              `json:"-"`
	Err  error                       `json:"-"`

	server string // of a database
}

// Took notes a backup that the part has made.
func (p *Part) Took(m *backup.Made) {
	p.Paths = append(p.Paths, m.Path)
	p.Made = append(p.Made, m)
}

// Words say how the part went.
func (p *Part) Words() string {
	switch p.State {
	case Done:
		return fmt.Sprintf("%s: %s in %.1f s", p.Name, p.State, p.Seconds)
	case Failed:
		return fmt.Sprintf("%s: FAILED after %.1f s: why is said above", p.Name, p.Seconds)
	}
	return fmt.Sprintf("%s: %s (%s)", p.Name, p.State, p.Why)
}

// Runner is what running parts asks of the program.
type Runner struct {
	// Ready says whether anybody still hears how it goes; an error ends the run.
	Ready func() error
	// Session does the work of a part as an operation of its own; nil does it as it is.
	Session func(operation string, work func(context.Context) error) error
	// Report tells somebody of a part's error at once, and returns its exit code.
	Report func(error) int
}

// All runs the parts that are not left out, one after the other, and returns how many ran
// and how many of those failed.
func (r Runner) All(ctx context.Context, parts []*Part) (ran, failed int, err error) {
	for _, p := range parts {
		if p.State == LeftOut {
			continue
		}
		ran++
		if err := r.Run(ctx, p, "backup "+p.Kind); err != nil {
			return ran, failed, err
		}
		if p.State == Failed {
			failed++
		}
	}
	return ran, failed, nil
}

// Night is All, and then prune, if it is not nil, unless a backup failed or the backups are
// not sealed. It returns the parts with prune, and how many ran, and fails when none does.
func (r Runner) Night(ctx context.Context, parts []*Part, prune *Part, sealed bool) ([]*Part, int, error) {
	ran, failed, err := r.All(ctx, parts)
	switch {
	case err != nil:
		return parts, ran, err
	case ran == 0:
		return parts, ran, fail.Usagef("nothing is configured: set DB_NAME, CONTRACTS_DIR or UPLOADS_DIR, or list databases, contracts and uploads in a backup.toml (takumi-backup config --help)")
	case prune == nil:
		return parts, ran, nil
	case failed > 0:
		prune.State, prune.Why = LeftOut, "a backup failed, so that nothing old is deleted"
	case !sealed:
		prune.State, prune.Why = LeftOut, "BACKUP_ENCRYPTION_ENABLED is false, and only what is authenticated is deleted"
	default:
		ran++
		err = r.Run(ctx, prune, "")
	}
	return append(parts, prune), ran, err
}

// Run runs one part; with "" it is no operation of its own. An error means that all is to
// end; a part that fails is none.
func (r Runner) Run(ctx context.Context, p *Part, operation string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.Ready(); err != nil {
		return err
	}
	began := time.Now()
	if operation == "" || r.Session == nil {
		p.Err = p.Run(ctx)
	} else {
		p.Err = r.Session(operation, p.Run)
	}
	p.Seconds = time.Since(began).Seconds()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.State = Done
	if p.Err != nil {
		p.State, p.Why = Failed, redact.Keys(p.Err.Error())
		p.ExitCode = r.Report(p.Err)
	}
	return nil
}

// Outcome is [fail.ErrSome], or with a single part its own failure, which was reported.
func Outcome(parts []*Part, ran int) error {
	for _, p := range parts {
		if p.State != Failed {
			continue
		}
		if ran > 1 {
			return fail.ErrSome
		}
		class, _ := fail.Of(p.Err)
		return fail.As(class, "", fmt.Errorf("backup %s failed", p.Name))
	}
	return nil
}
