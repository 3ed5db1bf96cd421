package database

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// maxName is the longest database name; the server cuts longer ones.
const maxName = 63

// derived returns NAME_WORD_TIME, with the name cut if needed.
func derived(name, word string, at time.Time) string {
	return derivedFrom(name, "_"+word+"_"+at.UTC().Format("20060102_150405"))
}

func derivedFrom(name, tail string) string {
	for len(name) > maxName-len(tail) {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name + tail
}

// halfMade is the comment of a database that will become target.
func halfMade(target string) string {
	return fmt.Sprintf(postgres.OwnMark+"not finished; a restore of %q makes this, and the next one removes what is left of it", target)
}

func former(target string) string {
	return fmt.Sprintf(postgres.OwnMark+"this was %q before a restore; takumi-backup restore database --drop-previous removes it", target)
}

// markColumns of pg_database are what a mark is read from.
const markColumns = "coalesce(pg_catalog.shobj_description(oid, 'pg_database'), ''), datconnlimit"

var stamp = regexp.MustCompile(`_[0-9]{8}_[0-9]{6}$`)

// unfinished reports whether a database has the mark of an unfinished restore of target:
// the comment or, before it is set, the connection limit and the name.
func unfinished(name, comment string, limit int, target string) bool {
	if comment != "" || limit != postgres.OwnLimit {
		return comment == halfMade(target)
	}
	return isDerived(name, target, "restore")
}

// kept reports whether a database is the former target, by comment and name. A renamed one
// is to be kept.
func kept(name, comment, target string) bool {
	return comment == former(target) && isDerived(name, target, "before")
}

// isDerived reports whether derived can make name of target.
func isDerived(name, target, word string) bool {
	at := stamp.FindStringIndex(name)
	return at != nil && name == derivedFrom(target, "_"+word+name[at[0]:])
}

func (r *Restore) look(ctx context.Context) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("looking for the databases of %s: %w", r.o.Settings.Server(), err)
		}
	}()
	target := r.plan.Target
	r.plan = Plan{Target: target, New: derived(target, "restore", r.o.Time), Check: r.judgement()}
	if r.live, err = postgres.ReadProperties(ctx, r.conn, target); err != nil {
		return err
	}
	r.model = r.live
	if r.o.Into != "" {
		if r.model, err = postgres.ReadProperties(ctx, r.conn, r.o.Settings.Database()); err != nil {
			return err
		}
	}
	if r.model == nil && r.o.Manifest != nil {
		r.model = r.o.Manifest.Properties
	}
	if r.live != nil {
		r.plan.Replaces, r.plan.Before = true, derived(target, "before", r.o.Time)
		if r.o.DropPrevious {
			r.plan.Drops = r.plan.Before
		}
		err := r.conn.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid = $1", r.live.OID).Scan(&r.plan.Sessions)
		if err != nil {
			return err
		}
	}
	rows, err := r.conn.Query(ctx, "SELECT datname, "+markColumns+" FROM pg_catalog.pg_database ORDER BY 1")
	if err != nil {
		return err
	}
	var name, comment string
	var limit int
	_, err = pgx.ForEachRow(rows, []any{&name, &comment, &limit}, func() error {
		switch {
		case name == target:
		case unfinished(name, comment, limit, target):
			r.plan.Removes = append(r.plan.Removes, name)
		case kept(name, comment, target):
			r.plan.Previous = append(r.plan.Previous, name)
		case strings.HasPrefix(name, target+"_restore_"):
			r.plan.Strays = append(r.plan.Strays, name)
		}
		return nil
	})
	return err
}

