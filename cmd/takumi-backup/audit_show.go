package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
)

type auditShow struct {
	since, until timeFlag
	operation    string
	backup       string
	key          string
	outcome      string
	json         bool
}

func newAuditShow() *cobra.Command {
	s := new(auditShow)
	cmd := &cobra.Command{
		Use:   "show [flags] [DIR]",
		Short: "Show the records of the audit log, the oldest first",
		Long: `Show the records of the audit log in DIR, or where the commands append to it, the
oldest first, one line each; with --json as they stand in the log.

The flags choose, and a record has to fit all of them. The chain is proved on the
way: where it breaks, the rest is not shown, and the exit code is 5.`,
		Example: `  takumi-backup audit show --since 2026-11-01 --outcome failed
  takumi-backup audit show --operation open --json | jq -r '[.time, .user, .path] | @tsv'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := auditFolder(cmd, args)
			if err != nil {
				return err
			}
			return audit.Read(cmd.Context(), dir, func(e audit.Entry) error {
				if !s.wants(&e.Record) {
					return nil
				}
				if s.json {
					_, err := cmd.OutOrStdout().Write(append(e.Raw, '\n'))
					return stdoutError(err)
				}
				_, err := io.WriteString(cmd.OutOrStdout(), recordLine(&e.Record))
				return stdoutError(err)
			})
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&s.since, "since", "from this day or time on, in UTC")
	f.Var(&s.until, "until", "before this day or time")
	f.StringVar(&s.operation, "operation", "", "this command, as seal, or all of a group, as restore")
	f.StringVar(&s.backup, "backup", "", "this backup: its id or name, or a part of its path")
	f.StringVar(&s.key, "key", "", "this key: its id, or a part of its URI")
	f.StringVar(&s.outcome, "outcome", "", "begun, done, failed, stopped or mended")
	f.BoolVar(&s.json, "json", false, "print the records as JSON lines")
	return cmd
}

// wants tells whether a record fits the flags.
func (s *auditShow) wants(r *audit.Record) bool {
	isKey := func(id kek.ID) bool { return string(id) == s.key }
	switch {
	case !s.since.IsZero() && r.Time.Before(s.since.Time),
		!s.until.IsZero() && !r.Time.Before(s.until.Time),
		s.operation != "" && r.Operation != s.operation && !strings.HasPrefix(r.Operation, s.operation+" "),
		s.outcome != "" && string(r.Outcome) != s.outcome,
		s.backup != "" && r.BackupID != s.backup && r.Name != s.backup && !strings.Contains(r.Path, s.backup) &&
			!slices.ContainsFunc(r.Paths, func(path string) bool { return strings.Contains(path, s.backup) }):
		return false
	}
	return s.key == "" || slices.ContainsFunc(r.KeyIDs, isKey) || slices.ContainsFunc(r.OldIDs, isKey) ||
		slices.ContainsFunc(r.Keys, func(uri string) bool { return strings.Contains(uri, s.key) })
}

// recordLine is a record for people: one line of printable characters, in the
// form of Takumi's logs.
func recordLine(r *audit.Record) string {
	level := "INFO"
	switch r.Outcome {
	case audit.Failed:
		level = "ERROR"
	case audit.Stopped, audit.Mended:
		level = "WARN"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] [%s] %s %s", r.Time.UTC().Format(time.RFC3339), level, printable(r.Operation), printable(string(r.Outcome)))
	if r.DryRun {
		b.WriteString(" (dry run)")
	}
	add := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, ", %s %s", name, printable(value))
		}
	}
	if r.ExitCode != nil && *r.ExitCode != exitOK {
		fmt.Fprintf(&b, ", exit code %d", *r.ExitCode)
	}
	add("path", r.Path)
	add("paths", strings.Join(r.Paths, " "))
	add("kind", r.Kind)
	add("name", r.Name)
	add("id", r.BackupID)
	add("key", joinIDs(r.KeyIDs))
	add("former key", joinIDs(r.OldIDs))
	add("from", strings.Join(r.Keys, " "))
	if r.BytesIn > 0 || r.BytesOut > 0 {
		fmt.Fprintf(&b, ", %d bytes in, %d out", r.BytesIn, r.BytesOut)
	}
	if r.Backups > 0 {
		fmt.Fprintf(&b, ", %d backups, %d failures", r.Backups, r.Failures)
	}
	add("detail", r.Detail)
	add("error", r.Error)
	who := r.User
	if r.SudoUser != "" {
		who += " (" + r.SudoUser + ")"
	}
	add("by", who)
	add("on", r.Host)
	add("run", r.Run)
	b.WriteByte('\n')
	return b.String()
}
