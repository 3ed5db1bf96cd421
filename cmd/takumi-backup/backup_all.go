package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

type backupAll struct {
	keys     []string
	stateDir string
	prune    bool
	globals  bool
	manifest bool
	json     bool
	quiet    bool
}

func newBackupAll() *cobra.Command {
	b := new(backupAll)
	cmd := &cobra.Command{
		Use:   "all [flags]",
		Short: "Back up everything that is configured, and say how it went once",
		Long: `Back up the database, the contracts and the uploads, whichever are configured:

  database    when DB_NAME, PGDATABASE or PGSERVICE is set
  contracts   when CONTRACTS_DIR is set
  uploads     when UPLOADS_DIR is set

Each runs as a process of its own: when one fails, or crashes, the others run all
the same. With --prune, old backups are deleted at the end as prune --apply does
it, but not when a backup failed. The paths of what was made are printed, one
line each, and a summary at the end on standard error.

What of the uploads is left out, and whether a file that changed is a failure, is
said by UPLOADS_EXCLUDE, UPLOADS_EXCLUDE_FROM and UPLOADS_STRICT; see backup uploads.

The exit code is 0 when all went well and 6 when something failed; if only one
part ran, its own. While one run goes on, another one does not start.

--config names a file of NAME=VALUE lines with the same names as the variables;
it wins over them. Nothing in it is evaluated. Only its owner may read it.`,
		Example: `  takumi-backup backup all --config /etc/takumi-backup/backup.conf --prune
  DB_NAME=takumi CONTRACTS_DIR=/srv/takumi/contracts takumi-backup backup all`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&b.keys, "key", nil, "seal for this key, and prune with it; may be repeated (default $BACKUP_ENCRYPTION_KEY_FILE, or $SECRETS_BACKEND)")
	f.BoolVar(&b.prune, "prune", false, "delete old backups at the end, when nothing failed")
	f.BoolVar(&b.globals, "globals", false, "with the database, its roles")
	f.BoolVar(&b.manifest, "manifest", false, "with the database, what it held")
	f.StringVar(&b.stateDir, "state-dir", "", "folder of the lock (default $XDG_STATE_HOME/takumi-backup)")
	f.BoolVarP(&b.quiet, "quiet", "q", false, "show only failures")
	f.BoolVar(&b.json, "json", false, "print the summary as JSON, in place of the paths")
	return cmd
}

func (b *backupAll) run(cmd *cobra.Command) error {
	started := time.Now()
	sealed, err := encryptionEnabled()
	if err != nil {
		return err
	}
	if len(b.keys) > 0 {
		if _, err := (&keyFlags{uris: b.keys}).sources(); err != nil {
			return err
		}
	}
	lock, err := b.lock()
	if err != nil {
		return err
	}
	defer lock.Release()

	parts := b.parts()
	ran, failed := 0, 0
	for _, p := range parts {
		if p.State == partLeftOut {
			continue
		}
		ran++
		if err := b.runPart(cmd, p, cmd.OutOrStdout()); err != nil {
			return err
		}
		if p.State == partFailed {
			failed++
		}
	}
	if ran == 0 {
		return usagef("nothing is configured: set DB_NAME, CONTRACTS_DIR or UPLOADS_DIR, here or in the file of --config")
	}
	if b.prune {
		p := &part{Name: "prune", State: partLeftOut, args: []string{"prune", "--apply"}}
		switch {
		case failed > 0:
			p.Why = "a backup failed, so that nothing old is deleted"
		case !sealed:
			p.Why = "BACKUP_ENCRYPTION_ENABLED is false, and only what is authenticated is deleted"
		default:
			ran++
			// What is made goes to standard output, not what is deleted.
			if err := b.runPart(cmd, p, cmd.ErrOrStderr()); err != nil {
				return err
			}
		}
		parts = append(parts, p)
	}
	if err := b.summarize(cmd, parts, started); err != nil {
		return err
	}
	return outcome(parts, ran)
}

// lock keeps a second run out.
func (b *backupAll) lock() (*fsutil.Lock, error) {
	dir := b.stateDir
	if dir == "" {
		var err error
		if dir, err = history.Dir(); err != nil {
			return nil, usage(err)
		}
	}
	err := os.MkdirAll(dir, 0o700)
	var lock *fsutil.Lock
	if err == nil {
		lock, err = fsutil.LockFile(filepath.Join(dir, "backup-all.lock"))
	}
	if err != nil {
		return nil, fmt.Errorf("making sure that no other run goes on: %w", err)
	}
	return lock, nil
}

func (b *backupAll) summarize(cmd *cobra.Command, parts []*part, started time.Time) error {
	for _, p := range parts {
		if b.quiet && p.State != partFailed {
			continue
		}
		words := fmt.Sprintf("%s: %s", p.Name, p.State)
		switch p.State {
		case partDone:
			words += fmt.Sprintf(" in %.1f s", p.Seconds)
		case partFailed:
			words = fmt.Sprintf("%s: FAILED after %.1f s: %s; why stands above", p.Name, p.Seconds, p.Why)
		default:
			words += " (" + p.Why + ")"
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "takumi-backup: "+words)
	}
	if !b.json {
		return nil
	}
	return writeJSON(cmd.OutOrStdout(), struct {
		Started time.Time `json:"started"`
		Seconds float64   `json:"seconds"`
		Parts   []*part   `json:"parts"`
	}{started.UTC().Truncate(time.Second), time.Since(started).Seconds(), parts})
}
