package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// execer is a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// properties are what a database has that stands in no dump of it.
type properties struct {
	oid        uint32
	owner      string
	encoding   string
	collate    string
	ctype      string
	provider   string // c, i or b; c before PostgreSQL 15
	locale     string // for providers i and b
	rules      string // for provider i, since PostgreSQL 16
	tablespace string
	limit      int
	comment    *string
	ownRights  bool // it has others than those of a new database
	grants     []grant
	settings   []setting
}

type grant struct {
	Role      string // "" is everybody
	Privilege string
	Option    bool
}

type setting struct {
	Role  string // "" is everybody
	Name  string
	Value string
}

// readProperties returns those of a database, or nil when there is none.
func readProperties(ctx context.Context, conn *pgx.Conn, name string) (*properties, error) {
	// The columns for the provider came with PostgreSQL 15, and one of them has
	// had another name since 17; to_jsonb takes what there is.
	p := new(properties)
	err := conn.QueryRow(ctx, `SELECT d.oid, pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype,
		coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''),
		coalesce(to_jsonb(d) ->> 'daticurules', ''),
		t.spcname, datconnlimit, pg_catalog.shobj_description(d.oid, 'pg_database'), datacl IS NOT NULL
		FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE datname = $1`, name).
		Scan(&p.oid, &p.owner, &p.encoding, &p.collate, &p.ctype, &p.provider, &p.locale, &p.rules, &p.tablespace, &p.limit, &p.comment, &p.ownRights)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
		FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
		WHERE d.oid = $1 ORDER BY 1, 2`, p.oid)
	if err != nil {
		return nil, err
	}
	if p.grants, err = pgx.CollectRows(rows, pgx.RowToStructByPos[grant]); err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, `SELECT coalesce(r.rolname, ''), pg_catalog.split_part(c, '=', 1), pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
		FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, pg_catalog.unnest(s.setconfig) c
		WHERE s.setdatabase = $1 ORDER BY 1, 2`, p.oid)
	if err != nil {
		return nil, err
	}
	p.settings, err = pgx.CollectRows(rows, pgx.RowToStructByPos[setting])
	return p, err
}

// likeIt returns what makes CREATE DATABASE make one of the same kind.
func (p *properties) likeIt(server int) string {
	sql := " ENCODING" + quoteText(p.encoding) + " LC_COLLATE" + quoteText(p.collate) + " LC_CTYPE" + quoteText(p.ctype)
	if p.tablespace != "pg_default" { // which nobody has the right to name
		sql += " TABLESPACE " + postgres.Quote(p.tablespace)
	}
	switch {
	case p.provider == "i":
		sql += " LOCALE_PROVIDER icu ICU_LOCALE" + quoteText(p.locale)
		if p.rules != "" {
			sql += " ICU_RULES" + quoteText(p.rules)
		}
	case p.provider == "b":
		sql += " LOCALE_PROVIDER builtin BUILTIN_LOCALE" + quoteText(p.locale)
	case server >= 15:
		sql += " LOCALE_PROVIDER libc"
	}
	return sql
}

// lists are the settings whose value is a list of names, each quoted by itself.
var lists = []string{"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}

// give gives a database rights, settings and owner.
func (p *properties) give(ctx context.Context, conn execer, name string) error {
	database := postgres.Quote(name)
	// What an error calls a statement: the values of settings may be secrets.
	type statement struct{ label, sql string }
	var statements []statement
	add := func(label, sql string) { statements = append(statements, statement{label, sql}) }
	if p.ownRights {
		// The owner's own are given before the owner: they may be fewer than
		// those of a new database.
		add("its rights", "REVOKE ALL ON DATABASE "+database+" FROM PUBLIC, CURRENT_USER")
	}
	add(fmt.Sprintf("owner %q", p.owner), "ALTER DATABASE "+database+" OWNER TO "+postgres.Quote(p.owner))
	for _, g := range p.grants {
		sql := "GRANT " + g.Privilege + " ON DATABASE " + database + " TO " + roleOr(g.Role, "PUBLIC")
		if g.Option {
			sql += " WITH GRANT OPTION"
		}
		add(fmt.Sprintf("right %s of %s", g.Privilege, roleOr(g.Role, "PUBLIC")), sql)
	}
	for _, s := range p.settings {
		alter := "ALTER DATABASE " + database
		if s.Role != "" {
			alter = "ALTER ROLE " + postgres.Quote(s.Role) + " IN DATABASE " + database
		}
		quoted := make([]string, 0, 2)
		for part := range strings.SplitSeq(s.Name, ".") {
			quoted = append(quoted, postgres.Quote(part))
		}
		variable := strings.Join(quoted, ".")
		label := "setting " + s.Name
		if s.Role != "" {
			label += " of " + postgres.Quote(s.Role)
		}
		if slices.Contains(lists, s.Name) {
			add(label, "SELECT pg_catalog.set_config("+quoteText(s.Name)+","+quoteText(s.Value)+", true)")
			add(label, alter+" SET "+variable+" FROM CURRENT")
		} else {
			add(label, alter+" SET "+variable+" TO"+quoteText(s.Value))
		}
	}
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s.sql); err != nil {
			return fmt.Errorf("giving the new database what the former has (%s): %w", s.label, withoutValue(err))
		}
	}
	return nil
}

// withoutValue leaves of what the server says only its code: the words may
// quote the value that it refuses.
func withoutValue(err error) error {
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22") {
		return fmt.Errorf("the server refuses the value (SQLSTATE %s)", refused.Code)
	}
	return err
}

func roleOr(role, everybody string) string {
	if role == "" {
		return everybody
	}
	return postgres.Quote(role)
}
