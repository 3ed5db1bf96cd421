package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/named"
)

type keyCheck struct {
	keys   keyFlags
	state  stateFlags
	maxAge values.Age
	strict bool
	json   bool
}

func newKeyCheck() *cobra.Command {
	c := &keyCheck{maxAge: values.Age(history.DefaultMaxAge)}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check that each key can be fetched, is where it should, and is not overdue",
		Long: `Check that each key can be fetched: that it is there, private to the caller or
root, and 64 hex digits; and that it is not with the backups, in or
under $BACKUP_ROOT.

A recipient and an identity of age are named by their hint: of an identity it is
checked that its file is as private and as far from the backups as a key's, and of
both that a backup has a slot for it.

It warns of a key that is due for rotation, of one that opens none of the backups
under the root, of former keys that backups need and that cannot be had from any
of the places (reported with the first key), of those that may be destroyed by
now, and of a history that cannot be read. Warnings leave the exit code at 0,
unless --strict makes it 1.`,
		Example: `  takumi-backup key check
  takumi-backup key check --strict --max-age 90d`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	c.keys.add(cmd, "the key")
	c.keys.addRecipients(cmd)
	c.keys.addIdentities(cmd)
	cmd.Flags().Var(&c.maxAge, "max-age", "warn of a key that is in use for longer, in days (d), weeks (w) or hours (h)")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "exit with 1 when there is a warning")
	cmd.Flags().BoolVar(&c.json, "json", false, "print one JSON object per key and line")
	c.state.add(cmd)
	return cmd
}

func (c *keyCheck) run(cmd *cobra.Command) error {
	ring, loaded, err := c.keys.keys().Required(cmd.Context())
	if err != nil {
		return err
	}
	defer ring.Close()
	check := history.Check{MaxAge: time.Duration(c.maxAge), Now: time.Now()}
	if check.Fault = c.state.resolve(cmd); check.Fault == nil {
		check.History, check.Fault = history.Read(c.state.dir)
	}
	if check.Backups, err = c.state.backups(cmd.Context()); err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	check.Root = c.state.root
	warned := false
	err = named.Check(cmd.Context(), &check, ring, loaded, func(k named.Checked) error {
		warned = warned || len(k.Warnings) > 0
		return c.tell(cmd, k)
	})
	if err == nil && warned && c.strict {
		err = fmt.Errorf("checking the keys: there are warnings, and --strict is given")
	}
	return err
}

func (c *keyCheck) tell(cmd *cobra.Command, checked named.Checked) error {
	for _, w := range checked.Warnings {
		warn(cmd, "%s: %s", checked.Key, w)
	}
	if c.json {
		return writeJSON(cmd.OutOrStdout(), checked)
	}
	return printf(cmd, "%s: good, id %s\n", checked.Key, checked.ID)
}
