package database

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// role is what the restoring role may do, and the server's limits for it.
type role struct {
	Name             string
	Super            bool
	CreateDB         bool
	Create           bool // roles
	Hosted           bool // a provider gives it some of a superuser's powers
	Standby          bool // the server is one
	ReadOnly         bool
	Left, RoleLeft   int   // connections
	Locks, LockSlots int64 // which the server has for all, the product
}

// connections is how many a restore has besides the one that looks.
const connections = 3

const askRole = `SELECT rolname, rolsuper, rolcreatedb OR rolsuper, rolcreaterole OR rolsuper,
	EXISTS (SELECT FROM pg_catalog.pg_roles h WHERE h.rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser')
		AND pg_catalog.pg_has_role(r.oid, h.oid, 'USAGE')),
	pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')::bool,
	pg_catalog.current_setting('max_connections')::int
		- CASE WHEN rolsuper THEN 0 ELSE pg_catalog.current_setting('superuser_reserved_connections')::int
			+ coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) END
		- (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
	CASE WHEN rolconnlimit < 0 OR rolsuper THEN 1000000 ELSE rolconnlimit - (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE usesysid = r.oid) END,
	pg_catalog.current_setting('max_locks_per_transaction')::bigint, (pg_catalog.current_setting('max_connections')::bigint + pg_catalog.current_setting('max_prepared_transactions')::bigint)
	FROM pg_catalog.pg_roles r WHERE rolname = current_user`

// rightOne compares whose backup it is with what it would replace.
func (i *inspection) rightOne(ctx context.Context) error {
	source, system := i.o.Source, ""
	if i.o.Manifest != nil {
		source, system = i.o.Manifest.Database, i.o.Manifest.System
	}
	if source == "" || i.o.Into != "" || i.o.From == source {
		return nil
	}
	foreign := func(format string, args ...any) {
		i.find("database", Stop, "", format, args...)
		i.kind = ErrForeign
	}
	switch {
	case i.o.From != "":
		foreign("it is of %q, and --from-database says %q", source, i.o.From)
	case source != i.plan.Target:
		foreign("it is of %q, and would become %q", source, i.plan.Target)
	case i.live != nil && system != "":
		if here := postgres.SystemIdentifier(ctx, i.conn); here != "" && system != here {
			foreign("it is of the %q of another server, and this one has a %q of its own", source, source)
		}
	}
	return nil
}

