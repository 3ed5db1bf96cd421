package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// newAudit is the parent of the commands that work on the audit log.
func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show and prove the record of who used which key on which backup",
		Long: `Show and prove the audit log: who used which key on which backup, when, and how
that ended.

Every command that makes, opens, restores, rewraps or deletes backups, or that
makes, stores, changes or writes out keys, appends a record: JSON lines, each
with the SHA-256 of the one before, in a file a month, audit-YYYY-MM.jsonl. One
that changes backups or keys, or writes a key out, appends a record before it
begins, with the paths that it was given, and does not begin when that fails (exit
code 7). One that works on many backups appends the record of each when it is done
with it, and stops when that fails. open and restore append a record before they
begin as well. To restore what is live anew, a database or a folder, is a change.
Others warn, so that a full disk keeps nobody from a restore beside; so does a dry
run. No record is left by help, version, man, completion, inspect, list, key id, key
check, key history, install-timers, verify merge and audit itself; nor by backup
all, whose parts leave theirs. No record holds a secret.

--audit=off records nothing. The log is in --audit-dir or $TAKUMI_AUDIT_DIR, else
in $BACKUP_ROOT/audit when that root is a folder of this host and is there, else in
the folder audit of $XDG_STATE_HOME/takumi-backup or ~/.local/state/takumi-backup.
With $TAKUMI_AUDIT_SYSLOG=1 the records go to syslog, or the journal, as well.`,
		Example: `  takumi-backup audit show --since 2026-11-01 --operation open
  takumi-backup audit verify`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditShow(), newAuditVerify(), newAuditCheckpoint())
	return cmd
}

// auditFolder returns the folder of the log that a command is to look at.
func auditFolder(cmd *cobra.Command, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	return auditDir(cmd)
}

// newAuditCheckpoint signs how far the log has come.
func newAuditCheckpoint() *cobra.Command {
	var keys keyFlags
	var uri, out string
	var public bool
	cmd := &cobra.Command{
		Use:   "checkpoint [flags] [DIR]",
		Short: "Sign how far the audit log has come, so that a cut end can be seen",
		Long: `Prove the audit log and sign how far it has come: a small JSON file, which stands
beside the log as checkpoint.json, or with -o somewhere else. Copy it to where
nobody who can change the log can change it. audit verify --checkpoint then shows
what was cut off or written anew. The checkpoint that stands there is proved
first, and is not replaced when the log is not what it saw; nor is another one made
when the log is not what the one beside it saw.

It is signed (Ed25519) with what is derived from a key, which key generate makes
and which best seals no backups: --checkpoint-key, or $TAKUMI_AUDIT_KEY, names it
as --key names others. --public-key prints the public key that proves its
signatures, and signs nothing.`,
		Example: `  takumi-backup audit checkpoint --checkpoint-key file:/etc/takumi-backup/audit.key
  takumi-backup audit checkpoint --checkpoint-key file:/etc/takumi-backup/audit.key --public-key`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := auditFolder(cmd, args)
			if err != nil {
				return err
			}
			key, err := checkpointKey(cmd, &keys, uri)
			if err != nil {
				return err
			}
			if key == nil {
				return usagef("name the key that signs with --checkpoint-key, or set TAKUMI_AUDIT_KEY")
			}
			defer key.Wipe()
			known, err := audit.PublicOf(key)
			if err != nil {
				return err
			}
			if public {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), known)
				return stdoutError(err)
			}
			if out == "" {
				out = filepath.Join(dir, audit.CheckpointName)
			}
			former, err := readCheckpoint(out, known)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("proving the checkpoint that stands there: %w", err)
			}
			beside := checkpointBeside(cmd, dir, known)
			if former != nil && beside != nil {
				if _, err := audit.Verify(cmd.Context(), dir, beside); err != nil {
					return err
				}
			}
			made, err := audit.Sign(cmd.Context(), dir, cmp.Or(former, beside), key)
			if err != nil {
				return err
			}
			return saveCheckpoint(cmd, out, made)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&uri, "checkpoint-key", "", "sign with this key, as file:PATH, awssm:ID, vault:PATH, … (default $TAKUMI_AUDIT_KEY)")
	f.StringVarP(&out, "output", "o", "", "write to this file, or to standard output with - (default: checkpoint.json beside the log)")
	f.BoolVar(&public, "public-key", false, "print the public key, and sign nothing")
	keys.passphrase.add(cmd)
	return cmd
}

