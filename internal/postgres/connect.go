package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// SQLSTATEs that callers tell apart.
const (
	codeNoDatabase = "3D000"
	codeDuplicate  = "42P04"
	codeThere      = "42710" // a role or tablespace
	codePassword   = "28P01"
	codeNoLogin    = "28000"
)

// ConnectError says that the server was not reached, or let nobody in.
type ConnectError struct {
	Database, User, Server string
	Err                    error
}

func (e *ConnectError) Error() string {
	what := fmt.Sprintf("connecting to database %q at %s as %q", e.Database, e.Server, e.User)
	var refused *pgconn.PgError
	if errors.As(e.Err, &refused) {
		return what + ": the server says: " + refused.Message
	}
	return what + ": " + e.Err.Error()
}

// Fail is the class and the hint of the error.
func (*ConnectError) Fail() (fail.Class, string) {
	return fail.Failed, "check DB_HOST, DB_PORT, DB_USER and DB_PASSWORD, and that the server runs"
}

func (e *ConnectError) Unwrap() error { return e.Err }

// NoDatabase says whether the server lacks the database.
func (e *ConnectError) NoDatabase() bool { return hasCode(e.Err, codeNoDatabase) }

// Refused says whether the server refuses the user or the password.
func (e *ConnectError) Refused() bool { return hasCode(e.Err, codePassword, codeNoLogin) }

// IsDuplicate reports whether the server says that a database, role or tablespace of this
// name exists.
func IsDuplicate(err error) bool { return hasCode(err, codeDuplicate, codeThere) }

// IsLocaleRefused reports whether the server does not make a database because of its locale:
// the name or the encoding does not fit, or it was built without that provider. ICU's
// refusal has a code of its own only since PostgreSQL 16.
func IsLocaleRefused(err error) bool { return hasCode(err, "42809", "22023", "0A000", "XX000") }

func hasCode(err error, codes ...string) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// Connect connects to the database. A failure is *ConnectError, or the cause of ctx. The
// caller closes the connection, which is for one goroutine at a time.
func (s *Settings) Connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err == nil {
		// Settings of a database or role are for its users.
		_, err = conn.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET row_security = off; SELECT pg_catalog.set_config(name, $$0$$, false) FROM pg_catalog.pg_settings WHERE name IN ($$idle_session_timeout$$, $$transaction_timeout$$)")
		if err == nil {
			return conn, nil
		}
		conn.Close(context.WithoutCancel(ctx))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &ConnectError{s.Database(), s.User(), s.Server(), err}
}

// Version returns the major version of the server behind conn.
func Version(ctx context.Context, conn *pgx.Conn) (int, error) {
	var number int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&number); err != nil {
		return 0, fmt.Errorf("asking for the server's version: %w", err)
	}
	return number / 10000, nil
}

// Quote returns a name as SQL has it.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// ListedDatabase is a database that a server has.
type ListedDatabase struct {
	Name   string
	Closed bool // it lets nobody in, or was being dropped when the server died
	// System marks templates, and databases that a restore of this program makes or keeps.
	System bool
}

// OwnMark begins the comment of a database that a restore of this program makes or keeps.
const OwnMark = "takumi-backup: "

// OwnLimit is the connection limit of a database that a restore makes. It marks those that
// a kill leaves between CREATE DATABASE and COMMENT.
const OwnLimit = 0x74616b75

// Databases returns the server's databases by name. It asks in the database of the settings
// or, if that is missing, in one that every server has.
func (s *Settings) Databases(ctx context.Context) ([]ListedDatabase, error) {
	conn, err := s.Connect(ctx)
	for _, usual := range []string{"postgres", "template1"} {
		var refused *ConnectError
		if errors.As(err, &refused) && refused.NoDatabase() {
			conn, err = s.On(usual).Connect(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT datname, NOT datallowconn OR datconnlimit = -2, datname IN ('template0', 'template1') OR datconnlimit = $1
		OR starts_with(coalesce(pg_catalog.shobj_description(oid, 'pg_database'), ''), $2) FROM pg_catalog.pg_database ORDER BY datname`, OwnLimit, OwnMark)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ListedDatabase])
}
