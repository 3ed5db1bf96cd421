package rekey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// reserved calls do while no other writer of this host is at the backup, if it is
// still the one that was opened.
func (j *job) reserved(ctx context.Context, do func() error) error {
	release, err := j.Place.Reserve(ctx, j.path)
	if err != nil {
		return err
	}
	if err = j.unchanged(ctx); err == nil {
		err = do()
	}
	tidying := release()
	if err == nil {
		return tidying
	}
	return also(err, tidying)
}

// settle clears away what a run left that was killed at its very end.
func (j *job) settle(ctx context.Context) error {
	if j.DryRun || store.IsRemote(j.path) {
		return nil
	}
	for _, path := range []string{j.path, j.path + store.SidecarSuffix} {
		if _, err := os.Lstat(local.Partial(path)); err == nil {
			return j.reserved(ctx, func() error { return nil })
		}
	}
	return nil
}

// unchanged looks at both envelopes again.
func (j *job) unchanged(ctx context.Context) error {
	text, err := backup.Beside(ctx, j.Place, j.path)
	if err != nil {
		return err
	}
	same := bytes.Equal(text, j.text) && (text == nil) == (j.text == nil)
	if own := j.w.Own; own != nil && same {
		head, err := j.head(ctx, len(own.Bytes()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		same = bytes.Equal(head, own.Bytes())
	}
	if !same {
		return fmt.Errorf("%s: %w", j.path, store.ErrChanged)
	}
	return nil
}

// detach leaves the new envelope beside the backup.
func (j *job) detach(ctx context.Context) error {
	return j.reserved(ctx, func() error { return j.putBeside(ctx) })
}

func (j *job) putBeside(ctx context.Context) error {
	if err := j.Place.PutBeside(ctx, j.path, envelope.DetachedSuffix, j.New.Bytes()); err != nil {
		return fmt.Errorf("writing the new envelope beside it: %w", err)
	}
	// Pruned meanwhile, it must not leave a stray.
	if _, _, err := j.Place.Stat(ctx, j.path); errors.Is(err, fs.ErrNotExist) {
		return also(fmt.Errorf("%s: %w", j.path, store.ErrChanged), j.removeBeside(ctx))
	}
	return nil
}

func (j *job) removeBeside(ctx context.Context) error {
	if err := j.Place.RemoveBeside(ctx, j.path, envelope.DetachedSuffix, j.New.Bytes()); err != nil {
		return fmt.Errorf("removing what stands beside it: %w", err)
	}
	return nil
}
