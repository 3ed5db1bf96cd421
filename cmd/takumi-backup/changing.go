package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// changing changes for which keys backups are sealed: what rewrap and reencrypt
// have in common. begin comes first, then run, and close at the end.
type changing struct {
	keys      changedKeyFlags
	progress  progressFlags
	shardText string
	workers   values.Count
	dryRun    bool
	json      bool
	stateDir  string // the folder of locks and of what is done
	stateFile string // the file of what is done, if it is to be another one

	verb, done string // "rewrap" and "rewrapped"
	passes     int64  // how often each byte of a backup is read
	keyless    bool   // nothing is opened with a key
	// find is [backup.Find], unless it is set.
	find func(ctx context.Context, place store.Store, paths []string) ([]backup.Backup, bool, error)

	place  store.Store
	shard  backup.Shard
	ring   *keystore.Ring // opens
	toRing *keystore.Ring // of --to, -r and -R
	to     []slot.Recipient
	meter  backup.Meter
}

const maxWorkers = 64

func (c *changing) add(cmd *cobra.Command) {
	f := cmd.Flags()
	c.keys.add(cmd)
	c.workers = 2
	f.Var(&c.workers, "workers", fmt.Sprintf("how many backups are worked on at once, at most %d", maxWorkers))
	f.Lookup("workers").DefValue = "2"
	f.StringVar(&c.shardText, "shard", "", "work on the I-th of N parts of the backups, as I/N (default: that of $JOB_COMPLETION_INDEX and $JOB_COMPLETIONS, or all)")
	f.StringVar(&c.stateDir, "state-dir", "", "folder of locks and of what is done (default: that of key history)")
	f.BoolVar(&c.dryRun, "dry-run", false, "open and authenticate, say what would be done, and change nothing")
	f.BoolVar(&c.json, "json", false, "print one JSON object per backup and line")
	c.progress.add(cmd)
}

// begin checks the flags, fetches the keys, and proves those of --to before any
// backup is touched. paths is where backups stand, or will.
func (c *changing) begin(cmd *cobra.Command, paths []string) (err error) {
	c.place = newPlace()
	if c.workers < 1 || c.workers > maxWorkers {
		return usagef("--workers is %d, not a number from 1 to %d", c.workers, maxWorkers)
	}
	if c.shard, err = shardOf(c.shardText); err != nil {
		return err
	}
	if c.stateDir, err = stateDirOr(c.stateDir); err != nil {
		return err
	}
	c.ring, c.toRing = keystore.NewRing(), keystore.NewRing()
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	toRing, err := c.keys.target()
	if err != nil {
		return err
	}
	c.toRing = toRing
	if !c.keyless {
		from, err := c.keys.from.ring()
		if err != nil {
			return err
		}
		c.ring = from
	}
	for _, path := range paths {
		if err := c.checkOutside(cmd, path); err != nil {
			return err
		}
	}
	// All are fetched before the workers start; with several, one may do.
	_, fault := c.ring.Current(cmd.Context())
	switch {
	case fault == nil || c.keyless:
	case c.ring.Ways() < 2 || cmd.Context().Err() != nil:
		return fmt.Errorf("loading the key: %w", fault)
	default:
		warn(cmd, "%v; what needs this key is not changed", fault)
	}
	c.to, err = rekey.CheckedRecipients(cmd.Context(), c.toRing)
	return err
}

// checkOutside refuses a new key, and a state folder, that would be with the backups at
// path, and warns of an old key that is.
func (c *changing) checkOutside(cmd *cobra.Command, path string) error {
	folder, err := rekey.CheckOutside(path, c.toRing.Places(), c.stateDir, cmd.Flags().Changed("state-dir"), c.stateFile)
	if err != nil || folder == "" || c.keyless {
		return err
	}
	warnPlacement(cmd, c.ring.Places(), folder)
	return nil
}

func (c *changing) close() {
	c.ring.Close()
	c.toRing.Close()
}

func shardOf(text string) (backup.Shard, error) {
	if text != "" {
		s, err := backup.ParseShard(text)
		if err != nil {
			return s, usagef("--shard: %w", err)
		}
		return s, nil
	}
	index := conf.Get("JOB_COMPLETION_INDEX")
	if index == "" {
		return backup.Shard{}, nil
	}
	s, err := backup.ShardFromJob(index, conf.Get("JOB_COMPLETIONS"))
	if err != nil {
		return s, usage(err)
	}
	return s, nil
}

// run calls one for each backup at the paths that is part of the shard, and tells
// what came of it in order.
func (c *changing) run(cmd *cobra.Command, paths []string, one func(ctx context.Context, path string) (rekey.Result, error)) error {
	several, hide := len(paths) > 1, func() {}
	course := rekey.Batch{Store: c.place, Paths: paths, Shard: c.shard, Workers: int(c.workers), One: one}
	course.Find = func(ctx context.Context, place store.Store, paths []string) (found []backup.Backup, _ bool, err error) {
		find := backup.Find
		if c.find != nil {
			find = c.find
		}
		found, several, err = find(ctx, place, paths)
		return found, several, err
	}
	t, err := course.Run(cmd.Context(), rekey.Observer{
		Found: func(found []backup.Backup) {
			var total int64
			for _, b := range found {
				total += b.Size * c.passes
			}
			hide = c.progress.start(cmd.ErrOrStderr(), c.verb, total, &c.meter)
		},
		Ready: checkStdout, // what is done is to be told
		Done: func(ctx context.Context, path string, r rekey.Result, err error) {
			c.record(cmd, path, r, harden.Ending(ctx, err))
		},
		Result: func(path string, r rekey.Result, err error) error {
			if several && err != nil {
				// As for one alone, but the command goes on.
				report(cmd.ErrOrStderr(), fmt.Errorf("%s: %w", printable(path), err))
			}
			return c.tell(cmd, path, r, err)
		},
	})
	hide()
	rec := recordOf(cmd)
	rec.Backups, rec.Failures = t.Found, len(t.Failed)
	if t.Found == 0 && err == nil {
		warn(cmd, "there are no backups to %s", c.verb)
	}
	if t.Found > 0 && (several || t.Last == nil) || err == nil && t.Last == nil {
		c.sum(cmd, t)
	}
	switch {
	case err != nil || t.Last == nil:
		return err
	case several:
		return errSome
	}
	return fmt.Errorf("%s: %w", printable(t.Failed[0]), t.Last)
}

