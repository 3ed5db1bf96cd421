package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/rotation"
)

// work is what a command does, in a session of the audit log.
type work func(ctx context.Context, s *settings, log *audit.Session) error

// recorded loads the settings, and runs what the command does in a session of the audit
// log. What changes something does not begin when it cannot be recorded.
func recorded(cmd *cobra.Command, operation string, changes bool, do work) error {
	s, err := loadSettings(cmd)
	if err != nil {
		return err
	}
	log, err := newSession(cmd, operation, changes, s)
	if err != nil {
		return err
	}
	ctx, err := log.Begin(cmd.Context(), nil, "environment "+s.environment+", backend "+s.backend)
	if err != nil {
		return err
	}
	return log.End(ctx, do(ctx, s, log))
}

func newSession(cmd *cobra.Command, operation string, changes bool, s *settings) (*audit.Session, error) {
	dryRun := text(cmd, "dry-run") == "true"
	o := audit.SessionOptions{
		Common: audit.Record{Operation: "secrets " + operation, DryRun: dryRun, Version: "takumi-secrets " + programVersion()}, Changes: changes && !dryRun,
		Code: func(err error) (int, bool) { code := exitCode(err); return code, code == 130 },
		Warn: func(format string, args ...any) { warn(cmd, format, args...) },
	}
	switch on := text(cmd, "audit"); on {
	case "off":
		return audit.NewSession(o), nil
	case "on", "":
	default:
		return nil, fail.Usagef("--audit is %q, neither on nor off", on)
	}
	dir := cmp.Or(text(cmd, "audit-dir"), os.Getenv("TAKUMI_AUDIT_DIR"))
	if dir == "" {
		state, err := history.Dir()
		if err != nil {
			return nil, fail.Usagef("%w", err)
		}
		dir = filepath.Join(state, "audit")
	}
	o.Log = audit.New(dir)
	// The handbook's log is made of the same records.
	o.Copy = func(r audit.Record) error {
		if r.Kind == "" || dryRun {
			return nil
		}
		return rotation.AppendLog(s.dir, r.Time, rotation.Level(r.Kind), r.Detail)
	}
	return audit.NewSession(o), nil
}

func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "takumi-secrets: warning: %s\n", redact.Keys(fmt.Sprintf(format, args...)))
}
