package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
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
	p := &pruneCommand{policy: prune.Policy{Within: 30 * values.Day}, place: newPlace()}
	cmd := &cobra.Command{
		Use:   "prune [flags] [ROOT]",
		Short: "Delete the backups that no retention rule keeps",
		Long: `Delete the backups in and under ROOT ($BACKUP_ROOT by default) that no retention rule keeps.
Without --apply nothing is deleted, and what would be is shown. The rules work on
the backups of one folder, kind and series, by the time in their envelopes,
which the key authenticates; without it this fails with exit code 4. Days, weeks (ISO 8601),
months and years are UTC's. A backup stays when any rule keeps it. --keep-within counts from
the newest good backup of the series, so while none is made none becomes too old.

Before anything of a series goes, all that a counting rule keeps is read to its end, unless
that was done within eight days; --max-read bounds it. A backup that is damaged, of an unknown key,
misnamed, dated in the future or incomplete does not count, and what is in doubt stays. A
host with recipients alone goes by its own record of what it sealed, and by --signers.

Contract snapshots stay without --contracts, and kinds that --kind does not name. What
cannot be read, is damaged or cannot be deleted makes the exit code 6.`,
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
				return p.job.told(cmd, "prune", work)
			case p.job.notify || p.job.metrics != "":
				return usagef("--notify and --metrics go with --apply: what only shows is not a run")
			}
			return work(new(runs.Run))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&p.apply, "apply", false, "delete, and not only show")
	p.addRules(f)
	f.Var((*values.Size)(&p.maxRead), "max-read", "read at most this much to prove what stays, as 50GB; what then cannot be proved lets nothing go")
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
	if err := p.check(cmd); err != nil {
		return err
	}
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
	// With several keys one may do. Without any, what this host has sealed, or what is
	// signed, is known all the same.
	ledger := ledgerIn(cmd, p.stateDir)
	if ring.Ways() < 2 && (ring.Opens() || !ledger.Knows() && signers == nil) {
		if _, err := ring.Current(ctx); err != nil {
			return fmt.Errorf("loading the key, without which nothing is deleted: %w", err)
		}
	}
	warnPlacement(cmd, ring.Places(), root)
	if p.apply {
		lock, err := lockStore(root)
		if err != nil {
			return fmt.Errorf("pruning: %w", err)
		}
		defer lock.Release()
	}
	if store.IsRemote(root) {
		if err := p.sweep(ctx, cmd, root); err != nil {
			return err
		}
	}
	memory := provedIn(cmd, p.stateDir)
	o := prune.Options{
		Policy: p.policy, MaxRead: p.maxRead, Apply: p.apply,
		Open:   backup.Options{Keys: ring, Doubt: doubter(cmd, p.stateDir, memory), Signers: signers, Ledger: ledger},
		Before: func(*backup.Backup) error { return checkStdout() },
		Done: func(b *backup.Backup, d prune.Decision, err error) error {
			return p.done(ctx, cmd, s, b, d, err)
		},
	}
	defer p.remembering(cmd, &o, memory)()
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what lives is the list
	r, err := prune.Run(ctx, p.place, root, o)
	if err != nil {
		return err
	}
	run.Bytes = r.Freed
	return p.conclude(cmd, s, r)
}

// saveEvery is how much work a kill may make forgotten.
const saveEvery = 30 * time.Second

// remembering has the run know what was proved earlier, and remember what it proves, until
// save at the latest.
func (p *pruneCommand) remembering(cmd *cobra.Command, o *prune.Options, memory *verify.Memory) (save func()) {
	save, saved := func() {}, time.Now()
	if memory != nil {
		o.Remembered = memory.Whole
		save = func() {
			if err := memory.Save(nil); err != nil {
				warn(cmd, "what was proved is not remembered: %v", err)
			}
			saved = time.Now()
		}
	}
	o.Prove = func(ctx context.Context, b *backup.Backup) error {
		var meter backup.Meter
		open := o.Open
		open.Meter = &meter
		hide := p.progress.start(cmd.ErrOrStderr(), "verifying "+store.Base(b.Path), b.Size, &meter)
		err := backup.ProveKnown(ctx, p.place, b, open)
		hide()
		if memory == nil || b.State == backup.Signed && !o.Open.Ledger.Has(b) { // of which nobody here knows that it opens
			return err
		}
		memory.Learn(b, err, programVersion())
		if time.Since(saved) > saveEvery {
			save()
		}
		return err
	}
	return save
}

func (p *pruneCommand) done(ctx context.Context, cmd *cobra.Command, s *audit.Session, b *backup.Backup, d prune.Decision, err error) error {
	if b.State == backup.Bad && b.Err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: %v\n", printable(b.Path), b.Err)
	}
	line := pruned{listing: listed(b), Action: d.Action, Because: d.Reason}
	if d.Action == prune.Delete && p.apply {
		s.Note(ctx, audit.Record{
			Path: b.Path, BackupID: b.ID.String(), Name: b.Name, Kind: b.Kind, KeyIDs: audit.IDs(b.Keys...), Fault: err,
			Detail: "deleting " + page.BytesText(b.Size),
		})
		line.Deleted = err == nil
	}
	if err != nil {
		line.Error = err.Error()
		fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %v\n", err)
	}
	return p.print(cmd, line)
}

