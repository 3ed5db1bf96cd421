package database

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// Weight says what becomes of a restore with a finding.
type Weight string

const (
	Stop    Weight = "stop"    // it would fail, and is not begun
	Warning Weight = "warning" // it may fail, or leave something out
	Note    Weight = "note"    // it works, and a person should know
)

// Finding is what a check has found before a restore.
type Finding struct {
	Check  string `json:"check"` // database, server, programs, rights, roles, …
	Weight Weight `json:"class"`
	Text   string `json:"text"`           // what is so
	Cure   string `json:"cure,omitempty"` // the command or the flag that helps
}

func (f Finding) String() string {
	if f.Cure == "" {
		return f.Text
	}
	return f.Text + ": " + f.Cure
}

var (
	// ErrForeign means that the backup is of another database than the one to replace.
	ErrForeign = fail.New(fail.Usage, "give --from-database NAME, its name there, to restore it here all the same, or --into NAME for a new database",
		"the backup is of another database")
	// ErrNotReady means that the restore would fail; an [UnreadyError] wraps it.
	ErrNotReady = fail.New(fail.Failed, "mend each of these first; nothing was done", "the restore would fail")
)

// UnreadyError lists why a restore does not begin. It is ErrForeign for another database's
// backup, and else ErrNotReady.
type UnreadyError struct {
	Findings []Finding // of all weights
	kind     error
}

func (e *UnreadyError) Error() string {
	text := e.kind.Error()
	for _, f := range e.Findings {
		if f.Weight == Stop {
			text += "\n  " + strings.ReplaceAll(f.String(), "\n", " ")
		}
	}
	return text
}

func (e *UnreadyError) Unwrap() error { return e.kind }

type inspection struct {
	*Restore
	me       role
	findings []Finding
	kind     error // of the first stop
}

func (i *inspection) find(check string, w Weight, cure, format string, args ...any) {
	if w == Stop && i.kind == nil {
		i.kind = ErrNotReady
	}
	i.findings = append(i.findings, Finding{check, w, fmt.Sprintf(format, args...), cure})
}

// lacks is find for needs of the dump: with KeepGoing the rest is restored.
func (i *inspection) lacks(check, cure, format string, args ...any) {
	w := Stop
	if i.o.KeepGoing {
		w = Warning
	}
	i.find(check, w, cure, format, args...)
}

// Preflight returns what prevents a restore with these options, and what a person should
// know, the worst first. It changes and locks nothing, and may run during a restore.
// Settings suffice, to check a server in advance; with Manifest and Contents it checks the
// needs of a dump. An unreachable server is an error, as of [postgres.Settings.Connect].
func Preflight(ctx context.Context, o Options) ([]Finding, error) {
	r, err := reach(ctx, o)
	if errors.Is(err, postgres.ErrPooler) {
		_, cure := fail.Of(err)
		return []Finding{{"connection", Stop, err.Error(), cure}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	i, err := r.inspect(ctx)
	if err != nil {
		return nil, err
	}
	return i.findings, nil
}

func (r *Restore) inspect(ctx context.Context) (*inspection, error) {
	i := &inspection{Restore: r}
	for _, check := range []func(context.Context) error{
		i.rightOne, i.able, i.room, i.exchangeable, i.dumped, i.needsRoles, i.needsTablespaces, i.needsExtensions, i.needsProperties,
	} {
		if err := check(ctx); err != nil {
			return nil, fmt.Errorf("looking whether a restore can work: %w", err)
		}
	}
	sorted := []Finding{}
	for _, w := range []Weight{Stop, Warning, Note} {
		for _, f := range i.findings {
			if f.Weight == w {
				sorted = append(sorted, f)
			}
		}
	}
	i.findings = sorted
	return i, nil
}

// preflight fills in the plan's findings. Those that stop the restore are an UnreadyError.
func (r *Restore) preflight(ctx context.Context) error {
	i, err := r.inspect(ctx)
	if err != nil {
		return err
	}
	if r.plan.Findings = i.findings; i.kind != nil {
		return &UnreadyError{i.findings, i.kind}
	}
	return nil
}
