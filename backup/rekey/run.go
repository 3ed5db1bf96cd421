package rekey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// Batch is a change of many backups.
type Batch struct {
	Store store.Store
	Paths []string // of backups, and of folders with backups in and under them
	// Shard is the part of the backups to work on.
	Shard   backup.Shard
	Workers int
	// Find lists the backups at the paths; nil is [backup.Find].
	Find func(ctx context.Context, st store.Store, paths []string) ([]backup.Backup, bool, error)
	// One changes the backup at path.
	One func(ctx context.Context, path string) (Result, error)
}

// Observer follows a batch. All functions must be set.
type Observer struct {
	// Found comes first: what there is to do.
	Found func(found []backup.Backup)
	// Ready is asked before each backup; its error ends the batch.
	Ready func() error
	// Done comes as soon as a backup is through, on any goroutine.
	Done func(ctx context.Context, path string, r Result, err error)
	// Result gets each result in the order of Found, sequentially; its error ends the batch.
	Result func(path string, r Result, err error) error
}

// Tally is the outcome of a batch.
type Tally struct {
	Found, Changed, Skipped int
	Failed                  []string // the paths
	Last                    error    // of the last that failed
}

// Run goes through the backups of a batch. A failure does not stop the others and is in
// the Tally. The error means that nothing was found out, or that the context, Ready or Result
// ended the batch.
func (c Batch) Run(ctx context.Context, o Observer) (Tally, error) {
	find := c.Find
	if find == nil {
		find = backup.Find
	}
	found, _, err := find(ctx, c.Store, c.Paths)
	if err != nil {
		return Tally{}, fmt.Errorf("looking for the backups: %w", err)
	}
	found = slices.DeleteFunc(found, func(b backup.Backup) bool { return !c.Shard.Has(b.Path) })
	t := Tally{Found: len(found)}
	o.Found(found)
	type outcome struct {
		Result
		err error
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	_ = parallel.Each(ctx, c.Workers, len(found), func(ctx context.Context, i int) outcome {
		out := outcome{err: found[i].Err}
		if passed, ok := errors.AsType[passedOver](out.err); ok {
			out.Skipped, out.err = passed.Error(), nil
		} else if out.err == nil {
			if err := o.Ready(); err != nil {
				stop(err)
				return outcome{err: err}
			}
			out.Result, out.err = c.One(ctx, found[i].Path)
		}
		o.Done(ctx, found[i].Path, out.Result, out.err)
		return out
	}, func(i int, out outcome) {
		if out.err != nil && ctx.Err() != nil {
			return // it was told to stop
		}
		t.count(found[i].Path, out.Result, out.err)
		if err := o.Result(found[i].Path, out.Result, out.err); err != nil {
			stop(err)
		}
	})
	return t, context.Cause(ctx)
}

func (t *Tally) count(path string, r Result, err error) {
	switch {
	case err != nil:
		t.Failed, t.Last = append(t.Failed, path), err
	case r.Skipped != "":
		t.Skipped++
	default:
		t.Changed++
	}
}

// CheckOutside refuses new keys, a folder of locks, and a state file ("" for none) inside the
// folder of the backups at path. It returns that folder, "" for a bucket. given means that
// the folder of locks is not the default, which may be below the folder of a single file.
func CheckOutside(path string, keys []keystore.Source, stateDir string, given bool, stateFile string) (folder string, err error) {
	if store.IsRemote(path) {
		return "", nil
	}
	folder = path
	info, err := os.Stat(path)
	isFolder := err == nil && info.IsDir()
	if !isFolder {
		folder = filepath.Dir(path)
	}
	for _, src := range keys {
		if err := keystore.CheckOutside(src, folder); err != nil {
			return folder, fmt.Errorf("checking where the new key is kept: %w", err)
		}
	}
	if err := history.CheckOutside(stateDir, folder); err != nil && (isFolder || given) {
		return folder, fail.Usagef("locks and state do not belong with backups: give --state-dir a folder elsewhere: %w", err)
	}
	if stateFile != "" && history.CheckOutside(filepath.Dir(stateFile), folder) != nil {
		return folder, fail.Usagef("--state: %s would be with the backups in %s: name a file elsewhere", stateFile, folder)
	}
	return folder, nil
}
