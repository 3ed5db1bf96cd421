package main

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

type pruneCommand struct {
	keys      keyFlags
	progress  progressFlags
	policy    prune.Policy
	contracts bool
	apply     bool
	json      bool
	maxRead   int64
	stateDir  string
	job       jobFlags
	signers   string

	place store.Store
}

func newPrune() *cobra.Command {
	p := &pruneCommand{policy: prune.Policy{Within: 30 * values.Day}}
	cmd := &cobra.Command{
		Use:   "prune [flags] [ROOT]",
		Short: "Delete the backups that no retention rule keeps",
		Long: `Delete the backups in and under ROOT ($BACKUP_ROOT by default) that no retention rule keeps.
Without --apply it only shows what it would delete. The rules work on
the backups of one folder, kind and series, by the time in their envelopes,
which the key authenticates; without it this fails with exit code 4. Days, weeks (ISO 8601),
months and years are UTC's. A backup stays when any rule keeps it. --keep-within counts from
the newest good backup of the series, so while none is made none becomes too old.

Before a backup of a series is deleted, all that a counting rule keeps are read to
their end, unless that was done within eight days; --max-read bounds it. A backup that is damaged, of an unknown key, misnamed, dated in the future or
incomplete does not count, and doubtful ones stay. A host with recipients alone uses
its own record of what it sealed, and --signers.

Contract snapshots stay without --contracts, and kinds that --kind does not name. The exit code is 6 when a backup cannot be read, is damaged or cannot be deleted.`,
		Example: `  takumi-backup prune
  takumi-backup prune --keep-within 14d --keep-weekly 8 --keep-monthly 12 --apply`,
		Annotations: records("prune"),
		Args:        usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := rootArg(args)
			work := func(r *runs.Run) error {
				return session(cmd, "prune", changes, []string{root}, func(ctx context.Context, s *audit.Session) error { return p.run(ctx, cmd, s, root, r) })
			}
			switch {
			case p.apply:
				return p.job.runRecorded(cmd, "prune", work)
			case p.job.notify || p.job.metrics != "":
				return usagef("--notify and --metrics go with --apply: a dry run is not reported")
			}
			return work(new(runs.Run))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&p.apply, "apply", false, "delete, and not only show")
	p.addRules(f)
	f.Var((*values.Size)(&p.maxRead), "max-read", "read at most this much to prove what stays, as 50GB; a series that is not proved by then keeps all")
	f.StringVar(&p.stateDir, "state-dir", "", "folder of what was proved (default $XDG_STATE_HOME/takumi-backup)")
	p.job.add(f)
	addSigners(f, &p.signers, "count only what one of these has signed")
	p.keys.add(cmd, "authenticate with this key")
	p.keys.addIdentities(cmd)
	p.progress.add(cmd)
	f.BoolVar(&p.json, "json", false, "print one JSON object per backup and line")
	return cmd
}

