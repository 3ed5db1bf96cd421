package main

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/harden"
)

// effect is what a command does to backups and keys, and so what becomes of it
// when it cannot be recorded.
type effect int

const (
	prints  effect = iota // as reads, and when nobody reads on there is nothing to say
	reads                 // it goes on, with a warning
	changes               // it does not begin, or does not go on with the next backup
)

func addAuditFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.String("audit", "on", "record in the audit log what is done: on or off")
	f.String("audit-dir", "", "folder of the audit log (default $TAKUMI_AUDIT_DIR, or audit in the state folder)")
}

// audited makes a command leave records of what it does under the name of an
// operation: one when it ends, and when it changes something, or opens a backup,
// also one before it begins.
func audited(cmd *cobra.Command, operation string, e effect) *cobra.Command {
	return auditedBy(cmd, operation, func([]string) effect { return e })
}

// auditedBy is audited for a command whose flags and arguments say what it does.
func auditedBy(cmd *cobra.Command, operation string, what func(args []string) effect) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[auditedAs] = operation
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return session(cmd, operation, what(args), plannedPaths(cmd, operation, args), func(ctx context.Context, _ *audit.Session) error {
			cmd.SetContext(ctx)
			return run(cmd, args)
		})
	}
	return cmd
}

// session does work, and records it under the name of an operation: when it ends,
// and when it changes something or opens a backup also before it begins. paths are
// those of backups that it opens or changes, or of the file that it is to write.
func session(cmd *cobra.Command, operation string, e effect, paths []string, work func(context.Context, *audit.Session) error) error {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	if e != prints {
		cmd.Annotations[acts] = operation
	}
	s, err := newSession(cmd, operation, e)
	if err != nil {
		return err
	}
	if out := flagText(cmd, "output"); len(paths) == 0 && out != "" {
		paths = []string{out}
	}
	detail := ""
	if flagText(cmd, "latest") == "true" {
		detail = "the latest backup"
	}
	ctx, err := s.Begin(cmd.Context(), paths, detail)
	if err != nil {
		return err
	}
	ctx = context.WithValue(ctx, sessionKey{}, s)
	return s.End(ctx, harden.Ending(ctx, work(ctx, s)))
}

// records is the annotation of a command that runs in a session of its own.
func records(operation string) map[string]string { return map[string]string{auditedAs: operation} }

const (
	auditedAs = "audited as" // the annotation of commands that leave records
	acts      = "acts"       // and of one that has begun to do more than print
)

type sessionKey struct{}

func newSession(cmd *cobra.Command, operation string, e effect) (*audit.Session, error) {
	o := audit.SessionOptions{
		Common:  audit.Record{Operation: operation, DryRun: isDryRun(cmd), Version: programVersion()},
		Changes: e == changes && !isDryRun(cmd),
		Opens:   operation == "open" || strings.HasPrefix(operation, "restore "),
		Code: func(err error) (int, bool) {
			code, _ := verdict(err)
			return code, code == exitSignal
		},
		Warn: func(format string, args ...any) { warn(cmd, format, args...) },
	}
	switch on := flagText(cmd, "audit"); on {
	case "off":
		return audit.NewSession(o), nil
	case "on", "":
	default:
		return nil, usagef("--audit is %q, neither on nor off", on)
	}
	dir, err := auditDir(cmd)
	if err != nil {
		return nil, err
	}
	o.Log = audit.New(dir)
	o.Common.Keys = providers(cmd)
	socket, err := conf.Syslog()
	if err != nil {
		return nil, err
	}
	if socket != "" {
		o.Copy = func(r audit.Record) error { return audit.ToSyslog(socket, r) }
	}
	return audit.NewSession(o), nil
}

// recordOf returns the record that the command leaves at its end, for the
// command to fill in. That of a command that leaves none is written nowhere. It
// is not safe for concurrent use.
func recordOf(cmd *cobra.Command) *audit.Record { return recordIn(cmd.Context()) }

func recordIn(ctx context.Context) *audit.Record {
	if s, ok := ctx.Value(sessionKey{}).(*audit.Session); ok {
		return s.Last()
	}
	return new(audit.Record)
}

func recordKey(cmd *cobra.Command, path string, id kek.ID) {
	rec := recordOf(cmd)
	rec.Path, rec.KeyIDs = path, audit.IDs(id)
}

// describe says in a record which backup it was, and which holders opened it or were
// sealed for.
func describe(rec *audit.Record, e *envelope.Envelope, holders ...slot.Holder) {
	rec.BackupID, rec.Name, rec.Kind, rec.KeyIDs = e.ID.String(), e.Name, e.Kind, nil
	for _, h := range holders {
		rec.KeyIDs = append(rec.KeyIDs, h.Name)
	}
}

// recordBackup appends a record of one of several backups that a command works
// on; its Fault says how that went. It is safe for concurrent use.
func recordBackup(cmd *cobra.Command, rec audit.Record) {
	if s, ok := cmd.Context().Value(sessionKey{}).(*audit.Session); ok {
		s.Note(cmd.Context(), rec)
	}
}

// plannedPaths returns the paths that a command was given: of the backups that it
// opens or changes, or of the file that it is to write. The arguments of others
// are none, and may be secret.
func plannedPaths(cmd *cobra.Command, operation string, args []string) []string {
	var paths []string
	switch first, _, _ := strings.Cut(operation, " "); first {
	case "open", "restore", "rewrap", "reencrypt", "replicate", "sign":
		paths = args
	default:
		if out := flagText(cmd, "output"); out != "" {
			paths = []string{out}
		}
	}
	return paths
}

func auditDir(cmd *cobra.Command) (string, error) {
	dir, _, err := findAudit(cmd)
	return dir, err
}

func findAudit(cmd *cobra.Command) (dir string, others []string, err error) {
	if dir := cmp.Or(flagText(cmd, "audit-dir"), conf.Get("TAKUMI_AUDIT_DIR")); dir != "" {
		return dir, nil, nil
	}
	state, err := stateDirOr("")
	if err != nil {
		return "", nil, err
	}
	dir, others = audit.Find(state, cmp.Or(conf.Get("BACKUP_ROOT"), conf.DefaultRoot()))
	return dir, others, nil
}

// flagText returns the value of a flag, or "" when the command has none.
func flagText(cmd *cobra.Command, name string) string {
	if f := cmd.Flag(name); f != nil {
		return f.Value.String()
	}
	return ""
}

func isDryRun(cmd *cobra.Command) bool {
	return flagText(cmd, "dry-run") == "true" || flagText(cmd, "apply") == "false"
}

// providers returns the places of the keys that the command was given, or of those that the
// settings name. What is no key URI may be a key, and is not repeated.
func providers(cmd *cobra.Command) []string {
	var uris []string
	unnamed := false
	for _, name := range []string{"key", "from", "to"} {
		if all, err := cmd.Flags().GetStringArray(name); err == nil {
			uris = append(uris, all...)
		} else {
			uris = append(uris, flagText(cmd, name))
		}
		f := cmd.Flag(name)
		unnamed = unnamed || name != "to" && f != nil && !f.Changed
	}
	identities, _ := cmd.Flags().GetStringArray("identity")
	return new(keyFlags).keys().Texts(uris, identities, unnamed)
}
