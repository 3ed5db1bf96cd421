package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// newAudit is the parent of the commands that work on the audit log.
func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show and prove who used which key on which backup",
		Long: `Show and verify the audit log: who used which key on which backup, when, and with what
outcome.

Every command that makes, opens, restores, rewraps or deletes backups, or that makes,
stores, changes or writes out keys, appends a record: JSON lines, each with the
SHA-256 of the one before, in a file a month, audit-YYYY-MM.jsonl. A command that
changes backups, keys or live data, or writes a key out, appends a record before it
begins, with its paths, and does not begin when that fails (exit code 7). With many
backups it appends a record of each, and stops when that fails. open, and restore into
a new place, also append one before they begin, but only warn when that fails, and so
does a dry run. No record is left by help, version, man, completion, config,
init, install-timers, doctor, status, inspect, list, verify merge, key id, key check,
key history without --add, and audit without init; nor by backup all, whose parts
leave theirs. serve leaves one for each look into a backup. No
record holds a secret.

--audit=off records nothing. The log is in --audit-dir or $TAKUMI_AUDIT_DIR, else
in the folder audit of the state folder: $XDG_STATE_HOME/takumi-backup where that
is set, /var/lib/takumi-backup for root and the user whom it belongs to, and
~/.local/state/takumi-backup for others. A log that an earlier version began in
$BACKUP_ROOT/audit goes on there. With $TAKUMI_AUDIT_SYSLOG=1 the records go to
syslog, or the journal, as well.

The chain of hashes protects against accidents: a writer of the log can recompute it.
audit init adds MACs that a later intruder on this host cannot forge.`,
		Example: `  takumi-backup audit show --since 2026-11-01 --operation open
  takumi-backup audit verify
  takumi-backup audit init -o /media/stick/first.key`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditInit(), newAuditShow(), newAuditVerify(), newAuditCheckpoint())
	return cmd
}

// auditFolder returns the folder of the log that a command is to look at.
func auditFolder(cmd *cobra.Command, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	dir, others, err := findAudit(cmd)
	for _, other := range others {
		warn(cmd, "there is another audit log, in %s: takumi-backup audit verify %s", other, other)
	}
	return dir, err
}

func newAuditShow() *cobra.Command {
	var s audit.Filter
	var since, until values.Time
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [flags] [DIR]",
		Short: "Show the records of the audit log, the oldest first",
		Long: `Show the records of the audit log in DIR, or where the commands append to it, the
oldest first, one line each; with --json as they are in the log.

A record is shown when it fits all flags. The chain is proved on the way: records
after a break are not shown, and the exit code is 5.`,
		Example: `  takumi-backup audit show --since 2026-11-01 --outcome failed
  takumi-backup audit show --operation open --json | jq -r '[.time, .user, .path] | @tsv'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := auditFolder(cmd, args)
			if err != nil {
				return err
			}
			s.Since, s.Until = since.Time, until.Time
			return audit.Read(cmd.Context(), dir, func(e audit.Entry) error {
				if !s.Wants(&e.Record) {
					return nil
				}
				if asJSON {
					_, err := cmd.OutOrStdout().Write(append(e.Raw, '\n'))
					return stdoutError(err)
				}
				_, err := io.WriteString(cmd.OutOrStdout(), e.Record.Line())
				return stdoutError(err)
			})
		},
	}
	f := cmd.Flags()
	f.Var(&since, "since", "from this day or time on, in UTC")
	f.Var(&until, "until", "before this day or time")
	f.StringVar(&s.Operation, "operation", "", "this command, as seal, or all of a group, as restore")
	f.StringVar(&s.Backup, "backup", "", "this backup: its id or name, or a part of its path")
	f.StringVar(&s.Key, "key", "", "this key: its id, or a part of its URI")
	f.StringVar(&s.Outcome, "outcome", "", "begun, done, failed, stopped, or of the log itself mended, keyed or rekeyed")
	f.BoolVar(&asJSON, "json", false, "print the records as JSON lines")
	return cmd
}

type auditVerify struct {
	checkpoint string
	public     string
	first      []string
	keys       keyFlags
	json       bool
}

func newAuditVerify() *cobra.Command {
	v := new(auditVerify)
	cmd := &cobra.Command{
		Use:   "verify [flags] [DIR]",
		Short: "Prove that no record of the audit log was changed, deleted, added or moved",
		Long: `Prove the audit log in DIR, or where the commands append to it: that each record
follows on the one before, over all months. The first that does not is named, and
the exit code is 5.

That is against accidents: who can write the log can compute all of it anew. Two
things that are kept elsewhere prove more.

--first-key names the key that audit init made (as --key names others; a written
one or shares become a file again by key scan and key combine; repeat the flag
when MACs were begun more than once). With it nothing was changed, deleted, added or
moved since MACs began, up to the last record, also if the host was taken over
afterwards.

--checkpoint, or checkpoint.json next to the log if it is there, shows whether the
newest records were cut off (audit checkpoint), also by turning a virtual machine
back. --public-key is the key that it must be signed with; without it, whoever
changed the log may have signed the checkpoint too. On its own host a cut end also
shows against the key of the next record.`,
		Example: `  takumi-backup audit verify
  takumi-backup audit verify --first-key file:/media/stick/first.key
  takumi-backup audit verify --checkpoint /media/safe/checkpoint.json --public-key ed25519:8ZIqWWb7cKkLW3A0m07gk0TM6rzNGGcyZD63fXFZ4nA`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&v.checkpoint, "checkpoint", "", "prove the log against this checkpoint")
	f.StringVar(&v.public, "public-key", "", "what the checkpoint must be signed with, as audit checkpoint --public-key prints it")
	f.StringArrayVar(&v.first, "first-key", nil, "prove the MACs with this key of audit init, as file:PATH; may be repeated")
	v.keys.passphrase.add(cmd)
	f.BoolVar(&v.json, "json", false, "print the result as JSON")
	return cmd
}

func (v *auditVerify) run(cmd *cobra.Command, args []string) error {
	dir, err := auditFolder(cmd, args)
	if err != nil {
		return err
	}
	var trusted audit.PublicKey
	if v.public != "" {
		if trusted, err = audit.ParsePublicKey(v.public); err != nil {
			return usagef("--public-key: %w", err)
		}
	}
	var first []audit.FirstKey
	for _, uri := range v.first {
		key, err := auditKey(cmd, &v.keys, "--first-key", uri)
		if err != nil {
			return err
		}
		defer key.Wipe()
		first = append(first, audit.FirstKey{ID: string(key.ID()), Secret: key.Bytes()})
	}
	judged, fault := audit.Judge(cmd.Context(), dir, v.checkpoint, trusted, first)
	switch {
	case judged == nil:
	case v.json:
		err = writeJSON(cmd.OutOrStdout(), judged)
	case fault == nil:
		judged.WriteProof(cmd.ErrOrStderr())
		err = printf(cmd, "%s\n", judged.Words())
	}
	if err != nil {
		return err
	}
	return fault
}
