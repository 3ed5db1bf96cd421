package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// SystemIdentifier returns a cluster's unique id, or "" if this role may not ask.
func SystemIdentifier(ctx context.Context, conn *pgx.Conn) string {
	var id string
	if err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()").Scan(&id); err != nil {
		return ""
	}
	return id
}

// Extensions returns the database's extensions without plpgsql, which is in all.
func Extensions(ctx context.Context, conn *pgx.Conn) ([]Extension, error) {
	rows, err := conn.Query(ctx, "SELECT extname, extversion FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")
	if err != nil {
		return nil, fmt.Errorf("listing the extensions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Extension])
	if err != nil {
		return nil, fmt.Errorf("listing the extensions: %w", err)
	}
	return list, nil
}

// ExtensionTables returns the tables of extensions: a dump has some of their rows, a survey
// none.
func ExtensionTables(ctx context.Context, conn *pgx.Conn) (map[[2]string]bool, error) {
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'`)
	if err != nil {
		return nil, fmt.Errorf("listing the tables of extensions: %w", err)
	}
	tables := make(map[[2]string]bool)
	var schema, name string
	_, err = pgx.ForEachRow(rows, []any{&schema, &name}, func() error {
		tables[[2]string{schema, name}] = true
		return nil
	})
	return tables, err
}

// ErrPooler is wrapped when it is not the server that answers.
var ErrPooler = fail.New(fail.Usage, "name the server itself, with DB_HOST and DB_PORT or --db: a pooler hands sessions out piece by piece, and settings, locks and snapshots get lost",
	"a connection pooler answers in the server's place")

// CheckDirect returns ErrPooler when a pooler is in between, which makes up the process
// number of a connection.
func CheckDirect(ctx context.Context, conn *pgx.Conn) error {
	// As text and without a prepared statement, which a pooler may lose.
	results, err := conn.PgConn().Exec(ctx, "SELECT pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return fmt.Errorf("asking who answers: %w", err)
	}
	if string(results[0].Rows[0][0]) != fmt.Sprint(conn.PgConn().PID()) {
		return fmt.Errorf("connecting to %s: %w", conn.Config().Host, ErrPooler)
	}
	return nil
}
