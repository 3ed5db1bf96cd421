package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// changing changes for which keys backups are sealed: what rewrap and reencrypt
// have in common. begin comes first, then run, and close at the end.
type changing struct {
	keys      changedKeyFlags
	progress  progressFlags
	shardText string
	workers   countFlag
	dryRun    bool
	json      bool
	stateDir  string // the folder of locks and of what is done
	stateFile string // the file of what is done, if it is to be another one

	verb, done string // "rewrap" and "rewrapped"
	passes     int64  // how often each byte of a backup is read
	keyless    bool   // nothing is opened with a key
	// find is [backup.Find], unless it is set.
	find func(ctx context.Context, place store.Store, paths []string) ([]backup.Backup, bool, error)

	place store.Store
	shard backup.Shard
	ring  *keystore.Ring // opens
	to    []*kek.Key     // the keys of --to
	meter backup.Meter
}

const maxWorkers = 64

func (c *changing) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
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
	if c.stateDir == "" {
		if c.stateDir, err = history.Dir(); err != nil {
			return usage(err)
		}
	}
	targets, err := c.keys.targets()
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := c.apart(cmd, targets, path); err != nil {
			return err
		}
	}
	c.ring = keystore.NewRing()
	if !c.keyless {
		if c.ring, err = c.keys.from.ring(); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	// All are fetched before the workers start; with several, one may do.
	_, fault := c.ring.Current(cmd.Context())
	switch {
	case fault == nil || c.keyless:
	case len(c.ring.Sources()) < 2 || cmd.Context().Err() != nil:
		return fmt.Errorf("loading the key: %w", fault)
	default:
		warn(cmd, "%v; what needs this key is not changed", fault)
	}
	if c.to, err = c.keys.provenKeys(cmd.Context()); err != nil {
		return err
	}
	seen := make(map[kek.ID]bool)
	for _, k := range c.to {
		if seen[k.ID()] {
			return usagef("--to: %w: %s", envelope.ErrSameKey, k.ID())
		}
		seen[k.ID()] = true
	}
	return nil
}

// apart refuses a new key, and a state folder, that would stand with the backups
// at path, and warns of an old key that does.
func (c *changing) apart(cmd *cobra.Command, targets []keystore.Source, path string) error {
	if store.IsRemote(path) {
		return nil
	}
	folder := path
	info, err := os.Stat(path)
	isFolder := err == nil && info.IsDir()
	if !isFolder {
		folder = filepath.Dir(path)
	}
	for _, src := range targets {
		if err := keystore.CheckApart(src, folder); err != nil {
			return fmt.Errorf("checking where the new key stands: %w", err)
		}
	}
	// The default may well be below the folder of a file, such as that of the user.
	if err := history.CheckApart(c.stateDir, folder); err != nil && (isFolder || cmd.Flags().Changed("state-dir")) {
		return usagef("locks and state do not belong beside backups: give --state-dir a folder elsewhere: %w", err)
	}
	if c.stateFile != "" && history.CheckApart(filepath.Dir(c.stateFile), folder) != nil {
		return usagef("--state: %s would stand with the backups in %s: name a file elsewhere", c.stateFile, folder)
	}
	if c.keyless {
		return nil
	}
	sources, err := c.keys.from.sources()
	if err == nil {
		warnPlacement(cmd, sources, folder)
	}
	return err
}

// close wipes the keys.
func (c *changing) close() {
	c.ring.Close()
	wipeKeys(c.to)
}

// shardOf reads --shard, or takes the part of a Kubernetes job.
func shardOf(text string) (backup.Shard, error) {
	if text != "" {
		s, err := backup.ParseShard(text)
		if err != nil {
			return s, usagef("--shard: %w", err)
		}
		return s, nil
	}
	index := os.Getenv("JOB_COMPLETION_INDEX")
	if index == "" {
		return backup.Shard{}, nil
	}
	s, err := backup.ShardFromJob(index, os.Getenv("JOB_COMPLETIONS"))
	if err != nil {
		return s, usage(err)
	}
	return s, nil
}

// changeTally is what came of all backups.
type changeTally struct {
	changed, skipped int
	failed           []string
	err              error // the last failure
}