// record records what became of one backup, at once: the program may be killed
// while others, which are told first, still go on.
func (c *changing) record(cmd *cobra.Command, path string, r rekey.Result, fault error) {
	rec := audit.Record{Path: path, BytesOut: r.Size, Detail: r.Skipped, Fault: fault}
	if r.Old != nil {
		describe(&rec, r.Old, r.Old.Holders()...)
		rec.OldIDs = rec.KeyIDs
	}
	if r.New != nil {
		describe(&rec, r.New, r.New.Holders()...)
	}
	recordBackup(cmd, rec)
}

func (c *changing) tell(cmd *cobra.Command, path string, r rekey.Result, fault error) error {
	path = redact.Path(path, fault)
	line := r.Line(path, c.done, c.dryRun)
	if fault != nil {
		line.Outcome, line.Error = "failed", redact.Error(fault)
		line.Code, _ = verdict(fault)
	}
	for _, words := range r.Warnings {
		warn(cmd, "%s: %s", printable(path), words)
	}
	if c.json {
		return writeJSON(cmd.OutOrStdout(), line)
	}
	words := r.Words(c.dryRun)
	outcome := line.Outcome
	if fault != nil {
		outcome, words = "FAILED", ""
	}
	return printf(cmd, "%-11s  %s%s\n", outcome, printable(path), words)
}

// sum says how it went as a whole, and names again what failed.
func (c *changing) sum(cmd *cobra.Command, t rekey.Tally) {
	if c.progress.quiet {
		return
	}
	done := c.done
	if c.dryRun {
		done = "to " + c.verb
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d %s, %d skipped, %d failed\n", t.Changed, done, t.Skipped, len(t.Failed))
	for _, path := range t.Failed {
		fmt.Fprintf(cmd.ErrOrStderr(), "  failed: %s\n", redact.Keys(printable(path)))
	}
}

func newRewrap() *cobra.Command {
	c := &changing{verb: "rewrap", done: "rewrapped"}
	var o rekey.RewrapOptions
	cmd := &cobra.Command{
		Use:   "rewrap [flags] PATH...",
		Short: "Change the keys that open backups",
		Long: `Give each backup at PATH, a file or a folder, a slot for every key of --to and every recipient
of -r and -R, in the place of those that it has. Slots for other keys go, unless --keep-old is
given; slots of another type stay, unless new ones of that type are named.

This is for scheduled changes of keys: whoever has an old key and an old copy can open
that for ever. When a key may be in other hands, use reencrypt.

Each file is written anew next to the old one, checked, and replaces it; killed at any
moment, the same command finishes. A file must match its sidecar; --rescue takes any
file, and makes a damaged envelope whole. With --detached, for storage that is written once,
the file stays, and FILE.envelope is part of the backup from then on.`,
		Example: `  takumi-backup key rotate --key file:/etc/takumi-backup/backup.key
  takumi-backup rewrap /var/backups/takumi --from file:/etc/takumi-backup/backup.key --to file:/etc/takumi-backup/backup.key
  takumi-backup rewrap /var/backups/takumi -R /etc/takumi-backup/recipients
  takumi-backup rewrap --dry-run --json s3://backups/takumi --to vault:secret/takumi/production/backup-encryption`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.begin(cmd, args); err != nil {
				return err
			}
			defer c.close()
			o.Store, o.StateDir, o.From, o.To, o.DryRun, o.Meter = c.place, c.stateDir, c.ring, c.to, c.dryRun, &c.meter
			if !o.Detached && !o.DryRun {
				c.passes = 1
			}
			return c.run(cmd, args, func(ctx context.Context, path string) (rekey.Result, error) { return rekey.Rewrap(ctx, path, o) })
		},
	}
	c.add(cmd)
	f := cmd.Flags()
	f.Lookup("dry-run").Usage = "open and authenticate, look that the sidecar has a good form, say what would be done, and change nothing; the file is not compared with its sidecar"
	f.BoolVar(&o.KeepOld, "keep-old", false, "keep the slots that the backups have now")
	f.BoolVar(&o.DropOther, "drop-other", false, "drop all slots that are not for keys, except the new ones")
	f.BoolVar(&o.Detached, "detached", false, "leave the file untouched for good, and the new envelope next to it: for storage that is written once")
	f.BoolVar(&o.Rescue, "rescue", false, "heal a damaged envelope, with what of it still opens")
	return audited(cmd, "rewrap", changes)
}

// noCommand is what the program says to words that are none of its commands.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && args[0] == "rotate" {
		return usagef("rotate is not a command: takumi-backup rewrap changes the keys of backups on schedule, and takumi-backup reencrypt after a compromise, when rewrapping is not enough; takumi-backup key rotate makes the new key")
	}
	return cobra.NoArgs(cmd, args)
}
