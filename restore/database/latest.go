package database

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Latest returns the newest backup of a database in and under folder that is authentic
// to its end, and those that are newer and were passed over, each with its Err. That
// there is none is an error.
func Latest(ctx context.Context, st store.Store, folder, database string, o backup.Options) (found *backup.Backup, passed []backup.Backup, err error) {
	list, err := backup.List(ctx, st, folder, o)
	if err != nil {
		return nil, nil, fmt.Errorf("looking for backups: %w", err)
	}
	name, future := backup.FileNameOf(database)+"_db", time.Now().Add(prune.Skew)
	found, passed, err = backup.Latest(ctx, st, list, func(b *backup.Backup) bool {
		series, dump := strings.CutSuffix(b.Series(), ".sql")
		if !dump {
			series, dump = strings.CutSuffix(series, ".dump")
		}
		return dump && series == name && b.Kind == backup.KindDatabase && b.Created.Before(future)
	}, o)
	if err != nil {
		return nil, passed, fmt.Errorf("looking for the newest backup: %w", err)
	}
	if found == nil {
		err = fmt.Errorf("there is no backup %s_* in %s that is whole and authentic", name, folder)
		if len(passed) > 0 && passed[0].Err != nil {
			err = fmt.Errorf("%w; the newest: %w", err, passed[0].Err)
		}
	}
	return found, passed, err
}
