package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Execer is a connection or a transaction.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Properties are the properties of a database that its dumps lack.
type Properties struct {
	OID              uint32    `json:"-"`
	Owner            string    `json:"owner"`
	Encoding         string    `json:"encoding"`
	Collate          string    `json:"collate"`
	CType            string    `json:"ctype"`
	Provider         string    `json:"provider"`         // c, i or b; c before PostgreSQL 15
	Locale           string    `json:"locale,omitempty"` // for providers i and b
	Rules            string    `json:"icu_rules,omitempty"`
	CollationVersion string    `json:"collation_version,omitempty"` // since PostgreSQL 15
	Tablespace       string    `json:"tablespace"`
	Limit            int       `json:"connection_limit"`
	Template         bool      `json:"template,omitempty"`
	Comment          *string   `json:"comment,omitempty"`
	OwnRights        bool      `json:"own_rights"` // it has others than those of a new database
	Grants           []Grant   `json:"grants,omitempty"`
	Settings         []Setting `json:"settings,omitempty"`
	Labels           []Label   `json:"security_labels,omitempty"`
}

// Grant is a right on the database.
type Grant struct {
	Role      string `json:"role"` // "" is everybody
	Privilege string `json:"privilege"`
	Option    bool   `json:"grant_option,omitempty"`
}

// Setting is a setting of the database, or of a role in it.
type Setting struct {
	Role  string `json:"role,omitempty"` // "" is everybody
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Label is a security label of the database.
type Label struct {
	Provider string `json:"provider"`
	Label    string `json:"label"`
}

// Roles returns the roles that the properties name, sorted.
func (p *Properties) Roles() []string {
	names := []string{p.Owner}
	for _, g := range p.Grants {
		names = append(names, g.Role)
	}
	for _, s := range p.Settings {
		names = append(names, s.Role)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > 0 && names[0] == "" {
		names = names[1:]
	}
	return names
}

// ReadProperties returns those of a database, or nil when there is none.
func ReadProperties(ctx context.Context, conn *pgx.Conn, name string) (*Properties, error) {
	// The provider's columns came with PostgreSQL 15, and one was renamed in 17; to_jsonb
	// takes what there is.
	p := new(Properties)
	err := conn.QueryRow(ctx, `SELECT d.oid, pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype,
		coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''),
		coalesce(to_jsonb(d) ->> 'daticurules', ''),
		coalesce(to_jsonb(d) ->> 'datcollversion', ''),
		t.spcname, datconnlimit, datistemplate, pg_catalog.shobj_description(d.oid, 'pg_database'), datacl IS NOT NULL
		FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE datname = $1`, name).
		Scan(&p.OID, &p.Owner, &p.Encoding, &p.Collate, &p.CType, &p.Provider, &p.Locale, &p.Rules, &p.CollationVersion,
			&p.Tablespace, &p.Limit, &p.Template, &p.Comment, &p.OwnRights)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
		FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
		WHERE d.oid = $1 ORDER BY 1, 2`, p.OID)
	if err != nil {
		return nil, err
	}
	if p.Grants, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Grant]); err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, `SELECT coalesce(r.rolname, ''), pg_catalog.split_part(c, '=', 1), pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
		FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (c, n)
		WHERE s.setdatabase = $1 ORDER BY 1, n`, p.OID)
	if err != nil {
		return nil, err
	}
	if p.Settings, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Setting]); err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, "SELECT provider, label FROM pg_catalog.pg_shseclabel WHERE classoid = 'pg_catalog.pg_database'::regclass AND objoid = $1 ORDER BY 1", p.OID)
	if err != nil {
		return nil, err
	}
	p.Labels, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Label])
	return p, err
}

// CreateLike returns what makes CREATE DATABASE make one of the same kind.
func (p *Properties) CreateLike(server int) string {
	sql := " ENCODING" + QuoteText(p.Encoding) + " LC_COLLATE" + QuoteText(p.Collate) + " LC_CTYPE" + QuoteText(p.CType)
	if p.Tablespace != "pg_default" { // which nobody has the right to name
		sql += " TABLESPACE " + Quote(p.Tablespace)
	}
	switch {
	case p.Provider == "i":
		sql += " LOCALE_PROVIDER icu ICU_LOCALE" + QuoteText(p.Locale)
		if p.Rules != "" {
			sql += " ICU_RULES" + QuoteText(p.Rules)
		}
	case p.Provider == "b":
		sql += " LOCALE_PROVIDER builtin BUILTIN_LOCALE" + QuoteText(p.Locale)
	case server >= 15:
		sql += " LOCALE_PROVIDER libc"
	}
	return sql
}

// lists are the settings with a list of separately quoted names.
var lists = []string{"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}

// Give gives a database rights, settings, labels and owner.
func (p *Properties) Give(ctx context.Context, conn Execer, name string) error {
	database := Quote(name)
	// for errors: the values of settings may be secrets
	type statement struct{ label, sql string }
	var statements []statement
	add := func(label, sql string) { statements = append(statements, statement{label, sql}) }
	if p.OwnRights {
		// The owner's rights come before the owner: they may be fewer than a new
		// database's.
		add("its rights", "REVOKE ALL ON DATABASE "+database+" FROM PUBLIC, CURRENT_USER")
	}
	if !p.OwnRights { // a restore took them for its time
		add("its rights", "GRANT CONNECT, TEMPORARY ON DATABASE "+database+" TO PUBLIC")
	}
	add(fmt.Sprintf("owner %q", p.Owner), "ALTER DATABASE "+database+" OWNER TO "+Quote(p.Owner))
	for _, g := range p.Grants {
		sql := "GRANT " + g.Privilege + " ON DATABASE " + database + " TO " + roleOr(g.Role, "PUBLIC")
		if g.Option {
			sql += " WITH GRANT OPTION"
		}
		add(fmt.Sprintf("right %s of %s", g.Privilege, roleOr(g.Role, "PUBLIC")), sql)
	}
	for _, s := range p.Settings {
		alter := "ALTER DATABASE " + database
		if s.Role != "" {
			alter = "ALTER ROLE " + Quote(s.Role) + " IN DATABASE " + database
		}
		quoted := make([]string, 0, 2)
		for part := range strings.SplitSeq(s.Name, ".") {
			quoted = append(quoted, Quote(part))
		}
		variable := strings.Join(quoted, ".")
		label := "setting " + s.Name
		if s.Role != "" {
			label += " of " + Quote(s.Role)
		}
		if slices.Contains(lists, s.Name) {
			add(label, "SELECT pg_catalog.set_config("+QuoteText(s.Name)+","+QuoteText(s.Value)+", true)")
			add(label, alter+" SET "+variable+" FROM CURRENT")
		} else {
			add(label, alter+" SET "+variable+" TO"+QuoteText(s.Value))
		}
	}
	for _, l := range p.Labels {
		add("security label of "+l.Provider, "SECURITY LABEL FOR "+Quote(l.Provider)+" ON DATABASE "+database+" IS"+QuoteText(l.Label))
	}
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s.sql); err != nil {
			return fmt.Errorf("giving the new database what it had (%s): %w", s.label, withoutValue(err))
		}
	}
	return nil
}

// withoutValue keeps only the server's error code: its words may quote a secret.
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
	return Quote(role)
}

// QuoteText quotes a text for SQL, whatever standard_conforming_strings says.
func QuoteText(text string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
