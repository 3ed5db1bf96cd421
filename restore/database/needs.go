package database

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// needed are the needs of a dump, by its manifest or its own words.
type needed struct {
	postgres.Needs
	known  bool
	server int // the major version that was dumped, or 0
}

func (o *Options) needed() needed {
	switch {
	case o.Manifest != nil:
		return needed{o.Manifest.Needs, true, o.Manifest.Server}
	case o.Contents != nil:
		return needed{backup.NeedsOf(o.Contents, nil), true, o.Contents.Major()}
	}
	return needed{}
}

func (i *inspection) dumped(context.Context) error {
	n := i.o.needed()
	if !n.known && i.o.Sealed {
		i.find("dump", Note, "--dry-run reads the backup once, and finds out", "the backup has no manifest, and which roles, tablespaces and extensions it needs is not known")
	}
	if c := i.o.Contents; c != nil && c.Rows && c.Makes == 0 && c.LargeObjects == 0 && len(c.Extensions) == 0 {
		i.find("dump", Stop, loadRows, "the dump has rows and makes no table for them")
	}
	if i.server < n.server {
		i.find("server", Warning, "--keep-going restores what it takes", "the dump is of PostgreSQL %d, and the server is older, %d: it may refuse some of it", n.server, i.server)
	}
	if i.me.Super {
		return nil
	}
	for _, thing := range n.Superuser {
		if i.me.Hosted {
			i.find("rights", Warning, "--keep-going restores the rest", "the dump makes %s, as a superuser may, and %q is only similar to one", thing, i.me.Name)
		} else {
			i.lacks("rights", "restore as a superuser, or with --keep-going without it", "the dump makes %s, as only a superuser may, and %q is none", thing, i.me.Name)
		}
	}
	return nil
}

// needsRoles finds missing roles, and those that may not become owners.
func (i *inspection) needsRoles(ctx context.Context) error {
	n := i.o.needed()
	wanted, owners := slices.Clone(n.Roles), slices.Clone(n.Owners)
	if like := i.like(); like != nil && i.live == nil {
		wanted, owners = append(wanted, like.Roles()...), append(owners, like.Owner)
	}
	missing, err := i.missing(ctx, "SELECT rolname::text FROM pg_catalog.pg_roles", wanted)
	if err != nil {
		return err
	}
	for _, name := range missing {
		switch {
		case strings.HasPrefix(name, "pg_"):
			i.lacks("roles", "", "role %q came with a later version of PostgreSQL than the server's, %d", name, i.server)
		case i.o.CreateRoles:
			i.plan.Roles = append(i.plan.Roles, name)
		default:
			i.lacks("roles", "restore the roles (takumi-backup open …_globals_… | psql -d postgres), or let --create-roles make it without rights", "role %q is missing", name)
		}
	}
	if i.me.Super {
		return nil
	}
	member := "MEMBER"
	if i.server >= 16 {
		member = "SET"
	}
	mine, err := i.names(ctx, "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname ~ '^pg_' OR pg_catalog.pg_has_role(oid, '"+member+"')")
	if err != nil {
		return err
	}
	for _, name := range distinct(owners) {
		if !slices.Contains(mine, name) && (i.o.CreateRoles || !slices.Contains(missing, name)) {
			i.lacks("ownership", "GRANT "+postgres.Quote(name)+" TO "+postgres.Quote(i.me.Name)+", as a superuser", "the dump gives things to %q, of which %q is not a member", name, i.me.Name)
		}
	}
	return nil
}

func (i *inspection) needsTablespaces(ctx context.Context) error {
	wanted := slices.Clone(i.o.needed().Tablespaces)
	if i.model != nil && i.model.Tablespace != "pg_default" {
		wanted = append(wanted, i.model.Tablespace)
	}
	missing, err := i.missing(ctx, "SELECT spcname::text FROM pg_catalog.pg_tablespace", wanted)
	if err != nil {
		return err
	}
	for _, name := range missing {
		i.lacks("tablespaces", "CREATE TABLESPACE "+postgres.Quote(name)+" LOCATION '…', or restore the globals", "tablespace %q is missing", name)
	}
	closed, err := i.names(ctx, "SELECT spcname::text FROM pg_catalog.pg_tablespace WHERE spcname = ANY ($1) AND NOT pg_catalog.has_tablespace_privilege(oid, 'CREATE')", wanted)
	if err != nil {
		return err
	}
	for _, name := range closed {
		i.lacks("tablespaces", "GRANT CREATE ON TABLESPACE "+postgres.Quote(name)+" TO "+postgres.Quote(i.me.Name), "%q may make nothing in tablespace %q", i.me.Name, name)
	}
	return nil
}