func (p *pruneCommand) run(ctx context.Context, cmd *cobra.Command, s *audit.Session, root string, run *runs.Run) error {
	var err error
	if p.policy, err = p.policy.Chosen(conf, p.contracts, cmd.Flags().Changed); err != nil {
		return err
	}
	p.place = newPlace()
	if err := store.Check(root); err != nil {
		return usage(err)
	}
	signers, err := trusted(p.signers)
	if err != nil {
		return err
	}
	ring, err := p.keys.ring()
	if err != nil {
		return err
	}
	defer ring.Close()
	// Without a key, what this host has sealed, or what is signed, is known all the same.
	known := verify.LoadKnown(p.stateDir, warner(cmd))
	if ring.Opens() || !known.Ledger.Knows() && signers == nil {
		if err := ring.Ready(ctx); err != nil {
			return fmt.Errorf("loading the key, without which nothing is deleted: %w", err)
		}
	}
	warnPlacement(cmd, ring.Places(), root)
	if p.apply {
		lock, err := prune.Lock(root)
		if err != nil {
			return fmt.Errorf("pruning: %w", err)
		}
		defer lock.Release()
	}
	if store.IsRemote(root) {
		s3, err := bucketOf(root)
		if err == nil {
			err = prune.Sweep(ctx, s3, root, !p.apply, warner(cmd), printer(cmd, p.progress.quiet))
		}
		if err != nil {
			return err
		}
	}
	o := prune.Options{
		Policy: p.policy, MaxRead: p.maxRead, Apply: p.apply,
		Open:   backup.Options{Keys: ring, Doubt: known.Doubt, Signers: signers, Ledger: known.Ledger},
		Before: func(*backup.Backup) error { return checkStdout() },
		Done: func(b *backup.Backup, d prune.Decision, err error) error {
			return p.done(ctx, cmd, s, b, d, err)
		},
	}
	defer known.Memory.Remembering(&o, p.place, programVersion(), func(b *backup.Backup, m *backup.Meter) func() {
		return p.progress.start(cmd.ErrOrStderr(), "verifying "+store.Base(b.Path), b.Size, m)
	}, warner(cmd))()
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what lives is the list
	r, err := prune.Run(ctx, p.place, root, o)
	if err != nil {
		return err
	}
	run.Bytes = r.Freed
	return p.conclude(cmd, s, r)
}

func (p *pruneCommand) done(ctx context.Context, cmd *cobra.Command, s *audit.Session, b *backup.Backup, d prune.Decision, err error) error {
	if b.State == backup.Bad && b.Err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: %s\n", printable(b.Path), redact.Error(b.Err))
	}
	line := pruned{Listing: b.Listing(), Action: d.Action, Because: redact.Keys(d.Reason)}
	if d.Action == prune.Delete && p.apply {
		s.Note(ctx, audit.Record{
			Path: b.Path, BackupID: b.ID.String(), Name: b.Name, Kind: b.Kind, KeyIDs: audit.IDs(b.Keys...), Fault: err,
			Detail: "deleting " + values.BytesText(b.Size),
		})
		line.Deleted = err == nil
	}
	if err != nil {
		line.Error = redact.Error(err)
		fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s\n", line.Error)
	}
	return p.print(cmd, line)
}

func (p *pruneCommand) conclude(cmd *cobra.Command, s *audit.Session, r *prune.Result) error {
	words := r.Words(p.apply)
	rec := s.Last()
	rec.Backups, rec.Failures, rec.Detail = r.Backups, r.Failures, words
	if !p.progress.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	if r.Unread {
		warn(cmd, "more had to be read than --max-read allows, so that backups were left alone that could go")
	}
	return r.Err()
}

type pruned struct {
	backup.Listing
	Action  prune.Action `json:"action"`
	Because string       `json:"reason"` // in place of the listing's, which it has in it
	Deleted bool         `json:"deleted"`
	Error   string       `json:"error,omitempty"`
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
	return printf(cmd, "%-7s  %s  (%s)\n", word, printable(line.Path), line.Because)
}

func (p *pruneCommand) addRules(f *pflag.FlagSet) {
	rules := &p.policy
	f.Var((*values.Within)(&rules.Within), "keep-within", "keep what is less than this older than the newest good one of its series, as 30d, 8w or 36h; 0 for no such rule (default $RETENTION_DAYS, or 30d)")
	f.Lookup("keep-within").DefValue = "" // the words say more
	f.Var((*values.Count)(&rules.Last), "keep-last", "keep the newest `N`")
	f.Var((*values.Count)(&rules.Daily), "keep-daily", "keep the newest of each of the last `N` days that have one")
	f.Var((*values.Count)(&rules.Weekly), "keep-weekly", "the same for `N` weeks")
	f.Var((*values.Count)(&rules.Monthly), "keep-monthly", "the same for `N` months")
	f.Var((*values.Count)(&rules.Yearly), "keep-yearly", "the same for `N` years")
	f.StringSliceVar(&rules.Kinds, "kind", prune.Kinds, "prune only backups of this kind; may be repeated")
	f.BoolVar(&p.contracts, "contracts", false, "prune contract snapshots too")
}
