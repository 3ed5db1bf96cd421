package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

type keyRotate struct {
	keys   keyFlags
	state  stateFlags
	maxAge values.Age
	grace  values.Age
	adopt  bool
	dryRun bool
	json   bool
}

func newKeyRotate() *cobra.Command {
	r := &keyRotate{maxAge: values.Age(history.DefaultMaxAge), grace: values.Age(history.DefaultGrace)}
	cmd := &cobra.Command{
		Use:   "rotate [flags]",
		Short: "Replace a key by a new one, and keep the former for old backups",
		Long: `Make a new key, store it as the current one, and keep the former: of a key file
as PATH.ID, in AWS Secrets Manager and Vault as a version. New backups are
sealed for the new key; earlier ones need the former key until they are sealed anew or
expire, and open still finds it.

Each step is recorded (key history). Killed at any moment, the same command
finishes: it looks which key is there now. When the key was changed by somebody
else since a rotation was begun, it stops; --adopt goes on from the key that is
there.

Make new copies for the safe afterwards: those that exist are of the former key.`,
		Example: `  takumi-backup key rotate --key file:/etc/takumi-backup/backup.key
  takumi-backup key rotate --key vault:secret/takumi/production/backup-encryption --dry-run`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	f := cmd.Flags()
	r.keys.add(cmd, "rotate this key")
	f.Var(&r.maxAge, "max-age", "how long a key is used, in days (d), weeks (w) or hours (h)")
	f.Var(&r.grace, "grace", "how long the former key is kept at the least")
	f.BoolVar(&r.adopt, "adopt", false, "go on although somebody else has changed the key since a rotation was begun")
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&r.json, "json", false, "print the result as JSON")
	r.state.add(cmd)
	return audited(cmd, "key rotate", changes)
}

func (r *keyRotate) run(cmd *cobra.Command) error {
	if err := r.state.resolve(cmd); err != nil {
		return err
	}
	sources, err := r.keys.sources()
	if err != nil {
		return err
	}
	dst, err := history.Storer(sources, r.state.root)
	if err != nil {
		return err
	}
	h, err := r.state.history(r.dryRun)
	if err != nil {
		return err
	}
	defer h.Close()
	backups, err := r.state.backups(cmd.Context())
	if err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	result, err := history.Rotate(cmd.Context(), h, dst, history.Options{
		MaxAge: time.Duration(r.maxAge), Grace: time.Duration(r.grace), Adopt: r.adopt, DryRun: r.dryRun,
		InUse: func(id kek.ID) bool {
			return slices.ContainsFunc(backups, func(b history.Backup) bool { return slices.Contains(b.Keys, id) })
		},
	})
	if err != nil {
		return fmt.Errorf("rotating the key: %w", err)
	}
	result.Judge(h, backups, r.state.root)
	return printChange(cmd, result, r.json)
}

// printChange records and prints what became of a key.
func printChange(cmd *cobra.Command, c *history.Result, asJSON bool) error {
	rec := recordOf(cmd)
	if c.New != "" {
		rec.KeyIDs = audit.IDs(c.New)
	}
	if c.Old != "" {
		rec.OldIDs = audit.IDs(c.Old)
	}
	for _, note := range c.Notes {
		warn(cmd, "%s", note)
	}
	for _, text := range c.Unreadable {
		warn(cmd, "nobody can tell whether this backup needs the former key: %s", text)
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), c)
	}
	if err := printf(cmd, "%v", c.Text()); err != nil {
		return err
	}
	switch {
	case c.DryRun:
		fmt.Fprintln(cmd.ErrOrStderr(), "a dry run: nothing was changed")
	case c.Finished:
		fmt.Fprintln(cmd.ErrOrStderr(), "an earlier run had stored the new key and was stopped before it was recorded; now it is, and no further key was made")
	case c.Unchanged:
		fmt.Fprintln(cmd.ErrOrStderr(), "it was there already")
	}
	if c.Old != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "backups that were sealed for key %s keep needing it until they are sealed anew or expire\n", c.Old)
	}
	return nil
}