// checkpointKey fetches the key that signs checkpoints, which a flag or
// $TAKUMI_AUDIT_KEY names. Without either it is nil. The caller wipes it.
func checkpointKey(cmd *cobra.Command, keys *keyFlags, uri string) (*kek.Key, error) {
	uri = cmp.Or(uri, os.Getenv("TAKUMI_AUDIT_KEY"))
	if uri == "" {
		return nil, nil
	}
	src, err := keys.parseKey(uri)
	if errors.Is(err, keystore.ErrURI) {
		return nil, usagef("--checkpoint-key or TAKUMI_AUDIT_KEY: %w", err)
	}
	if err != nil {
		return nil, err
	}
	key, err := src.Load(cmd.Context())
	if err != nil {
		return nil, fmt.Errorf("loading the key that signs: %w", err)
	}
	return key, nil
}

// currentCheckpoint signs how far the audit log has come, for a report. It is
// nil when there is no log, or $TAKUMI_AUDIT_KEY names no key.
func currentCheckpoint(cmd *cobra.Command) (json.RawMessage, error) {
	dir, err := auditDir(cmd)
	if err != nil || flagText(cmd, "audit") == "off" {
		return nil, err
	}
	key, err := checkpointKey(cmd, new(keyFlags), "")
	if key == nil {
		return nil, err
	}
	defer key.Wipe()
	known, err := audit.PublicOf(key)
	if err != nil {
		return nil, err
	}
	made, err := audit.Sign(cmd.Context(), dir, checkpointBeside(cmd, dir, known), key)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(made)
}

// checkpointBeside returns the checkpoint that stands beside the log, if there is
// one that trusted signed.
func checkpointBeside(cmd *cobra.Command, dir string, trusted audit.PublicKey) *audit.Checkpoint {
	c, err := readCheckpoint(filepath.Join(dir, audit.CheckpointName), trusted)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		warn(cmd, "the checkpoint beside the log was passed over: %v", err)
	}
	return c
}

// readCheckpoint reads a checkpoint and proves that trusted signed it.
func readCheckpoint(path string, trusted audit.PublicKey) (*audit.Checkpoint, error) {
	if path == "-" {
		return nil, os.ErrNotExist
	}
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	defer f.Close()
	c, err := audit.ReadCheckpoint(f)
	if err == nil {
		err = c.CheckSignature(trusted)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func saveCheckpoint(cmd *cobra.Command, path string, c *audit.Checkpoint) error {
	if path == "-" {
		return writeJSON(cmd.OutOrStdout(), c)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	f, err := local.Create(path, store.Options{Replace: true}) // by one that saw the same, and more
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	if _, err := f.Commit(); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "signed %d records, the last of %s, for %s\n", c.Lines, c.File, c.PublicKey)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
	return allTheSame(err, "the checkpoint is written")
}

// timeFlag is a time in UTC, as RFC 3339 or as a day.
type timeFlag struct{ time.Time }

func (f *timeFlag) String() string {
	if f.IsZero() {
		return ""
	}
	return f.Format(time.RFC3339)
}

func (*timeFlag) Type() string { return "time" }

// Set is pflag's.
func (f *timeFlag) Set(text string) (err error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if f.Time, err = time.Parse(layout, text); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is neither a day, as 2026-11-25, nor a time, as 2026-11-25T02:00:00Z", text)
}
