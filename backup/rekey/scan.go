package rekey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// Scan reads the envelope of every backup under root, by the beginning of each file and not
// by its name, because renamed backups need their keys too. Unreadable ones are returned
// with their error; the error is the context's.
func Scan(ctx context.Context, place store.Store, root string) ([]history.Backup, error) {
	var all []history.Backup
	for b, err := range place.Walk(ctx, root, true) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			at := root
			if fault, ok := errors.AsType[*store.Error](err); ok {
				at, err = fault.Path, fault.Err
			}
			all = append(all, history.Backup{Path: at, Err: err})
			continue
		}
		if b := holdersOf(ctx, place, b); b != nil {
			all = append(all, *b)
		}
	}
	return all, nil
}

// holdersOf reads who opens a backup, by its own slots or the envelope's next to it. It
// returns nil for other files: those without a backup's name that do not begin as one,
// break off in the envelope, or have vanished, as a writer's file does when renamed; and
// for detached envelopes.
func holdersOf(ctx context.Context, place store.Store, file store.Backup) *history.Backup {
	b := &history.Backup{Path: file.Path}
	seen, err := backup.Look(ctx, place, file.Path, backup.Options{})
	if err != nil {
		noBackup := errors.Is(err, os.ErrNotExist) || errors.Is(err, envelope.ErrNotSealed) || errors.Is(err, envelope.ErrTruncated)
		if b.Err = err; !file.Named() && noBackup {
			return nil
		}
		return b
	}
	own, beside := seen.Own, seen.Beside
	if own == nil {
		own = beside
	}
	if strings.HasSuffix(store.Base(file.Path), envelope.DetachedSuffix) && seen.Size == int64(len(own.Bytes())) {
		return nil // no more than the envelope
	}
	b.Created, b.Keys, b.Recipients = own.Created, own.KeyIDs(), own.Recipients()
	switch {
	case seen.BesideErr != nil:
		b.Err = seen.BesideErr
	case beside != nil && beside.ID != own.ID:
		b.Err = fmt.Errorf("%s%s: %w", file.Path, envelope.DetachedSuffix, envelope.ErrPreamble)
	case beside != nil:
		b.Own = own.KeyIDs()
		b.Keys = append(b.Keys, beside.KeyIDs()...)
		b.Recipients = append(b.Recipients, beside.Recipients()...)
	}
	return b
}
