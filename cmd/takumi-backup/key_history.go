package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// stateFlags say where the history of keys is, and where the backups are that
// need the keys.
type stateFlags struct{ dir, root string }

func (s *stateFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.dir, "state-dir", "", "folder of the key history (default $XDG_STATE_HOME/takumi-backup, else /var/lib/takumi-backup for root, ~/.local/state/takumi-backup for people)")
	cmd.Flags().StringVar(&s.root, "root", "", "folder of the backups (default $BACKUP_ROOT)")
}

// resolve fills in the defaults, and refuses a history next to the backups. It
// warns when which history it is depends on who calls.
func (s *stateFlags) resolve(cmd *cobra.Command) error {
	if s.root == "" {
		s.root = conf.StoreFolder()
	}
	if s.dir == "" {
		dir, err := stateDirOr("")
		if err != nil {
			return err
		}
		s.dir = dir
		for _, other := range history.Others(dir) {
			warn(cmd, "there are two key histories, in %s and in %s: now it is the former; merge them, or set XDG_STATE_HOME or --state-dir everywhere", dir, other)
		}
	}
	if err := history.CheckOutside(s.dir, s.root); err != nil {
		return usagef("%w: give --state-dir a folder elsewhere", err)
	}
	return nil
}

// history opens the history, for reading alone in a dry run.
func (s *stateFlags) history(dryRun bool) (*history.History, error) {
	if dryRun {
		return history.Read(s.dir)
	}
	return history.Open(s.dir)
}

// backups looks who opens each backup under the root.
func (s *stateFlags) backups(ctx context.Context) ([]history.Backup, error) {
	return rekey.Scan(ctx, newPlace(), s.root)
}

type historyAdd struct {
	keys    keyFlags
	add     bool
	retired bool
	grace   values.Age
}

func (a *historyAdd) flags(cmd *cobra.Command) {
	a.grace = values.Age(history.DefaultGrace)
	f := cmd.Flags()
	f.BoolVar(&a.add, "add", false, "make the keys of --key known, current and former")
	a.keys.add(cmd, "with --add: where the keys are")
	f.BoolVar(&a.retired, "retired", false, "with --add: the key there is a former one, kept on its own")
	f.Var(&a.grace, "grace", "with --add: how long a former key is kept at the least after it was replaced")
}

