package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

type pruneCommand struct {
	keys      keyFlags
	progress  progressFlags
	policy    prune.Policy
	contracts bool
	apply     bool
	json      bool

	place store.Store
	meter backup.Meter
}

func newPrune() *cobra.Command {
	p := &pruneCommand{policy: prune.Policy{Within: 30 * day}, place: newPlace()}
	cmd := &cobra.Command{
		Use:   "prune [flags] [ROOT]",
		Short: "Delete the backups that no retention rule keeps; a dry run without --apply",
		Long: `Delete the backups in and under ROOT ($BACKUP_ROOT by default) that no retention
rule keeps. Without --apply nothing is deleted, and what would be is shown.

The rules work on the backups of one folder, kind and name (the time in it taken
off), by the time in their envelopes, which is authenticated with the key: file
times do not matter, and without the key this fails with exit code 4. Days, weeks
(ISO 8601), months and years are UTC's. A backup stays when any rule keeps it.

Whatever the rules say, the newest good backup of each name stays, and it is read
to its end before anything older goes; when it is damaged the next one takes its
place, and when none is good nothing of that name is deleted. What is damaged, of
an unknown key or dated in the future is never counted, and never deleted. What has
no sidecar, which may never have been finished, is not counted either, and goes
only when one of its name is complete and no rule would have kept it.

Kept for ever are contract snapshots, without --contracts, and kinds that --kind
does not name, such as stream. A folder, or backup, that cannot be read, is
damaged, or cannot be deleted makes the exit code 6.`,
		Example: `  takumi-backup prune
  takumi-backup prune --keep-within 14d --keep-weekly 8 --keep-monthly 12 --apply`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, rootArg(args)) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&p.apply, "apply", false, "delete, and not only show")
	p.addRules(f)
	p.keys.add(cmd, "authenticate with this key")
	p.progress.add(cmd)
	f.BoolVar(&p.json, "json", false, "print one JSON object per backup and line")
	return audited(cmd, "prune", changes)
}

func (p *pruneCommand) run(cmd *cobra.Command, root string) error {
	if err := p.check(cmd); err != nil {
		return err
	}
	if err := store.Check(root); err != nil {
		return usage(err)
	}
	ring, err := p.keys.ring()
	if err != nil {
		return err
	}
	defer ring.Close()
	// With several keys one may do.
	if len(ring.Sources()) < 2 {
		if _, err := ring.Current(cmd.Context()); err != nil {
			return fmt.Errorf("loading the key, without which nothing is deleted: %w", err)
		}
	}
	warnPlacement(cmd, ring.Sources(), root)
	if p.apply {
		lock, err := lockStore(root)
		if err != nil {
			return fmt.Errorf("pruning: %w", err)
		}
		defer lock.Release()
	}
	if store.IsRemote(root) {
		if err := p.sweep(cmd, root); err != nil {
			return err
		}
	}
	entries, err := backup.List(cmd.Context(), p.place, root, backup.Options{Keys: ring})
	if err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	slices.Reverse(entries) // the oldest is the first to go
	decisions, damaged, err := p.decide(cmd, ring, entries)
	if err != nil {
		return err
	}
	tally, err := p.carryOut(cmd, entries, decisions)
	if err != nil {
		return err
	}
	rec := recordOf(cmd)
	rec.Backups, rec.Failures, rec.Detail = len(entries), tally.failures, tally.words(p.apply)
	if !p.progress.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), tally.words(p.apply))
	}
	switch {
	case tally.failed != nil && tally.deleted == 0 && store.IsStoreFault(tally.failed):
		return fmt.Errorf("no backup could be deleted: %w", tally.failed)
	case damaged || tally.failed != nil:
		return errSome
	}
	return noneOpened(entries)
}

// noneOpened is the error when not one backup opens with the keys at hand.
func noneOpened(entries []backup.Backup) error {
	var why error
	for _, e := range entries {
		switch e.State {
		case backup.Authentic:
			return nil
		case backup.Claimed:
			why = fmt.Errorf("no backup opens with the keys at hand, so none is deleted; %s: %w", e.Path, e.Err)
		}
	}
	return why
}

