package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// Lock keeps other runs off the store at root, for a remote one only those of this host.
// The caller releases it.
func Lock(root string) (*rekey.Lock, error) {
	if store.IsRemote(root) {
		dir, err := history.Dir()
		if err != nil {
			return nil, err
		}
		return rekey.Take(dir, store.Clean(root))
	}
	lock, err := fsutil.LockFolder(root)
	if err != nil && !errors.Is(err, fsutil.ErrHeld) {
		err = &store.Error{Op: "lock", Path: root, Err: err}
	}
	return lock, err
}

// CrashAge is the age at which no backup can still be making an unfinished upload. A
// variable for tests.
var CrashAge = 7 * values.Day

// Sweep aborts uploads that a crash left in a bucket, which cost money and are invisible;
// with dry it only reports them. The error is the context's.
func Sweep(ctx context.Context, s3 *stores.Bucket, root string, dry bool, warn, say func(format string, args ...any)) error {
	swept, err := s3.Sweep(ctx, root, CrashAge, dry)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		warn("what crashes left in the bucket is not cleared away: %v", err)
	}
	for _, left := range swept {
		what := "an upload that was never completed"
		if !left.Parts {
			what = "what a writer left behind"
		}
		if left.Err != nil {
			warn("%s at %s stays at %s: %v", what, left.Begun.Format(time.RFC3339), store.Printable(left.Path), left.Err)
		} else {
			say("%s %s: %s", map[bool]string{true: "would remove", false: "removed"}[dry], what, store.Printable(left.Path))
		}
	}
	return nil
}

// Words say how the run went; applied whether it deleted, or only showed.
func (r *Result) Words(applied bool) string {
	verb, hint := "deleted", ""
	if !applied {
		verb, hint = "to delete", "; --apply deletes them"
	}
	words := fmt.Sprintf("%d kept, %d left alone, %d %s (%s)%s", r.Kept, r.Ignored, r.Deleted, verb, values.BytesText(r.Freed), hint)
	if r.Failures > 0 {
		words += fmt.Sprintf(", %d could not be deleted", r.Failures)
	}
	if r.Read > 0 {
		words += fmt.Sprintf("; %s read to prove what stays", values.BytesText(r.Read))
	}
	return words
}

// Err is [fail.ErrSome] when something failed, and another error when everything did: no
// deletion succeeded, or no backup opens with the keys at hand, is known to this host, or
// is signed.
func (r *Result) Err() error {
	switch b := r.Claimed; {
	case r.Failed != nil && r.Deleted == 0 && store.IsStoreFault(r.Failed):
		return fmt.Errorf("no backup could be deleted: %w", r.Failed)
	case r.Unread || r.Damaged || r.Failed != nil:
		return fail.ErrSome
	case b == nil || r.Known >= backup.Authentic:
		return nil
	case r.Known > backup.Claimed:
		return fail.ErrSome
	default:
		return fmt.Errorf("no backup opens with the keys at hand, so none is deleted; %s: %w", b.Path, cmp.Or(b.Err, b.Doubt, error(keystore.ErrNone)))
	}
}