// run adds the keys of every place that is named, and then the history is shown.
func (a *historyAdd) run(cmd *cobra.Command, state *stateFlags) error {
	if err := state.resolve(cmd); err != nil {
		return err
	}
	sources, err := a.keys.sources()
	if err == nil && len(sources) == 0 {
		err = keystore.ErrNone
	}
	if err != nil {
		return err
	}
	h, err := state.history(false)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, src := range sources {
		ids, err := history.Add(cmd.Context(), h, history.Anchored(src), a.retired, history.Options{Grace: time.Duration(a.grace)})
		if err != nil {
			return fmt.Errorf("adding the keys of %s to the history: %w", src, err)
		}
		for _, id := range ids {
			recordOf(cmd).KeyIDs = append(recordOf(cmd).KeyIDs, string(id))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d keys are new to the history\n", src, len(ids))
	}
	return nil
}

func newKeyHistory() *cobra.Command {
	var state stateFlags
	var add historyAdd
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show which keys were in use where and when, and which may be destroyed",
		Long: `Show the keys that key rotate and key store have recorded: where each is, from
when to when it was in use, and how many backups under the root need it. A backup
needs a key when one of its slots is for it and none is for a key that is still
current somewhere.

The slots of a backup say which keys it needs; that is a claim: nothing is opened. key
retire opens every backup before it says that a key may be destroyed. A key that
slots name and the history does not know is listed as unknown, and a recipient of age
by its hint: of identities there is no history.

A former key may be destroyed when its grace period is over and no backup needs
it. As long as one backup cannot be read, or none is found, nothing may be: then
nobody can tell. Backups in other places are up to you.

With --json, may_be_destroyed is such a claim as well, opens counts the backups that still have a slot for a key, whether they
need it or not, and only_beside those that a current key opens by the envelope next to
them alone. Neither knows of copies that were made before a backup was rewrapped.

--add makes the keys of --key known when the history was lost: the current one, and
the former ones that the place keeps, as replaced when the current one came there.
With --retired the key there is itself a former one, such as a copy in a file.`,
		Example: `  takumi-backup key history
  takumi-backup key history --add --key file:/etc/takumi-backup/backup.key
  takumi-backup key history --json | jq -r 'select(.may_be_destroyed) | .key_id'  # for key retire`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := add.run(cmd, &state); err != nil {
				return err
			}
			return showHistory(cmd, &state, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per key and line")
	add.flags(cmd)
	state.add(cmd)
	adding := audited(cmd, "key history", changes).RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if add.add {
			return adding(cmd, args)
		}
		for _, name := range []string{"key", "retired", "grace"} {
			if cmd.Flags().Changed(name) {
				return usagef("--%s goes with --add", name)
			}
		}
		return showHistory(cmd, &state, asJSON)
	}
	return cmd
}

// historyLine is a line of key history --json.
type historyLine struct {
	KeyID          kek.ID       `json:"key_id"`
	Provider       string       `json:"provider"`
	Place          string       `json:"place,omitempty"`
	Created        time.Time    `json:"created,omitzero"`
	Activated      time.Time    `json:"activated,omitzero"`
	Retired        time.Time    `json:"retired,omitzero"`
	DestroyAfter   time.Time    `json:"destroy_after,omitzero"`
	Cleared        time.Time    `json:"cleared,omitzero"`
	NeededBy       int          `json:"needed_by"`
	Opens          int          `json:"opens"`
	OnlyBeside     int          `json:"only_beside,omitempty"`
	MayBeDestroyed bool         `json:"may_be_destroyed"`
	Reason         string       `json:"reason,omitempty"` // why it may not
	Unknown        bool         `json:"unknown,omitempty"`
	Recipient      *slot.Holder `json:"recipient,omitempty"`
}

func showHistory(cmd *cobra.Command, state *stateFlags, asJSON bool) error {
	if err := state.resolve(cmd); err != nil {
		return err
	}
	h, err := history.Read(state.dir)
	if err != nil {
		return err
	}
	backups, err := state.backups(cmd.Context())
	if err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	for _, i := range h.Unfinished() {
		warn(cmd, "a change of %s to key %s was begun at %s and did not end; %s finishes it", i.Provider, i.New, i.Begun.Format(time.RFC3339), i.Finish())
	}
	judged := append(append(h.Judge(backups, time.Now()), h.Unknown(backups)...), h.Recipients(backups)...)
	if asJSON {
		for _, j := range judged {
			if err := writeJSON(cmd.OutOrStdout(), historyLine{
				j.ID, j.Provider, j.Record.Place, j.Created, j.Activated, j.Retired, j.DestroyAfter, j.Cleared,
				j.NeededBy, j.Opens, j.OnlyBeside, j.MayBeDestroyed, j.WhyNot, j.Unknown, j.Recipient,
			}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(judged) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "no key was rotated or stored yet: %s does not exist\n", h.Path())
		return nil
	}
	return printHistory(cmd, judged)
}

func printHistory(cmd *cobra.Command, judged []history.Judgement) error {
	rows := [][]string{{"ID", "PROVIDER", "CREATED", "ACTIVATED", "RETIRED", "DESTROY AFTER", "NEEDED BY", "MAY BE DESTROYED"}}
	for _, j := range judged {
		row := []string{string(j.ID), j.Place()}
		for _, t := range []time.Time{j.Created, j.Activated, j.Retired, j.DestroyAfter} {
			day := "-"
			if !t.IsZero() {
				day = t.Format(time.DateOnly)
			}
			row = append(row, day)
		}
		rows = append(rows, append(row, strconv.Itoa(j.NeededBy), j.Verdict()))
	}
	return printTable(cmd, rows)
}
