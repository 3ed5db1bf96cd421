package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// exchangeTime bounds the exchange, which a signal no longer stops: it is a
// matter of milliseconds, or of the five seconds that the server waits for
// sessions to end.
const exchangeTime = 12 * time.Second

// rehearse does what the exchange will do to the new database by itself, and
// takes it back: that a right is missing is better known before the hours of a
// restore than after.
func (r *Restore) rehearse(ctx context.Context) error {
	if r.live == nil || r.o.Into != "" {
		return nil
	}
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("rehearsing the exchange: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	return r.live.give(ctx, tx, r.plan.New)
}

// exchange gives the new database its name, and the former another one, in one
// transaction.
func (r *Restore) exchange(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime)
	defer cancel()
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	text := ""
	if r.live != nil {
		if err := r.live.give(ctx, tx, r.plan.New); err != nil {
			return err
		}
		// A former that was renamed back by hand has the comment of one still.
		if r.live.comment != nil && *r.live.comment != former(r.plan.Target) {
			text = *r.live.comment
		}
		if err := r.moveAway(ctx, tx); err != nil {
			return err
		}
		if err := comment(ctx, tx, r.plan.Before, former(r.plan.Target)); err != nil {
			return err
		}
	}
	if err := rename(ctx, tx, r.plan.New, r.plan.Target); err != nil {
		return err
	}
	limit := -1
	if r.live != nil {
		limit = r.live.limit
	}
	if _, err := tx.Exec(ctx, fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d", postgres.Quote(r.plan.Target), limit)); err != nil {
		return err
	}
	if err := comment(ctx, tx, r.plan.Target, text); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// moveAway renames the live database. Renaming first locks newcomers out, then
// waits for whoever is connected; they are told to go meanwhile, from another
// connection.
func (r *Restore) moveAway(ctx context.Context, tx execer) error {
	other, err := r.admin.Connect(ctx)
	if err != nil {
		return err
	}
	defer other.Close(ctx)
	renamed := make(chan error, 1)
	go func() { renamed <- rename(ctx, tx, r.plan.Target, r.plan.Before) }()
	var refused error
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-renamed:
			if err != nil {
				return errors.Join(err, refused)
			}
			return nil
		case <-tick.C:
			_, refused = other.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datid = $1", r.live.oid)
			if refused != nil {
				refused = fmt.Errorf("ending its connections: %w", refused)
			}
		}
	}
}

func rename(ctx context.Context, conn execer, from, to string) error {
	_, err := conn.Exec(ctx, "ALTER DATABASE "+postgres.Quote(from)+" RENAME TO "+postgres.Quote(to))
	return err
}
