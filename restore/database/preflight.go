package database

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

var (
	// ErrForeign means that the backup is of another database than the one that it
	// would replace.
	ErrForeign = fail.New(fail.Usage, "--from-database NAME, with the name that it had, restores it here all the same; --into NAME makes a new database of it",
		"the backup is of another database")
	// ErrMissing means that the server lacks what the dump needs.
	ErrMissing = fail.New(fail.Failed, "nothing was done", "the server lacks what the dump needs")
	// ErrInTheWay means that something of the live database keeps it from being exchanged.
	ErrInTheWay = fail.New(fail.Failed, "nothing was done", "something is in the way of the exchange")
)

// preflight finds what would fail later, before anything is done.
func (r *Restore) preflight(ctx context.Context) error {
	if err := r.rightOne(ctx); err != nil {
		return err
	}
	if err := r.needs(ctx); err != nil {
		return err
	}
	if r.live == nil {
		return nil
	}
	return r.inTheWay(ctx)
}

// rightOne compares whose backup it is with what it would replace.
func (r *Restore) rightOne(ctx context.Context) error {
	source, system := r.o.Source, ""
	if r.o.Manifest != nil {
		source, system = r.o.Manifest.Database, r.o.Manifest.System
	}
	if source == "" || r.o.Into != "" || r.o.From == source {
		return nil
	}
	if r.o.From != "" {
		return fmt.Errorf("%w: it is of %q, and --from-database says %q", ErrForeign, source, r.o.From)
	}
	if source != r.plan.Target {
		return fmt.Errorf("%w: it is of %q, and would become %q", ErrForeign, source, r.plan.Target)
	}
	if here := postgres.SystemIdentifier(ctx, r.conn); r.live != nil && system != "" && here != "" && system != here {
		return fmt.Errorf("%w: it is of the %q of another server, and this one has a %q of its own", ErrForeign, source, source)
	}
	return nil
}

// needs compares what the manifest says that the dump needs with the server.
func (r *Restore) needs(ctx context.Context) error {
	m := r.o.Manifest
	if m == nil {
		return nil
	}
	if r.server < m.Server {
		r.plan.Notes = append(r.plan.Notes, fmt.Sprintf("the dump is of PostgreSQL %d, and the server is older: %d", m.Server, r.server))
	}
	roles, spaces := slices.Clone(m.Roles), slices.Clone(m.Tablespaces)
	if like := r.like(); like != nil {
		roles = append(roles, like.Roles()...)
	}
	if r.model != nil && r.model.Tablespace != "pg_default" {
		spaces = append(spaces, r.model.Tablespace)
	}
	var names []string
	for _, e := range m.Extensions {
		names = append(names, e.Name)
	}
	var lacks []string
	for _, q := range []struct {
		what, sql string
		names     []string
	}{
		{"role", "SELECT rolname FROM pg_catalog.pg_roles", roles},
		{"tablespace", "SELECT spcname FROM pg_catalog.pg_tablespace", spaces},
		{"extension", "SELECT name FROM pg_catalog.pg_available_extensions", names},
	} {
		missing, err := r.missing(ctx, q.sql, q.names)
		if err != nil {
			return fmt.Errorf("looking for what the dump needs: %w", err)
		}
		if q.what == "role" && r.o.CreateRoles {
			r.plan.Roles, missing = missing, nil
		}
		for _, name := range missing {
			lacks = append(lacks, fmt.Sprintf("%s %q: %s", q.what, name, cures[q.what]))
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("%w:\n  %s", ErrMissing, strings.Join(lacks, "\n  "))
	}
	return nil
}

var cures = map[string]string{
	"role":       "restore the roles (takumi-backup open …_globals_… | psql postgres), or let --create-roles make it without rights",
	"tablespace": "make it with CREATE TABLESPACE … LOCATION, or restore the globals",
	"extension":  "install the package that has it on the server",
}

// missing returns which of the names a query does not have, sorted.
func (r *Restore) missing(ctx context.Context, sql string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := r.conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return slices.Contains(there, name) }), nil
}

// makeRoles makes the roles that are missing, without any right: the globals bring
// the real ones.
func (r *Restore) makeRoles(ctx context.Context) error {
	for _, name := range r.plan.Roles {
		if _, err := r.conn.Exec(ctx, "CREATE ROLE "+postgres.Quote(name)+" NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"); err != nil {
			return fmt.Errorf("making role %q: %w", name, err)
		}
		r.o.Tell("made role %q, which may not log in and has no password: the backup of the globals has the real one", name)
	}
	return nil
}

// inTheWay finds what of the live database does not follow an exchange.
func (r *Restore) inTheWay(ctx context.Context) error {
	var stops []string
	for _, q := range []struct{ sql, stop, note string }{
		{"SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = $1", "prepared transaction %q: end it with COMMIT PREPARED or ROLLBACK PREPARED", ""},
		{"SELECT subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = subdbid WHERE subenabled AND datname = $1",
			"subscription %q goes on in the former database: stop it with ALTER SUBSCRIPTION … DISABLE", ""},
		{"SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE database = $1", "",
			"replication slot %q stays with the former database: whoever reads from it needs a new one, and dropping the former drops it"},
	} {
		rows, err := r.conn.Query(ctx, q.sql, r.plan.Target)
		if err != nil {
			return fmt.Errorf("looking for what is in the way: %w", err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("looking for what is in the way: %w", err)
		}
		for _, name := range names {
			if q.stop != "" {
				stops = append(stops, fmt.Sprintf(q.stop, name))
			} else {
				r.plan.Notes = append(r.plan.Notes, fmt.Sprintf(q.note, name))
			}
		}
	}
	if len(stops) > 0 {
		return fmt.Errorf("%w:\n  %s", ErrInTheWay, strings.Join(stops, "\n  "))
	}
	return nil
}
