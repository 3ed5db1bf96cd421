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
	codeNoDatabase   = "3D000"
	codeDuplicate    = "42P04"
	codeThere        = "42710" // a role or tablespace
	codeBadPassword  = "28P01"
	codeUnauthorized = "28000"
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

// NoDatabase tells whether the server lacks the database.
func (e *ConnectError) NoDatabase() bool { return hasCode(e.Err, codeNoDatabase) }

// Denied tells whether the server refused the role or its password.
func (e *ConnectError) Denied() bool { return hasCode(e.Err, codeBadPassword, codeUnauthorized) }

// IsDuplicate tells whether err is the server's word that a database, role or
// tablespace of this name is there already.
func IsDuplicate(err error) bool { return hasCode(err, codeDuplicate, codeThere) }

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

// Connect connects to the database. A failure is *ConnectError, or the cause of
// ctx. The caller closes the connection, which one goroutine may use at a time.
func (s *Settings) Connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err == nil {
		// What a database or a role sets by itself is meant for its users.
		_, err = conn.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET row_security = off; SELECT pg_catalog.set_config(name, $$0$$, false) FROM pg_catalog.pg_settings WHERE name = $$idle_session_timeout$$")
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

// Databases returns the names of the databases of the server that can be connected to
// and are no templates, in order.
func (s *Settings) Databases(ctx context.Context) ([]string, error) {
	conn, err := s.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
