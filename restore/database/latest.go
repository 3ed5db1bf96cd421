package database

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// ErrNoRows excludes a dump of the schema alone as the latest backup.
var ErrNoRows = fail.New(fail.Failed, "name the file to restore it all the same", "it makes tables and has no rows: it is a dump of the schema alone")

// Latest returns the newest backup of a database under folder that is authentic to its end,
// whole and has rows, and its contents; newer ones are passed over with a warning of o. It
// fails when there is none. unguarded skips the guard.
func Latest(ctx context.Context, st store.Store, folder, database string, o backup.Options, unguarded bool) (*backup.Backup, *guard.Contents, error) {
	list, err := backup.List(ctx, st, folder, o)
	if err != nil {
		return nil, nil, fmt.Errorf("looking for backups: %w", err)
	}
	judge := judge{unguarded: unguarded, rows: true}
	o.Content = judge.read
	name, future := backup.FileNameOf(database)+"_db", time.Now().Add(prune.Skew)
	found, passed, err := backup.Latest(ctx, st, list, func(b *backup.Backup) bool {
		series, dump := strings.CutSuffix(b.Series(), ".sql")
		if !dump {
			series, dump = strings.CutSuffix(series, ".dump")
		}
		return dump && series == name && b.Kind == backup.KindDatabase && b.Created.Before(future)
	}, o, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("looking for the newest backup: %w", err)
	}
	if found == nil {
		err = fmt.Errorf("there is no backup %s_* in %s that is whole and authentic", name, folder)
		if passed != nil {
			err = fmt.Errorf("%w; the newest: %w", err, passed)
		} else {
			err = fail.As(fail.Failed, "set DB_NAME to the database of the backup, or name the file: takumi-backup list shows what there is", err)
		}
	}
	return found, judge.contents, err
}

type judge struct {
	unguarded bool // it need not be whole
	rows      bool // it has to have some
	contents  *guard.Contents
}

func (j *judge) read(content io.Reader) error {
	j.contents = nil
	const enough = 256 << 10 // to unpack a head
	input := bufio.NewReaderSize(content, enough)
	raw, err := input.Peek(enough)
	if err != nil && err != io.EOF {
		return err
	}
	if begins, packed, err := unpacked(bufio.NewReader(bytes.NewReader(raw))); err == nil {
		if head, _ := begins.Peek(headSize); len(head) > 0 { // with an error the guard finds it too
			if err := restorable(head, packed); err != nil {
				return err
			}
		}
	}
	g := guard.NewReader(input, guard.Options{})
	defer g.Close()
	if _, err := io.Copy(io.Discard, g); err != nil {
		if incomplete := (*guard.IncompleteError)(nil); !errors.As(err, &incomplete) {
			return err
		} else if !j.unguarded {
			return fmt.Errorf("%w: %s", ErrIncomplete, incomplete)
		}
		return nil
	}
	j.contents = g.Contents()
	if c := j.contents; j.rows && c != nil && c.Makes > 0 && !c.Rows {
		return ErrNoRows
	}
	return nil
}