// run calls one for each backup at the paths that is part of the shard, and
// tells what came of it in order. One backup that fails does not stop the others.
func (c *changing) run(cmd *cobra.Command, paths []string, one func(context.Context, store.Backup) (rekey.Result, error)) error {
	find := backup.Find
	if c.find != nil {
		find = c.find
	}
	items, several, err := find(cmd.Context(), c.place, paths)
	if err != nil {
		return fmt.Errorf("looking for the backups: %w", err)
	}
	// By path and not by id: reencrypt gives new ids.
	items = slices.DeleteFunc(items, func(i backup.Backup) bool { return !c.shard.Has(i.Path) })
	var total int64
	for _, item := range items {
		total += item.Size * c.passes
	}
	type outcome struct {
		rekey.Result
		err error
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	var t changeTally
	hide := c.progress.start(cmd.ErrOrStderr(), c.verb, total, &c.meter)
	err = parallel.Each(ctx, int(c.workers), len(items), func(ctx context.Context, i int) outcome {
		if items[i].Err != nil {
			c.record(cmd, items[i].Path, rekey.Result{}, items[i].Err)
			return outcome{err: items[i].Err}
		}
		if err := checkStdout(); err != nil { // what is done is to be told
			stop(err)
			return outcome{err: err}
		}
		result, err := one(ctx, items[i].Backup)
		c.record(cmd, items[i].Path, result, ending(ctx, err))
		return outcome{result, err}
	}, func(i int, o outcome) {
		if o.err != nil && ctx.Err() != nil {
			return // it was told to stop
		}
		if several && o.err != nil {
			// As for one alone, but the command goes on.
			report(cmd.ErrOrStderr(), fmt.Errorf("%s: %w", printable(items[i].Path), o.err))
		}
		if err := c.tell(cmd, &t, items[i].Path, o.Result, o.err); err != nil {
			stop(err)
		}
	})
	hide()
	rec := recordOf(cmd)
	rec.Backups, rec.Failures = len(items), len(t.failed)
	if len(items) == 0 && err == nil {
		warn(cmd, "there are no backups to %s", c.verb)
	}
	if several || t.err == nil {
		c.sum(cmd, &t)
	}
	switch {
	case err != nil || ctx.Err() != nil:
		return cmp.Or(context.Cause(ctx), err)
	case t.err == nil:
		return nil
	case several:
		return errSome
	}
	return fmt.Errorf("%s: %w", printable(t.failed[0]), t.err)
}

// changedLine is what is told of one backup with --json.
type changedLine struct {
	Path    string     `json:"path"`
	Outcome string     `json:"outcome"` // rewrapped, reencrypted, imported, skipped, failed or planned
	Reason  string     `json:"reason,omitempty"`
	Error   string     `json:"error,omitempty"`
	Code    int        `json:"exit_code"`
	OldID   string     `json:"old_id,omitempty"`
	ID      string     `json:"id,omitempty"`
	Kind    string     `json:"kind,omitempty"`
	Name    string     `json:"name,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	OldKeys []kek.ID   `json:"old_key_ids,omitempty"`
	Keys    []kek.ID   `json:"key_ids,omitempty"`
	Size    int64      `json:"size,omitempty"`
	SHA256  string     `json:"sha256,omitempty"`
	Made    string     `json:"made,omitempty"`
	Warning []string   `json:"warnings,omitempty"`
}

// record records what became of one backup, at once: the program may be killed
// while others, which are told first, still go on.
func (c *changing) record(cmd *cobra.Command, path string, r rekey.Result, fault error) {
	rec := audit.Record{Path: path, BytesOut: r.Size, Detail: r.Skipped, Fault: fault}
	if r.Old != nil {
		describe(&rec, r.Old, r.Old.KeyIDs()...)
		rec.OldIDs = rec.KeyIDs
	}
	if r.New != nil {
		describe(&rec, r.New, r.New.KeyIDs()...)
	}
	recordBackup(cmd, rec)
}

// tell prints what became of one backup.
func (c *changing) tell(cmd *cobra.Command, t *changeTally, path string, r rekey.Result, fault error) error {
	line := changedLine{Path: path, Outcome: c.done, Reason: r.Skipped, Size: r.Size, SHA256: r.SHA256, Warning: r.Warnings, Made: r.Made}
	switch {
	case fault != nil:
		t.failed, t.err = append(t.failed, path), fault
		line.Outcome, line.Error = "failed", fault.Error()
		line.Code, _ = verdict(fault)
	case r.Skipped != "":
		t.skipped++
		line.Outcome = "skipped"
	case c.dryRun:
		t.changed++
		line.Outcome = "planned"
	default:
		t.changed++
	}
	if e := r.Old; e != nil {
		line.OldID, line.OldKeys = e.ID.String(), e.KeyIDs()
	}
	for _, e := range []*envelope.Envelope{r.Old, r.New} {
		if e != nil {
			line.ID, line.Kind, line.Name, line.Created, line.Keys = e.ID.String(), e.Kind, e.Name, &e.Created, e.KeyIDs()
		}
	}
	for _, words := range r.Warnings {
		warn(cmd, "%s: %s", printable(path), words)
	}
	if c.json {
		return writeJSON(cmd.OutOrStdout(), line)
	}
	words := ""
	switch {
	case r.Skipped != "":
		words = "  (" + r.Skipped + ")"
	case c.dryRun && r.Old != nil:
		words = fmt.Sprintf("  (sealed for key %s)", joinIDs(line.OldKeys))
	case r.Made != "":
		words = "  -> " + printable(r.Made)
	case r.New != nil:
		words = fmt.Sprintf("  (id %s, for key %s)", line.ID, joinIDs(line.Keys))
	}
	outcome := line.Outcome
	if fault != nil {
		outcome, words = "FAILED", ""
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%-11s  %s%s\n", outcome, printable(path), words)
	return stdoutError(err)
}

// sum says how it went as a whole, and names again what failed.
func (c *changing) sum(cmd *cobra.Command, t *changeTally) {
	if c.progress.quiet {
		return
	}
	done := c.done
	if c.dryRun {
		done = "to " + c.verb
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d %s, %d skipped, %d failed\n", t.changed, done, t.skipped, len(t.failed))
	for _, path := range t.failed {
		fmt.Fprintf(cmd.ErrOrStderr(), "  failed: %s\n", printable(path))
	}
}
