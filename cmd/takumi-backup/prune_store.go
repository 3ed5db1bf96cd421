package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

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
var crashAge = 7 * day

// sweep ends the uploads that a crash left in a bucket, which are paid for and
// shown nowhere.
func (p *pruneCommand) sweep(cmd *cobra.Command, root string) error {
	_, server, err := store.SplitURL(root)
	if err != nil {
		return err
	}
	s3, err := placeFlags{}.s3(server)
	if err != nil {
		return err
	}
	swept, err := s3.Sweep(cmd.Context(), root, crashAge, !p.apply)
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
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
