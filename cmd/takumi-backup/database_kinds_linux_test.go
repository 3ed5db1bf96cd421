package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestDrillOfASuperusersThings: what only a superuser may own, and a tablespace, are
// given in the scratch server, so that a drill does not blame the backup.
func TestDrillOfASuperusersThings(t *testing.T) {
	c := pgtest.Start(t)
	c.Psql(t, "postgres", `CREATE ROLE chief SUPERUSER; CREATE DATABASE things`)
	c.Psql(t, "postgres", `SET allow_in_place_tablespaces = on; CREATE TABLESPACE "fast one" LOCATION ''`)
	c.Psql(t, "things", `CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
		CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f(); ALTER EVENT TRIGGER e OWNER TO chief;
		CREATE FOREIGN DATA WRAPPER w; ALTER FOREIGN DATA WRAPPER w OWNER TO chief;
		CREATE TABLE t TABLESPACE "fast one" AS SELECT 1 AS i`)
	of := withDatabase(t, c, "things")
	for _, format := range []string{"plain", "custom"} {
		of.backupOf("--format", format)
	}
	b, scratch := apart(t, c, of), scratchDir(t)
	b.run(exitOK, nil, "verify", "--level", "restore", "--scratch-dir", scratch, of.path("store")).says("4 good, 0 bad")
}

// TestManifestOfAnyIndex: counting rows plans no query over the functions of an
// index, which may need another search_path.
func TestManifestOfAnyIndex(t *testing.T) {
	c := database(t, "anyindex", `CREATE EXTENSION cube; CREATE EXTENSION earthdistance;
		CREATE TABLE places (lat float8, lon float8); INSERT INTO places VALUES (1, 2);
		CREATE INDEX ON places USING gist (ll_to_earth(lat, lon))`)
	b := withDatabase(t, c, "anyindex")
	for _, manifest := range []string{"on", "checksums"} {
		b.backupOf("--manifest=" + manifest)
	}
}

// TestDumpInAnotherEncoding: the encoding in which pg_dump wrote is not that of the new
// database, unless it converts nothing.
func TestDumpInAnotherEncoding(t *testing.T) {
	c := database(t, "umlauts", "CREATE TABLE t AS SELECT 'é'::text AS t")
	b := withDatabase(t, c, "umlauts")
	b.env = append(b.env, "DB_NAME=gone") // which the new database would be like
	for encoding, want := range map[string]string{"LATIN1": "UTF8|1", "UTF8": "UTF8|1", "SQL_ASCII": "SQL_ASCII|2"} {
		dump, err := c.Command("pg_dump", "-E", encoding, "umlauts").Output()
		if err != nil {
			t.Fatal(err)
		}
		file, into := b.path(encoding+".sql.enc"), "into_"+strings.ToLower(encoding)
		b.run(exitOK, bytes.NewReader(dump), "seal", "--kind", "database", "-o", file)
		b.run(exitOK, nil, "restore", "database", file, "--into", into, "--yes")
		if got := strings.TrimSpace(c.Psql(t, into, "SELECT current_setting('server_encoding'), length(t) FROM t")); got != want {
			t.Errorf("of %s: %s, want %s", encoding, got, want)
		}
	}
}

// TestPooler: PgBouncer is recognised before anything starts.
func TestPooler(t *testing.T) {
	c := database(t, "pooled", "CREATE TABLE t AS SELECT 1 AS i")
	b := withDatabase(t, c, "pooled")
	path := b.backupOf()
	server := ""
	for _, kv := range c.Env() {
		if len(kv) > 7 && kv[:7] == "PGHOST=" {
			server = kv[7:]
		}
	}
	for _, mode := range []string{"session", "transaction"} {
		dir, err := os.MkdirTemp("", "pooler") // a socket's path is short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(dir, "ini")
		writeFile(t, config, fmt.Appendf(nil, "[databases]\n* = host=%s port=5432 user=takumi\n[pgbouncer]\nunix_socket_dir=%s\nlisten_port=6543\nauth_type=any\npool_mode=%s\n"+
			"ignore_startup_parameters=extra_float_digits,statement_timeout\n[users]\n", server, dir, mode))
		if err := os.Chmod(config, 0o644); err != nil {
			t.Fatal(err)
		}
		pooler := exec.Command("pgbouncer", "-q", "-u", "postgres", config)
		if os.Geteuid() != 0 {
			pooler = exec.Command("pgbouncer", "-q", config)
		}
		if err := pooler.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pooler.Process.Kill(); _ = pooler.Wait() })
		eventually(t, "the pooler listens", func() bool {
			_, err := os.Stat(filepath.Join(dir, ".s.PGSQL.6543"))
			return err == nil
		})
		through := withDatabase(t, c, "pooled")
		through.env = append(through.env, "DB_HOST="+dir, "DB_PORT=6543", "PGHOST="+dir, "PGPORT=6543")
		through.run(exitUsage, nil, "backup", "database").says("a connection pooler answers in the server's place")
		through.run(exitUsage, nil, "restore", "database", path, "--yes").says("a connection pooler answers")
	}
}