// lock locks out other restores of the same database while the connection lives. Marked
// databases are then leftovers.
func (r *Restore) lock(ctx context.Context) error {
	for began := time.Now(); ; {
		var got bool
		err := r.conn.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1)", lockKey(r.plan.Target)).Scan(&got)
		switch {
		case err != nil:
			return fmt.Errorf("locking out other restores: %w", err)
		case got:
			return nil
		case time.Since(began) > sessionEndTime:
			return fmt.Errorf("restoring %q: %w", r.plan.Target, ErrBusy)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sessionEndTime is how long the server may take to end the session, and the lock, of a finished
// restore.
const sessionEndTime = 3 * time.Second

// clientEncoding matches the encoding in a dump of either format.
var clientEncoding = regexp.MustCompile(`SET client_encoding = '([A-Za-z0-9_]+)';`)

func lockKey(target string) int64 {
	digest := sha256.Sum256([]byte("takumi-backup restore of " + target))
	return int64(binary.BigEndian.Uint64(digest[:]))
}

// create makes the new database and marks it. The comment is for people, too.
func (r *Restore) create(ctx context.Context, head []byte) error {
	how := ""
	if r.model != nil {
		how = r.model.CreateLike(r.server)
	} else if match := clientEncoding.FindSubmatch(head); match != nil {
		var usual string
		if err := r.conn.QueryRow(ctx, "SELECT pg_catalog.pg_encoding_to_char(encoding) FROM pg_catalog.pg_database WHERE datname = 'template0'").Scan(&usual); err != nil {
			return err
		}
		// UTF-8 holds what any encoding does, but not the bytes of SQL_ASCII.
		if of := string(match[1]); usual != "UTF8" || of == "SQL_ASCII" {
			how = " ENCODING" + postgres.QuoteText(of)
		}
	}
	sql := fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 CONNECTION LIMIT %d%s", postgres.Quote(r.plan.New), postgres.OwnLimit, how)
	if _, err := r.conn.Exec(ctx, sql); err != nil {
		return err
	}
	// Nobody else may enter before the final rights are set.
	if _, err := r.conn.Exec(ctx, "REVOKE ALL ON DATABASE "+postgres.Quote(r.plan.New)+" FROM PUBLIC"); err != nil {
		return err
	}
	return comment(ctx, r.conn, r.plan.New, halfMade(r.plan.Target))
}

func comment(ctx context.Context, conn postgres.Execer, name, text string) error {
	_, err := conn.Exec(ctx, "COMMENT ON DATABASE "+postgres.Quote(name)+" IS "+postgres.QuoteText(text))
	return err
}

// dropUnfinished drops a database if it exists and has the mark of an unfinished restore of
// target.
func (r *Restore) dropUnfinished(ctx context.Context, conn *pgx.Conn, name string) error {
	var comment string
	var limit int
	err := conn.QueryRow(ctx, "SELECT "+markColumns+" FROM pg_catalog.pg_database WHERE datname = $1", name).Scan(&comment, &limit)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil || !unfinished(name, comment, limit, r.plan.Target) {
		return err
	}
	// What a killed restore had running is still at it.
	_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = $1", name)
	if err != nil {
		return err
	}
	// A drop needs a checkpoint, for which a full disk has no room, and a failed drop
	// leaves a database that lets nobody in. So tables go first, if possible.
	_ = empty(ctx, r.admin.On(name))
	return postgres.DropDatabase(ctx, conn, r.admin, name)
}

// empty drops the largest tables of a database, one by one, ignoring errors.
func empty(ctx context.Context, s *postgres.Settings) error {
	conn, err := s.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND pg_catalog.pg_table_size(c.oid) > 1 << 20 ORDER BY pg_catalog.pg_table_size(c.oid) DESC LIMIT 100`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (pgx.Identifier, error) {
		name := make(pgx.Identifier, 2)
		return name, row.Scan(&name[0], &name[1])
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		_, _ = conn.Exec(ctx, "DROP TABLE IF EXISTS "+name.Sanitize()+" CASCADE") // as far as it goes
	}
	return nil
}

// DropPrevious drops those of the named databases that restores of this one have kept, and
// returns their names. One that is no longer such a database, or is in use, stays, and is
// an error.
func (r *Restore) DropPrevious(ctx context.Context, names []string) (dropped []string, err error) {
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.Contains(r.plan.Previous, name) {
			return dropped, fmt.Errorf("dropping %q: it is not a database that a restore of %q has kept", name, r.plan.Target)
		}
		var slots int
		err := r.conn.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE database = $1", name).Scan(&slots)
		if err == nil && slots > 0 {
			err = fmt.Errorf("it has %d replication slots, which would go with it: SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '%s', when nobody reads from them", slots, name)
		}
		if err == nil {
			err = postgres.DropDatabase(ctx, r.conn, r.admin, name)
		}
		if err != nil {
			return dropped, fmt.Errorf("dropping %q: %w", name, err)
		}
		dropped = append(dropped, name)
	}
	return dropped, nil
}
