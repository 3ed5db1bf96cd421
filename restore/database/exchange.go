package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// exchangeTime bounds the exchange, which signals no longer stop: milliseconds, or the five
// seconds that the server waits for sessions to end.
const exchangeTime = 12 * time.Second

// rehearse does to the new database what the exchange will, and rolls it back: a missing
// right should show before the hours of a restore.
func (r *Restore) rehearse(ctx context.Context) error {
	if r.like() == nil {
		return nil
	}
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("rehearsing the exchange: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	return r.like().Give(ctx, tx, r.plan.New)
}

// keepPart renames an incomplete database, next to the live one. Only the restoring role
// has rights in it.
func (r *Restore) keepPart(ctx context.Context) (string, error) {
	name := derived(r.plan.Target, "partial", r.o.Time)
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return "", fmt.Errorf("naming what was restored: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	err = rename(ctx, tx, r.plan.New, name)
	if err == nil {
		_, err = tx.Exec(ctx, "ALTER DATABASE "+postgres.Quote(name)+" CONNECTION LIMIT -1")
	}
	if err == nil {
		err = comment(ctx, tx, name, fmt.Sprintf("takumi-backup: what a restore of %q could restore", r.plan.Target))
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("naming what was restored: %w", err)
	}
	return name, nil
}

// like returns the properties for the restored database: those of the replaced one, or else
// of the manifest. nil is a new database's.
func (r *Restore) like() *postgres.Properties {
	switch {
	case r.live != nil:
		return r.live
	case r.o.Into == "" && r.o.Manifest != nil:
		return r.o.Manifest.Properties
	}
	return nil
}

// exchange swaps the names of the new and the former database, in one transaction.
func (r *Restore) exchange(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime)
	defer cancel()
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	text, limit, template := "", -1, false
	if like := r.like(); like != nil {
		if err := like.Give(ctx, tx, r.plan.New); err != nil {
			return err
		}
		// A former database that was renamed back by hand still has the comment of one.
		if like.Comment != nil && *like.Comment != former(r.plan.Target) {
			text = *like.Comment
		}
		limit, template = like.Limit, like.Template
	} else if _, err := tx.Exec(ctx, "GRANT CONNECT, TEMPORARY ON DATABASE "+postgres.Quote(r.plan.New)+" TO PUBLIC"); err != nil {
		return err // as a new database has them
	}
	if r.live != nil {
		if r.live.Template { // which cannot be dropped
			if _, err := tx.Exec(ctx, "ALTER DATABASE "+postgres.Quote(r.plan.Target)+" IS_TEMPLATE false"); err != nil {
				return err
			}
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
	if _, err := tx.Exec(ctx, fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d", postgres.Quote(r.plan.Target), limit)); err != nil {
		return err
	}
	if template {
		if _, err := tx.Exec(ctx, "ALTER DATABASE "+postgres.Quote(r.plan.Target)+" IS_TEMPLATE true"); err != nil {
			return err
		}
	}
	if err := comment(ctx, tx, r.plan.Target, text); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return r.commitOutcome(err)
	}
	return nil
}

// commitOutcome finds out what became of a commit without an answer or with an error. It returns
// nil when the exchange was done.
func (r *Restore) commitOutcome(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	// The lock comes free when the server process that commits has ended.
	_ = r.conn.Close(ctx)
	conn, err := r.admin.Connect(ctx)
	if err == nil {
		r.conn = conn
		_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_lock($1)", lockKey(r.plan.Target))
	}
	var done bool
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE datname = $1) = 0 AND count(*) FILTER (WHERE datname = $2) = 1
			FROM pg_catalog.pg_database`, r.plan.New, cmp.Or(r.plan.Before, r.plan.Target)).Scan(&done)
	}
	switch {
	case err != nil:
		return errors.Join(fmt.Errorf("%w: %w", ErrUnsettled, cause), fmt.Errorf("looking for what was done: %w", err))
	case !done:
		return cause
	}
	return nil
}

// moveAway renames the live database. Renaming locks newcomers out, then waits for
// sessions, which another connection terminates meanwhile.
func (r *Restore) moveAway(ctx context.Context, tx postgres.Execer) error {
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
			_, refused = other.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datid = $1", r.live.OID)
			if refused != nil {
				refused = fmt.Errorf("ending its connections: %w", refused)
			}
		}
	}
}

func rename(ctx context.Context, conn postgres.Execer, from, to string) error {
	_, err := conn.Exec(ctx, "ALTER DATABASE "+postgres.Quote(from)+" RENAME TO "+postgres.Quote(to))
	return err
}

// makeRoles makes missing roles without any right: the globals bring the real ones.
func (r *Restore) makeRoles(ctx context.Context) error {
	for _, name := range r.plan.Roles {
		if _, err := r.conn.Exec(ctx, "CREATE ROLE "+postgres.Quote(name)+" NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"); err != nil {
			return fmt.Errorf("making role %q: %w", name, err)
		}
		r.o.tell("made role %q, which may not log in and has no password: the backup of the globals has the real one", name)
	}
	return nil
}
