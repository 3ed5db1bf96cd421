package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// copies is a backup on its way into several stores at once. One that fails does
// not stop the others, be it the first.
type copies []*oneCopy

type oneCopy struct {
	path string
	w    store.Writer // nil when it could not be begun
	err  error
}

// withCopies begins, beside the file at path that was begun already, or whose
// store failed, one of its name in each of the further stores. Without any it is
// that file alone.
func withCopies(ctx context.Context, place store.Store, first store.Writer, fault error, path string, also []string, folder string) (target, error) {
	if len(also) == 0 || fault != nil && !store.IsStoreFault(fault) {
		return first, fault
	}
	all := copies{{path: path, w: first, err: fault}}
	for _, root := range also {
		c := &oneCopy{path: store.Join(root, folder, store.Base(path))}
		c.w, c.err = place.Create(ctx, c.path, store.Options{Sidecar: true, Parents: true})
		all = append(all, c)
	}
	if ctx.Err() != nil {
		_ = all.Abort()
		return nil, context.Cause(ctx)
	}
	return all, all.fault()
}

// Write fails when no store takes the backup any more.
func (cs copies) Write(p []byte) (int, error) {
	for _, c := range cs {
		if c.err != nil {
			continue
		}
		if _, c.err = c.w.Write(p); c.err != nil {
			_ = c.w.Abort() // the write's error says more
		}
	}
	return len(p), cs.fault()
}

// fault is the errors of all stores, if each has one.
func (cs copies) fault() error {
	var all []error
	for _, c := range cs {
		if c.err == nil {
			return nil
		}
		all = append(all, c.err)
	}
	return errors.Join(all...)
}

// Commit returns the first of those that succeed.
func (cs copies) Commit() (first store.Result, err error) {
	for _, c := range cs {
		if c.err != nil {
			continue
		}
		var r store.Result
		if r, c.err = c.w.Commit(); c.err == nil && first.Path == "" {
			first = r
		}
	}
	return first, cs.fault()
}

// Abort takes back those that were not committed.
func (cs copies) Abort() (first error) {
	for _, c := range cs {
		if c.w == nil {
			continue
		}
		if err := c.w.Abort(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// copiesOutcome tells which stores have the backup and which do not: then some
// of several failed.
func copiesOutcome(cmd *cobra.Command, t target) error {
	cs, ok := t.(copies)
	if !ok {
		return nil
	}
	failed := false
	for _, c := range cs {
		if c.err != nil {
			failed = true
			report(cmd.ErrOrStderr(), fmt.Errorf("the backup is not at %s: %w", c.path, c.err))
		}
	}
	if !failed {
		return nil
	}
	for _, c := range cs {
		if c.err == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: the backup is complete at %s\n", c.path)
		}
	}
	return errSome
}