// decide asks the policy, and reads to their ends the backups that have to be
// good. damaged says that something in the store is not.
func (p *pruneCommand) decide(cmd *cobra.Command, ring *keystore.Ring, entries []backup.Backup) (decisions []prune.Decision, damaged bool, err error) {
	items := make([]prune.Item, len(entries))
	for i := range entries {
		items[i] = asItem(&entries[i])
	}
	decisions, err = prune.Settle(items, p.policy, time.Now(), func(i int) error {
		e := &entries[i]
		p.meter = backup.Meter{}
		hide := p.progress.start(cmd.ErrOrStderr(), "verifying "+store.Base(e.Path), e.Size, &p.meter)
		err := backup.Verify(cmd.Context(), p.place, e.Path, backup.Options{Keys: ring, Meter: &p.meter})
		hide()
		return err
	}, func() error { return context.Cause(cmd.Context()) })
	if err != nil {
		return nil, false, err
	}
	withManifests(items, decisions)
	for i, it := range items {
		if it.State == prune.Bad {
			damaged = true
			if entries[i].State != backup.Bad {
				entries[i].State, entries[i].Err = backup.Bad, errors.New(it.Why)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: %v\n", printable(it.Path), entries[i].Err)
		}
	}
	return decisions, damaged, nil
}

func asItem(e *backup.Backup) prune.Item {
	it := prune.Item{Path: e.Path, Incomplete: !e.Sidecar}
	if e.Err != nil {
		it.Why = e.Err.Error()
	}
	if v := e; v.Readable() {
		it.Series = prune.Series{Folder: store.Dir(e.Path), Kind: v.Kind, Name: e.Series()}
		it.ID, it.Created = v.ID.String(), v.Created
	}
	it.State = map[backup.State]prune.State{
		backup.Authentic: prune.Good, backup.Claimed: prune.Unchecked, backup.Bad: prune.Bad,
	}[e.State]
	return it
}

// tally is what came of the decisions.
type tally struct {
	kept, deleted, ignored int
	freed                  int64
	failed                 error // the first that failed
	failures               int
}

func (t *tally) words(applied bool) string {
	text := fmt.Sprintf("%d kept, %d left alone, %d deleted (%s)", t.kept, t.ignored, t.deleted, bytesText(t.freed))
	if !applied {
		text = fmt.Sprintf("%d kept, %d left alone, %d to delete (%s); --apply deletes them", t.kept, t.ignored, t.deleted, bytesText(t.freed))
	}
	if t.failures > 0 {
		text += fmt.Sprintf(", %d could not be deleted", t.failures)
	}
	return text
}

// pruned is a line of prune --json.
type pruned struct {
	listing
	Action  prune.Action `json:"action"`
	Because string       `json:"because"`
	Deleted bool         `json:"deleted"`
	Error   string       `json:"error,omitempty"`
}

// carryOut prints every decision and, with --apply, does as it says. A failure
// to delete is not the end: the others can go.
func (p *pruneCommand) carryOut(cmd *cobra.Command, entries []backup.Backup, decisions []prune.Decision) (*tally, error) {
	t := new(tally)
	for i, d := range decisions {
		e := &entries[i]
		line := pruned{listing: listed(e), Action: d.Action, Because: d.Reason}
		switch d.Action {
		case prune.Keep:
			t.kept++
		case prune.Ignore:
			t.ignored++
		case prune.Delete:
			if err := p.delete(cmd, e); err != nil {
				if cmd.Context().Err() != nil || errors.Is(err, errStdout) {
					return t, err
				}
				t.failures++
				if t.failed == nil {
					t.failed = err
				}
				line.Error = err.Error()
				fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %v\n", err)
				break
			}
			t.deleted++
			t.freed += e.Size
			line.Deleted = p.apply
		}
		if err := p.print(cmd, line); err != nil {
			return t, err
		}
	}
	return t, nil
}

// delete deletes a backup, if that is wanted, when what is done can be told.
func (p *pruneCommand) delete(cmd *cobra.Command, e *backup.Backup) error {
	if !p.apply {
		return nil
	}
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
	}
	if err := checkStdout(); err != nil {
		return err
	}
	err := p.place.Remove(cmd.Context(), e.Backup, envelope.DetachedSuffix)
	recordBackup(cmd, audit.Record{
		Path: e.Path, BackupID: e.ID.String(), Name: e.Name, Kind: e.Kind, KeyIDs: audit.IDs(e.Keys...), Fault: err,
		Detail: "deleting " + bytesText(e.Size),
	})
	return err
}

func (p *pruneCommand) print(cmd *cobra.Command, line pruned) error {
	if p.json {
		return writeJSON(cmd.OutOrStdout(), line)
	}
	word := string(line.Action)
	switch {
	case line.Deleted:
		word = "deleted"
	case line.Error != "":
		word = "FAILED"
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%-7s  %s  (%s)\n", word, printable(line.Path), line.Because)
	return stdoutError(err)
}
