package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// codeInUse is the server's word that a database has sessions or subscriptions.
const codeInUse = "55006"

// DropDatabase drops a database by conn, which is connected to another one of the server of
// s. Subscriptions in it, which prevent that, are dropped first; their slots at the
// publisher stay, for another database that has the same.
func DropDatabase(ctx context.Context, conn *pgx.Conn, s *Settings, name string) error {
	drop := "DROP DATABASE IF EXISTS " + Quote(name)
	_, err := conn.Exec(ctx, drop)
	if !hasCode(err, codeInUse) {
		return err
	}
	if n, subErr := dropSubscriptions(ctx, s.On(name)); subErr != nil || n == 0 {
		return err // which says what is in the way
	}
	_, err = conn.Exec(ctx, drop)
	return err
}

func dropSubscriptions(ctx context.Context, s *Settings) (int, error) {
	conn, err := s.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT subname::text FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())")
	if err != nil {
		return 0, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		for _, sql := range []string{"ALTER SUBSCRIPTION %s DISABLE", "ALTER SUBSCRIPTION %s SET (slot_name = NONE)", "DROP SUBSCRIPTION %s"} {
			if _, err := conn.Exec(ctx, fmt.Sprintf(sql, Quote(name))); err != nil {
				return 0, err
			}
		}
	}
	return len(names), nil
}
