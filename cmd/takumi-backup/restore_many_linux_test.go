package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestRestoreManyTables: a database of more tables than the server has locks for comes
// back. With TAKUMI_TEST_LONG the server is as Debian installs it and the tables are
// 4,800; else both are smaller.
func TestRestoreManyTables(t *testing.T) {
	n, settings := 300, []string{"max_locks_per_transaction=10", "max_connections=10", "max_worker_processes=0", "autovacuum_max_workers=1"}
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		n, settings = 4800, nil
	}
	from, to := pgtest.Shared(t), pgtest.Start(t, settings...)
	createDB(t, from, "many")
	// Some to a transaction: that of all would need the locks.
	from.Psql(t, "many", fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
		EXECUTE format('CREATE TABLE t%%s (id serial PRIMARY KEY)', i); EXECUTE format('INSERT INTO t%%s SELECT FROM generate_series(1, 3)', i);
		IF i %% 20 = 0 THEN COMMIT; END IF; END LOOP; END $$`, n))
	b := withDatabase(t, from, "many")
	b.patience = 10 * time.Minute
	there := withDatabase(t, to, "many")
	there.patience = b.patience
	for _, format := range []string{"plain", "custom"} {
		path := b.backupOf("--format", format)
		there.run(exitOK, nil, "restore", "database", path, "--yes", "--create-roles").says(fmt.Sprintf("%d tables, all as the manifest has them", n))
		to.Psql(t, "postgres", "DROP DATABASE many")
	}
}