func (p *pruneCommand) conclude(cmd *cobra.Command, s *audit.Session, r *prune.Result) error {
	words := fmt.Sprintf("%d kept, %d left alone, %d deleted (%s)", r.Kept, r.Ignored, r.Deleted, page.BytesText(r.Freed))
	if !p.apply {
		words = fmt.Sprintf("%d kept, %d left alone, %d to delete (%s); --apply deletes them", r.Kept, r.Ignored, r.Deleted, page.BytesText(r.Freed))
	}
	if r.Failures > 0 {
		words += fmt.Sprintf(", %d could not be deleted", r.Failures)
	}
	if r.Read > 0 {
		words += fmt.Sprintf("; %s read to prove what stays", page.BytesText(r.Read))
	}
	rec := s.Last()
	rec.Backups, rec.Failures, rec.Detail = r.Backups, r.Failures, words
	if !p.progress.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	switch {
	case r.Failed != nil && r.Deleted == 0 && store.IsStoreFault(r.Failed):
		return fmt.Errorf("no backup could be deleted: %w", r.Failed)
	case r.Unread:
		warn(cmd, "more had to be read than --max-read allows, so that backups were left alone that could go")
		return errSome
	case r.Damaged || r.Failed != nil:
		return errSome
	}
	return unknown(r)
}

// unknown is the error when not one backup is known: when none opens with the keys at
// hand, and this host has sealed none, nor is one signed. Without any key it is
// errSome when some are not.
func unknown(r *prune.Result) error {
	switch b := r.Claimed; {
	case b == nil || r.Known >= backup.Authentic:
		return nil
	case r.Known > backup.Claimed:
		return errSome
	default:
		return fmt.Errorf("no backup opens with the keys at hand, so none is deleted; %s: %w", b.Path, cmp.Or(b.Err, b.Doubt, error(keystore.ErrNone)))
	}
}

type pruned struct {
	listing
	Action  prune.Action `json:"action"`
	Because string       `json:"because"`
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
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%-7s  %s  (%s)\n", word, printable(line.Path), line.Because)
	return stdoutError(err)
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
	f.StringSliceVar(&rules.Kinds, "kind", prune.Kinds, "prune backups of this kind and of no other that is not named; may be repeated")
	f.BoolVar(&p.contracts, "contracts", false, "prune contract snapshots too")
}

func (p *pruneCommand) check(cmd *cobra.Command) error {
	kept, err := conf.RetentionDays()
	if err != nil {
		return err
	}
	if kept > 0 && !cmd.Flags().Changed("keep-within") {
		p.policy.Within = kept
	}
	for _, kind := range p.policy.Kinds {
		if err := envelope.CheckKind(kind); err != nil {
			return usagef("--kind: %w", err)
		}
	}
	if p.contracts {
		p.policy.Kinds = append(slices.Clone(p.policy.Kinds), backup.KindContracts)
	}
	if err := p.fromFile(cmd); err != nil {
		return err
	}
	if rules := p.policy; rules.Within == 0 && rules.Last+rules.Daily+rules.Weekly+rules.Monthly+rules.Yearly == 0 {
		return usagef("no rule keeps anything: if only the newest of each name is to stay, say --keep-last 1")
	}
	return nil
}

// fromFile adds the rules of the file of settings, unless a flag gives one.
func (p *pruneCommand) fromFile(cmd *cobra.Command) error {
	for _, name := range []string{"keep-within", "keep-last", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"} {
		if cmd.Flags().Changed(name) {
			return nil
		}
	}
	rules, err := prune.FromSettings(conf)
	if err != nil {
		return err
	}
	kinds := append(slices.Clone(p.policy.Kinds), sortedKeys(rules.ByKind)...)
	if !cmd.Flags().Changed("kind") {
		slices.Sort(kinds)
		rules.Kinds = slices.Compact(kinds)
	} else {
		rules.Kinds = p.policy.Kinds
	}
	p.policy = rules
	return nil
}

// lockStore keeps other prunes off the store at root: on this host, when it is
// a remote one.
func lockStore(root string) (*fsutil.Lock, error) {
	if store.IsRemote(root) {
		dir, err := history.Dir()
		if err != nil {
			return nil, usage(err)
		}
		return rekey.Take(dir, store.Clean(root))
	}
	lock, err := fsutil.LockFolder(root)
	if err != nil && !errors.Is(err, fsutil.ErrHeld) {
		err = &store.Error{Op: "lock", Path: root, Err: err}
	}
	return lock, err
}

// crashAge is how old an unfinished upload is when no backup can still be
// making it. Tests do not wait that long.
var crashAge = 7 * values.Day

// sweep ends the uploads that a crash left in a bucket, which are paid for and
// shown nowhere.
func (p *pruneCommand) sweep(ctx context.Context, cmd *cobra.Command, root string) error {
	s3, err := bucketOf(root)
	if err != nil {
		return err
	}
	swept, err := s3.Sweep(ctx, root, crashAge, !p.apply)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		warn(cmd, "what crashes left in the bucket is not cleared away: %v", err)
	}
	for _, left := range swept {
		what := "an upload that was never completed"
		if !left.Parts {
			what = "what a writer left behind"
		}
		if left.Err != nil {
			warn(cmd, "%s at %s stays at %s: %v", what, left.Begun.Format(time.RFC3339), printable(left.Path), left.Err)
		} else if !p.progress.quiet {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %s: %s\n", map[bool]string{true: "removed", false: "would remove"}[p.apply], what, printable(left.Path))
		}
	}
	return nil
}
