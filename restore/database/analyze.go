package database

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// A table with partitions brings theirs along, and no size of its own shows how long it takes.
const analyzed = `SELECT format('%I.%I', n.nspname, c.relname)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
	ORDER BY c.relkind = 'p' DESC, pg_catalog.pg_relation_size(c.oid) DESC`

// analyze makes the statistics of all tables, with Jobs connections, of which conn is one
// that begins with check. The error is that of check, or of an ANALYZE.
func (r *Restore) analyze(ctx context.Context, conn *pgx.Conn, check func(ctx context.Context) error) error {
	if r.o.Jobs <= 1 {
		if err := check(ctx); err != nil {
			return err
		}
		queue := make(chan string, 1)
		queue <- "" // which is all tables, each in its own transaction
		close(queue)
		return analyzeEach(ctx, conn, queue)
	}
	rows, err := conn.Query(ctx, analyzed)
	if err != nil {
		return fmt.Errorf("analyzing the restored database: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("analyzing the restored database: %w", err)
	}
	queue := make(chan string, len(tables))
	for _, table := range tables {
		queue <- table
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := check(ctx); err != nil {
			return err
		}
		return analyzeEach(ctx, conn, queue)
	})
	for range min(r.o.Jobs, len(tables)) - 1 {
		group.Go(func() error {
			conn, err := r.o.Settings.On(r.plan.New).Connect(ctx)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			return analyzeEach(ctx, conn, queue)
		})
	}
	return group.Wait()
}

func analyzeEach(ctx context.Context, conn *pgx.Conn, queue <-chan string) error {
	fault := func(err error) error { return fmt.Errorf("analyzing the restored database: %w", err) }
	// Both at once would be one transaction.
	if _, err := conn.Exec(ctx, "SET client_min_messages = error"); err != nil {
		return fault(err)
	}
	for table := range queue {
		if _, err := conn.Exec(ctx, "ANALYZE "+table); err != nil {
			return fault(err)
		}
	}
	return nil
}