func (i *inspection) able(ctx context.Context) error {
	m := &i.me
	if err := i.conn.QueryRow(ctx, askRole).Scan(&m.Name, &m.Super, &m.CreateDB, &m.Create, &m.Hosted,
		&m.Standby, &m.ReadOnly, &m.Left, &m.RoleLeft, &m.Locks, &m.LockSlots); err != nil {
		return err
	}
	me := postgres.Quote(m.Name)
	if m.Standby {
		i.find("server", Stop, "name the primary with DB_HOST or --db", "the server is a standby, and takes no changes")
	}
	if m.ReadOnly && !m.Standby {
		i.find("server", Stop, "ALTER ROLE "+me+" SET default_transaction_read_only = off", "transactions of %q are read-only here", m.Name)
	}
	if !m.CreateDB {
		i.find("rights", Stop, "ALTER ROLE "+me+" CREATEDB, as a superuser", "role %q may not make databases", m.Name)
	}
	if i.o.CreateRoles && !m.Create {
		i.find("rights", Stop, "ALTER ROLE "+me+" CREATEROLE, as a superuser", "role %q may not make roles, which --create-roles asks for", m.Name)
	}
	need := connections + max(0, i.o.Jobs-1)
	if m.Left < need {
		i.find("connections", Stop, "ALTER SYSTEM SET max_connections, and restart the server, or end some (SELECT pid, usename FROM pg_stat_activity)",
			"the server has room for %d more connections, and a restore has %d", max(0, m.Left), need)
	}
	if m.RoleLeft < need {
		i.find("connections", Stop, "ALTER ROLE "+me+" CONNECTION LIMIT -1", "role %q may have %d more connections, and a restore has %d", m.Name, max(0, m.RoleLeft), need)
	}
	for _, name := range []string{"psql", "pg_restore"} {
		if _, err := postgres.Program(ctx, name, i.server); errors.As(err, new(*postgres.ProgramError)) {
			i.find("programs", Stop, fmt.Sprintf("apt-get install postgresql-client-%d, or later", i.server), "%v", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// room checks the space for a second database, if the server is on this machine, and the
// locks for its next backup.
func (i *inspection) room(ctx context.Context) error {
	need, tables := int64(0), 0
	if m := i.o.Manifest; m != nil {
		need, tables = m.Size, len(m.Tables)
	}
	if need == 0 && i.live != nil {
		// Who may not connect to it may not ask for its size.
		_ = i.conn.QueryRow(ctx, "SELECT pg_catalog.pg_database_size($1::oid)", i.live.OID).Scan(&need)
	}
	if slots := i.me.LockSlots; int64(tables) > i.me.Locks*slots {
		i.find("locks", Warning, fmt.Sprintf("ALTER SYSTEM SET max_locks_per_transaction = %d, and restart the server", 64+3*int64(tables)/slots),
			"the database has %d tables, each of which the next backup locks, and the server has room for %d locks", tables, i.me.Locks*slots)
	}
	if need == 0 {
		return nil
	}
	free, ok := i.free(ctx)
	switch {
	case !ok:
		i.find("space", Note, "", "the restored database takes about %s on the server, whose free space cannot be asked from here", size(need))
	case free < i.o.AtLeast:
		i.find("space", Stop, "make room on the server's disk", "the backup alone has %s, and the server's disk %s of free space", size(i.o.AtLeast), size(free))
	case free < need:
		i.find("space", Warning, "make room on the server's disk", "the restored database takes about %s, and the server's disk has %s of free space", size(need), size(free))
	}
	return nil
}

// free returns the free space of the new database's disk.
func (i *inspection) free(ctx context.Context) (int64, bool) {
	host := i.conn.Config().Host
	if ip := net.ParseIP(host); !strings.HasPrefix(host, "/") && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return 0, false
	}
	folder := ""
	if i.model != nil && i.model.Tablespace != "pg_default" {
		_ = i.conn.QueryRow(ctx, "SELECT pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace WHERE spcname = $1", i.model.Tablespace).Scan(&folder)
	}
	if folder == "" {
		// NULL to a role that may not read the setting.
		_ = i.conn.QueryRow(ctx, "SELECT coalesce((SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'), '')").Scan(&folder)
	}
	var fs unix.Statfs_t
	if !strings.HasPrefix(folder, "/") || unix.Statfs(folder, &fs) != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true
}

func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// exchangeable finds what of the live database an exchange would lose, or what prevents it.
func (i *inspection) exchangeable(ctx context.Context) error {
	if i.live == nil {
		return nil
	}
	var owns bool
	if err := i.conn.QueryRow(ctx, "SELECT pg_catalog.pg_has_role(datdba, 'USAGE') FROM pg_catalog.pg_database WHERE oid = $1", i.live.OID).Scan(&owns); err != nil {
		return err
	}
	if !owns {
		i.find("rights", Stop, fmt.Sprintf("GRANT %s TO %s, as a superuser", postgres.Quote(i.live.Owner), postgres.Quote(i.me.Name)),
			"database %q belongs to %q, and only its owner renames it", i.plan.Target, i.live.Owner)
	}
	slots, consequence := Note, "whoever reads from it needs a new one"
	if i.plan.Drops != "" {
		slots, consequence = Stop, "dropping that drops the slot"
	}
	for _, q := range []struct {
		check       string
		weight      Weight
		sql, format string
		cure        string
	}{
		{"transactions", Stop, "SELECT gid::text FROM pg_catalog.pg_prepared_xacts WHERE database = $1",
			"prepared transaction %q keeps the database from being renamed", "COMMIT PREPARED or ROLLBACK PREPARED ends it"},
		{"subscriptions", Stop, "SELECT subname::text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = subdbid WHERE subenabled AND datname = $1",
			"subscription %q goes on in the former database", "ALTER SUBSCRIPTION … DISABLE stops it"},
		{"slots", slots, "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = $1",
			"replication slot %q stays with the former database; " + consequence, "SELECT pg_drop_replication_slot(…), and make it anew"},
		{"sessions", Warning, `SELECT DISTINCT usename::text FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
			WHERE datname = $1 AND NOT pg_catalog.pg_has_role(r.oid, 'MEMBER') AND (rolsuper OR NOT pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))`,
			"role %q is connected to the database, and its sessions may not be ended from here", "end them, or restore as a superuser"},
	} {
		names, err := i.names(ctx, q.sql, i.plan.Target)
		if err != nil {
			return err
		}
		for _, name := range names {
			i.find(q.check, q.weight, q.cure, q.format, name)
		}
	}
	return nil
}

func (i *inspection) names(ctx context.Context, sql string, args ...any) ([]string, error) {
	rows, err := i.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
