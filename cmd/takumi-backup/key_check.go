package main

import (
	"context"
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
)

type keyCheck struct {
	keys   keyFlags
	state  stateFlags
	maxAge values.Age
	strict bool
	json   bool

	// What the warnings are drawn from.
	history *history.History // nil when it cannot be read
	fault   error            // why
	backups []history.Backup
	now     time.Time
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
of the places (this is told with the first key), of those that may be destroyed by
now, and of a history that cannot be read. Warnings leave the exit code at 0,
unless --strict makes it 1.`,
		Example: `  takumi-backup key check
  takumi-backup key check --strict --max-age 90d`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	c.keys.add(cmd, "the key")
	c.keys.age.addRecipients(cmd)
	c.keys.age.addIdentities(cmd)
	cmd.Flags().Var(&c.maxAge, "max-age", "warn of a key that is in use for longer, in days (d), weeks (w) or hours (h)")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "exit with 1 when there is a warning")
	cmd.Flags().BoolVar(&c.json, "json", false, "print one JSON object per key and line")
	c.state.add(cmd)
	return cmd
}

// checkedKey is what is told of a key that passed.
type checkedKey struct {
	ID       kek.ID   `json:"id"`
	Key      string   `json:"key"`
	OK       bool     `json:"ok"`
	Warnings []string `json:"warnings,omitempty"`
}

func (c *keyCheck) run(cmd *cobra.Command) error {
	ring, loaded, err := c.keys.required(cmd.Context())
	if err != nil {
		return err
	}
	defer ring.Close()
	if c.fault = c.state.resolve(cmd); c.fault == nil {
		c.history, c.fault = history.Read(c.state.dir)
	}
	if c.backups, err = c.state.backups(cmd.Context()); err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	c.now = time.Now()
	warned := false
	for _, src := range ring.Places() {
		if err := keystore.CheckApart(src, c.state.root); err != nil {
			return fmt.Errorf("checking where the key stands: %w", err)
		}
	}
	for i, src := range ring.Sources() {
		checked := checkedKey{ID: loaded[i].ID(), Key: src.String(), OK: true, Warnings: c.warnings(cmd.Context(), src, loaded[i].ID())}
		if i == 0 {
			checked.Warnings = append(checked.Warnings, c.missing(cmd.Context(), ring, loaded)...)
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
		if isServiceSlot(h, known) {
			if h, err = askService(cmd.Context(), r); err != nil {
				return fmt.Errorf("trying the key: %w", err)
			}
		}
		if h.Type == kek.SlotType {
			continue
		}
		checked := checkedKey{ID: kek.ID(h.Name), Key: h.String(), OK: true}
		if w := c.unusedBy(time.Time{}, func(b *history.Backup) bool { return slices.Contains(b.Recipients, h) }); w != "" {
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
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: good, id %s\n", checked.Key, checked.ID)
	return stdoutError(err)
}

// warnings says what somebody should look after, of one key.
func (c *keyCheck) warnings(ctx context.Context, src keystore.Source, id kek.ID) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	at := c.locate(ctx, src)
	if c.fault != nil {
		add("its history cannot be read: %v", c.fault)
	}
	if since := c.since(ctx, src, at, id); !since.IsZero() {
		if due := since.Add(time.Duration(c.maxAge)); c.now.After(due) {
			add("it is overdue for rotation: in use since %s, due at %s; takumi-backup key rotate replaces it", since.Format(time.DateOnly), due.Format(time.DateOnly))
		}
	}
	if w := c.unused(at, id); w != "" {
		add("%s", w)
	}
	if c.history == nil {
		return all
	}
	for _, i := range c.history.Unfinished() {
		if i.At(at) {
			add("a change to key %s was begun at %s and did not end; %s finishes it", i.New, i.Begun.Format(time.RFC3339), finishing(i))
			break
		}
	}
	for _, j := range c.history.Judge(c.backups, c.now) {
		switch {
		case !j.At(at):
		case j.ID == id && !j.Live():
			add("the history says that it was retired at %s", j.Retired.Format(time.DateOnly))
		case j.MayBeDestroyed && isThere(ctx, src, j.ID):
			add("its former key %s may be destroyed: retired at %s, and no backup under %s needs it", j.ID, j.Retired.Format(time.DateOnly), c.state.root)
		}
	}
	return all
}

// locate says where a key is, as the history has it. The key could be had, and
// if its place could not, its URI has to do.
func (c *keyCheck) locate(ctx context.Context, src keystore.Source) history.Site {
	at, _ := history.Locate(ctx, anchored(src))
	return at
}

// record is what the history knows of a key, if anything.
func (c *keyCheck) record(at history.Site, id kek.ID) history.Record {
	if c.history == nil {
		return history.Record{}
	}
	r, _ := c.history.Find(at, id)
	return r
}

// since is when a key came into use: by the history, or else by its place.
func (c *keyCheck) since(ctx context.Context, src keystore.Source, at history.Site, id kek.ID) time.Time {
	if since := c.record(at, id).Since(); !since.IsZero() {
		return since
	}
	keeper, ok := src.(keystore.Keeper)
	if !ok {
		return time.Time{}
	}
	// Who may fetch the key need not be allowed to list its versions.
	versions, _ := keeper.Versions(ctx)
	for _, v := range versions {
		if v.Current {
			return v.Created
		}
	}
	return time.Time{}
}

// unused says that no backup has a slot for the key, when there are backups and
// they are not all from before the key came into use.
func (c *keyCheck) unused(at history.Site, id kek.ID) string {
	return c.unusedBy(c.record(at, id).Activated, func(b *history.Backup) bool { return slices.Contains(b.Keys, id) })
}

func (c *keyCheck) unusedBy(activated time.Time, used func(*history.Backup) bool) string {
	if noRoot(c.backups, c.state.root) {
		return "" // nothing was sealed yet
	}
	read, unread := 0, 0
	for _, b := range c.backups {
		if used(&b) {
			return ""
		}
		switch {
		case b.Err != nil:
			unread++
		case b.Created.After(activated):
			read++
		}
	}
	switch {
	case unread > 0:
		return fmt.Sprintf("it opens no backup under %s (looked at %d; %d cannot be read)", c.state.root, read, unread)
	case read > 0:
		return fmt.Sprintf("it opens no backup under %s (looked at %d)", c.state.root, read)
	}
	return ""
}

// isThere says whether a former key can still be had. It says yes where it
// cannot tell.
func isThere(ctx context.Context, src keystore.Source, id kek.ID) bool {
	keeper, ok := src.(keystore.Keeper)
	if !ok {
		return true
	}
	versions, err := keeper.Versions(ctx)
	if err != nil {
		return true
	}
	for _, v := range versions {
		if v.Current || v.Gone != nil {
			continue
		}
		key, err := v.Source.Load(ctx)
		if err != nil {
			continue
		}
		key.Wipe()
		if key.ID() == id {
			return true
		}
	}
	return false
}
