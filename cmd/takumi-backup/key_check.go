package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/named"
)

type keyCheck struct {
	keys   keyFlags
	state  stateFlags
	maxAge values.Age
	strict bool
	json   bool

	history.Check // what the warnings are drawn from
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

type checkedKey struct {
	ID       kek.ID   `json:"key_id"`
	Key      string   `json:"key"`
	OK       bool     `json:"ok"`
	Warnings []string `json:"warnings,omitempty"`
}

func (c *keyCheck) run(cmd *cobra.Command) error {
	ring, loaded, err := c.keys.keys().Required(cmd.Context())
	if err != nil {
		return err
	}
	defer ring.Close()
	if c.Fault = c.state.resolve(cmd); c.Fault == nil {
		c.History, c.Fault = history.Read(c.state.dir)
	}
	if c.Backups, err = c.state.backups(cmd.Context()); err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	c.Root, c.MaxAge, c.Now = c.state.root, time.Duration(c.maxAge), time.Now()
	warned := false
	for _, src := range ring.Places() {
		if err := keystore.CheckOutside(src, c.state.root); err != nil {
			return fmt.Errorf("checking where the key is: %w", err)
		}
	}
	for i, src := range ring.Sources() {
		checked := checkedKey{ID: loaded[i].ID(), Key: src.String(), OK: true, Warnings: c.Warnings(cmd.Context(), src, loaded[i].ID())}
		if i == 0 {
			checked.Warnings = append(checked.Warnings, c.Missing(cmd.Context(), ring, loaded)...)
		}
		warned = warned || len(checked.Warnings) > 0
		if err := c.tell(cmd, checked); err != nil {
			return err
		}
	}
	recipients, err := ring.Recipients(cmd.Context())
	if err != nil && !errors.Is(err, keystore.ErrNone) {
		return err
	}
	for _, r := range recipients {
		h, known := slot.HolderOf(r)
		if named.IsService(h, known) {
			if h, err = named.Try(cmd.Context(), r); err != nil {
				return fmt.Errorf("trying the key: %w", err)
			}
		}
		if h.Type == kek.SlotType {
			continue
		}
		checked := checkedKey{ID: kek.ID(h.Name), Key: h.String(), OK: true}
		if w := c.Unused(time.Time{}, func(b *history.Backup) bool { return slices.Contains(b.Recipients, h) }); w != "" {
			checked.Warnings, warned = []string{w}, true
		}
		if err := c.tell(cmd, checked); err != nil {
			return err
		}
	}
	if warned && c.strict {
		return fmt.Errorf("checking the keys: there are warnings, and --strict is given")
	}
	return nil
}

func (c *keyCheck) tell(cmd *cobra.Command, checked checkedKey) error {
	for _, w := range checked.Warnings {
		warn(cmd, "%s: %s", checked.Key, w)
	}
	if c.json {
		return writeJSON(cmd.OutOrStdout(), checked)
	}
	return printf(cmd, "%s: good, id %s\n", checked.Key, checked.ID)
}