// needsExtensions finds extensions that the server lacks, or has only in an older version
// or for superusers.
func (i *inspection) needsExtensions(ctx context.Context) error {
	wanted := i.o.needed().Extensions
	if len(wanted) == 0 {
		return nil
	}
	type available struct {
		Version string
		Trusted bool
	}
	rows, err := i.conn.Query(ctx, `SELECT a.name::text, a.default_version, coalesce(NOT v.superuser OR v.trusted, false) FROM pg_catalog.pg_available_extensions a
		LEFT JOIN pg_catalog.pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version`)
	if err != nil {
		return err
	}
	defer rows.Close()
	there := make(map[string]available)
	for rows.Next() {
		var name string
		var a available
		if err := rows.Scan(&name, &a.Version, &a.Trusted); err != nil {
			return err
		}
		there[name] = a
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, e := range wanted {
		if e.Name == "pg_cron" {
			if err := i.needsCron(ctx); err != nil {
				return err
			}
		}
		switch a, ok := there[e.Name]; {
		case !ok:
			i.lacks("extensions", "install the package that has it on the server", "extension %q is missing", e.Name)
		case !a.Trusted && !i.me.Super && !i.me.Hosted:
			i.lacks("extensions", "restore as a superuser", "extension %q is made by superusers alone", e.Name)
		case e.Version != "" && e.Version != a.Version:
			i.find("extensions", Warning, "", "extension %q had version %s, and becomes %s here", e.Name, e.Version, a.Version)
		}
	}
	return nil
}

// needsCron finds that pg_cron refuses the new database: it is made in one alone, by name,
// and the new one gets its name only at the end.
func (i *inspection) needsCron(ctx context.Context) error {
	var only *string // unknown to who may not read the setting
	err := i.conn.QueryRow(ctx, `SELECT CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE') THEN pg_catalog.current_setting('cron.database_name', true) END`).Scan(&only)
	if err != nil || only == nil || *only == i.plan.New {
		return err
	}
	i.lacks("extensions", fmt.Sprintf("rename the database %q if it is there, make an empty one of that name, and load it: takumi-backup open FILE | psql -X -v ON_ERROR_STOP=1 -d NAME, or pg_restore -d NAME; or --keep-going restores the rest", *only),
		"extension \"pg_cron\" can be made in the database %q alone (cron.database_name), and a restore makes %q first", *only, i.plan.New)
	return nil
}

// needsProperties finds properties of the database that this server cannot give: a locale,
// and settings.
func (i *inspection) needsProperties(ctx context.Context) error {
	p := i.model
	if p == nil || i.live != nil { // of this very server
		return nil
	}
	provider := p.Provider
	if provider == "b" && i.server < 17 || provider == "i" && i.server < 15 {
		i.find("locale", Stop, "--into NAME, with --ignore-manifest, restores it with the server's own", "the database has a locale of a provider that PostgreSQL %d does not know for databases", i.server)
		return nil
	}
	var known bool
	var version *string
	err := i.conn.QueryRow(ctx, `SELECT $1 IN ('C', 'POSIX', 'C.UTF-8', 'C.UTF8') OR $2 <> 'c' OR EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'c' AND collcollate = $1)
			OR EXISTS (SELECT FROM pg_catalog.pg_database WHERE datcollate = $1),
		(SELECT max(pg_catalog.pg_collation_actual_version(oid)) FROM pg_catalog.pg_collation WHERE collprovider::text = $2 AND collcollate = $1)`,
		p.Collate, provider).Scan(&known, &version)
	if err != nil {
		return err
	}
	if !known {
		i.find("locale", Warning, "locale-gen makes it, on the server", "the locale %q does not seem to be on the server", p.Collate)
	}
	if version != nil && p.CollationVersion != "" && *version != p.CollationVersion {
		i.find("locale", Note, "", "the collation %q has version %s here, and had %s: texts may sort otherwise", p.Collate, *version, p.CollationVersion)
	}
	return i.needsSettings(ctx)
}

func (i *inspection) needsSettings(ctx context.Context) error {
	like := i.like()
	if like == nil {
		return nil
	}
	var names []string
	for _, s := range like.Settings {
		if !strings.Contains(s.Name, ".") { // which may be of a module that is not loaded
			names = append(names, s.Name)
		}
	}
	missing, err := i.missing(ctx, "SELECT name FROM pg_catalog.pg_settings", names)
	if err != nil {
		return err
	}
	for _, name := range missing {
		i.find("settings", Stop, "--into NAME restores it without settings", "the database has the setting %q, which PostgreSQL %d does not know", name, i.server)
	}
	may := "false"
	if i.server >= 15 {
		may = "pg_catalog.has_parameter_privilege(name, 'SET')"
	}
	closed, err := i.names(ctx, "SELECT name FROM pg_catalog.pg_settings WHERE name = ANY ($1) AND context = 'superuser' AND NOT $2 AND NOT "+may, names, i.me.Super)
	if err != nil {
		return err
	}
	for _, name := range closed {
		i.find("settings", Stop, "GRANT SET ON PARAMETER "+name+" TO "+postgres.Quote(i.me.Name)+", or restore as a superuser", "the database has the setting %q, which %q may not give it", name, i.me.Name)
	}
	return nil
}

// missing returns which of the names a query does not have, sorted.
func (i *inspection) missing(ctx context.Context, sql string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	there, err := i.names(ctx, sql)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(distinct(names), func(name string) bool { return slices.Contains(there, name) }), nil
}

func distinct(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
