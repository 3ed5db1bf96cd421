package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestRestoreLostDatabase: what a database was comes back with it, on a server that
// has lost it and its roles, and nobody gets a right that nobody had.
func TestRestoreLostDatabase(t *testing.T) {
	c := pgtest.Start(t)
	c.Psql(t, "postgres", `CREATE ROLE boss; CREATE ROLE guest;
		CREATE DATABASE gone OWNER boss TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' CONNECTION LIMIT 7`)
	c.Psql(t, "postgres", `COMMENT ON DATABASE gone IS 'ours'; REVOKE ALL ON DATABASE gone FROM PUBLIC; GRANT CONNECT ON DATABASE gone TO guest;
		ALTER DATABASE gone SET work_mem TO '5MB'; ALTER ROLE guest IN DATABASE gone SET application_name TO 'x'; ALTER DATABASE gone IS_TEMPLATE true`)
	c.Psql(t, "gone", `CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i; ALTER TABLE t OWNER TO boss; GRANT SELECT ON t TO guest`)
	b := withDatabase(t, c, "gone")
	properties := func() string {
		return c.Psql(t, "postgres", `SELECT pg_get_userbyid(datdba), encoding, datcollate, datctype, datconnlimit, datistemplate, datacl,
			shobj_description(d.oid, 'pg_database'), (SELECT array_agg((setrole::regrole, setconfig) ORDER BY 1) FROM pg_db_role_setting WHERE setdatabase = d.oid)
			FROM pg_database d WHERE datname = 'gone'`)
	}
	for _, format := range []string{"plain", "custom"} {
		path, want := b.backupOf("--format", format), properties()
		c.Psql(t, "postgres", "ALTER DATABASE gone IS_TEMPLATE false; DROP DATABASE gone; DROP ROLE boss; DROP ROLE guest")
		b.run(exitFailed, nil, "restore", "database", path, "--dry-run").says(`role "boss"`)
		dry := b.run(exitOK, nil, "restore", "database", path, "--dry-run", "--create-roles").stdout.String()
		if !strings.Contains(dry, `role "guest"`) {
			t.Errorf("the plan is\n%s", dry)
		}
		b.run(exitOK, nil, "restore", "database", path, "--yes", "--create-roles").says("all as the manifest has them")
		if got := properties(); got != want {
			t.Errorf("%s: got\n%s, want\n%s", format, got, want)
		}
		if got := c.Psql(t, "postgres", "SELECT bool_or(rolcanlogin OR rolsuper) FROM pg_roles WHERE rolname IN ('boss', 'guest')"); got != "f\n" {
			t.Error("a role that was made may do something")
		}
	}
}

// TestRestoreOfAnother: a backup replaces no other database unasked.
func TestRestoreOfAnother(t *testing.T) {
	c := database(t, "another_a", "CREATE TABLE t AS SELECT 1 AS i")
	createDB(t, c, "another_b")
	a, b := withDatabase(t, c, "another_a"), withDatabase(t, c, "another_b")
	b.env = append(b.env, "BACKUP_ROOT="+a.path("store"))
	for _, manifest := range []string{"on", "off"} {
		path := a.backupOf("--manifest=" + manifest)
		b.run(exitUsage, nil, "restore", "database", path, "--yes").says("the backup is of another database")
		b.run(exitUsage, nil, "restore", "database", path, "--yes", "--from-database", "other").says(`--from-database says "other"`)
		b.run(exitOK, nil, "restore", "database", path, "--yes", "--from-database", "another_a", "--drop-previous")
	}
}

// TestRestoreInTheWay: what keeps a database from being exchanged is found first.
func TestRestoreInTheWay(t *testing.T) {
	c := database(t, "in_the_way", "CREATE TABLE t AS SELECT 1 AS i")
	b := withDatabase(t, c, "in_the_way")
	c.Psql(t, "in_the_way", "CREATE SUBSCRIPTION enabled_one CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)")
	path := b.backupOf()
	b.run(exitOK, nil, "restore", "database", path, "--dry-run")
	c.Psql(t, "in_the_way", "ALTER SUBSCRIPTION enabled_one ENABLE")
	b.run(exitFailed, nil, "restore", "database", path, "--dry-run").says(`subscription "enabled_one" goes on`)
	c.Psql(t, "in_the_way", "ALTER SUBSCRIPTION enabled_one DISABLE; CREATE VIEW broken AS SELECT 1 / i AS x FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM broken; UPDATE t SET i = 0")

	// A database with a subscription cannot be dropped: nothing that a restore has made,
	// or kept, may stay for that.
	failing, format := b.backupOf("--manifest=off"), "--format=custom"
	b.run(exitFailed, nil, "restore", "database", failing, "--yes").says("division by zero")
	b.run(exitFailed, nil, "restore", "database", b.backupOf("--manifest=off", format), "--yes").says("division by zero")
	if got := databases(t, c, "in_the_way"); len(got) != 1 {
		t.Errorf("the databases are %q", got)
	}
	b.run(exitOK, nil, "restore", "database", path, "--yes", "--drop-previous")
	if got := databases(t, c, "in_the_way"); len(got) != 1 || c.Psql(t, "in_the_way", "SELECT i FROM t") != "1\n" {
		t.Errorf("the databases are %q", got)
	}
	c.Psql(t, "in_the_way", "ALTER SUBSCRIPTION enabled_one SET (slot_name = NONE); DROP SUBSCRIPTION enabled_one")
}

// TestRestoreScripts: dumps with statements about the database itself fill the new
// one and leave the live one alone.
func TestRestoreScripts(t *testing.T) {
	c := database(t, "scripts", schema)
	b := withDatabase(t, c, "scripts")
	want := rows(t, c, "scripts")
	for _, args := range [][]string{{"-C"}, {"-c"}, {"-c", "-C"}, {"-c", "--if-exists"}, {"--inserts"}} {
		dump, err := c.Command("pg_dump", append(args, "scripts")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		sealed := b.path("script.enc")
		b.seal(dump, "-o", sealed)
		b.run(exitOK, nil, "restore", "database", sealed, "--yes", "--into", "scripts_into")
		if rows(t, c, "scripts_into") != want || rows(t, c, "scripts") != want {
			t.Errorf("%q: the rows differ", args)
		}
		c.Psql(t, "postgres", "DROP DATABASE scripts_into")
		b.run(exitOK, nil, "restore", "database", sealed, "--yes", "--drop-previous")
		if rows(t, c, "scripts") != want {
			t.Errorf("%q: the rows differ", args)
		}
		os.Remove(sealed)
		os.Remove(sealed + ".sha256")
	}
}

// TestRestoreForms: dumps come in more forms than this program makes.
func TestRestoreForms(t *testing.T) {
	c := database(t, "forms", schema)
	b := withDatabase(t, c, "forms")
	want := rows(t, c, "forms")
	for name, command := range map[string]string{
		"tar":            "pg_dump -Ft forms",
		"gzip":           "pg_dump forms | gzip",
		"gzip by itself": "pg_dump -Z6 forms",
		"bzip2":          "pg_dump forms | bzip2",
		"custom in zstd": "pg_dump -Fc -Z0 forms | zstd -q",
	} {
		run := c.Command("psql") // for its environment
		shell := exec.Command("sh", "-c", command)
		shell.Env = run.Env
		dump, err := shell.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sealed := b.path("form.enc")
		b.seal(dump, "-o", sealed)
		b.run(exitOK, nil, "restore", "database", sealed, "--yes", "--into", "forms_into")
		if rows(t, c, "forms_into") != want {
			t.Errorf("%s: the rows differ", name)
		}
		c.Psql(t, "postgres", "DROP DATABASE forms_into")
		os.Remove(sealed)
		os.Remove(sealed + ".sha256")
	}
	dump, err := c.Command("pg_dump", "forms").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Whole but for its closing line, as somebody may have edited it.
	cut := b.path("cut.enc")
	b.seal(dump[:strings.LastIndex(string(dump), "--\n-- PostgreSQL database dump complete")], "-o", cut, "--guard=off")
	b.run(exitFailed, nil, "restore", "database", cut, "--yes", "--into", "forms_into").says("not whole")
	b.run(exitOK, nil, "restore", "database", cut, "--yes", "--into", "forms_into", "--guard=off")
	if rows(t, c, "forms_into") != want {
		t.Error("without the guard: the rows differ")
	}
	c.Psql(t, "postgres", "DROP DATABASE forms_into")
	const mariadb = "-- MariaDB dump 10.19  Distrib 10.11\n-- Dump completed\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, mariadb) // to memory
	z.Close()
	for content, says := range map[string]string{
		mariadb:         "open FILE | mariadb NAME",
		zipped.String(): "open FILE | gzip -dc | mariadb NAME",
		"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n":               "open FILE | sqlite3 NAME.db",
		"--\n-- PostgreSQL database cluster dump\n--\n\n\\! touch /tmp/never\n": "brings it to psql",
		"REDIS0010":                    "open FILE > dump.rdb, into the data folder",
		"\x6d\xe2\x99\x81":             "open FILE | mongorestore --archive",
		"\x04\x22\x4d\x18\x64\x40\xa7": "open FILE | lz4 -dc | psql",
		"\xfd7zXZ\x00":                 "open FILE | xz -dc | psql",
		"SQLite format 3\x00":          "open FILE > NAME brings back what it is",
	} {
		other := b.path("other.enc")
		b.seal([]byte(content), "-o", other, "--guard=off")
		b.run(exitFailed, nil, "restore", "database", other, "--yes").says(says)
		b.run(exitFailed, nil, "restore", "database", other, "--dry-run", "--guard=off").says(says)
		os.Remove(other)
		os.Remove(other + ".sha256")
	}
}

// TestRestoreOfALaterPgDump: a setting that only later servers know keeps nothing from
// coming back.
func TestRestoreOfALaterPgDump(t *testing.T) {
	c := database(t, "later", "CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i; ALTER TABLE t ADD PRIMARY KEY (i)")
	b := withDatabase(t, c, "later")
	dump, err := c.Command("pg_dump", "later").Output()
	if err != nil {
		t.Fatal(err)
	}
	const set = "SET lock_timeout = 0;\n"
	sealed := b.seal(bytes.Replace(dump, []byte(set), []byte(set+"SET transaction_timeout = 0;\n"), 1))
	for _, jobs := range []string{"1", "2"} {
		b.run(exitOK, nil, "restore", "database", sealed, "--yes", "--into", "later_into", "--jobs", jobs).
			says("SET transaction_timeout is left out of the dump: the server, PostgreSQL 15, does not know it")
		if got := dumpOf(t, c, "later_into"); got != dumpOf(t, c, "later") {
			t.Errorf("with %s jobs came back:\n%s", jobs, got)
		}
		c.Psql(t, "postgres", "DROP DATABASE later_into")
	}
}

// TestRestoreOfRowsAlone: a dump without tables is recognised, and the way to use it named.
func TestRestoreOfRowsAlone(t *testing.T) {
	c := database(t, "alone", "CREATE TABLE t AS SELECT 1 AS i")
	b := withDatabase(t, c, "alone")
	for _, args := range [][]string{{"-a"}, {"-a", "--inserts"}, {"-a", "-Fc"}} {
		dump, err := c.Command("pg_dump", append(args, "alone")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		sealed := b.seal(dump)
		b.run(exitFailed, nil, "restore", "database", sealed, "--yes").says("(pg_dump -a)").says("takumi-backup open FILE | psql")
		b.run(exitFailed, nil, "restore", "database", sealed, "--dry-run").says("the dump has rows and makes no table for them")
	}
	b.backupOf()
	for _, name := range files(t, b.path("store")) {
		if strings.HasSuffix(name, ".manifest.json.zst.enc") {
			b.run(exitFailed, nil, "restore", "database", b.path("store/"+name), "--yes").says("it is the manifest of one")
			return
		}
	}
	t.Error("there is no manifest")
}

// TestRestoreKeepGoing: what one statement cannot make does not keep the rest from
// coming back, and the live database is exchanged only when that is asked for.
func TestRestoreKeepGoing(t *testing.T) {
	c := database(t, "keeps", `CREATE FUNCTION helper() RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION outer_one() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN helper(); END $$;
		CREATE MATERIALIZED VIEW m AS SELECT outer_one() AS i; CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i`)
	b := withDatabase(t, c, "keeps")
	for _, format := range []string{"plain", "custom"} {
		path := b.backupOf("--format", format)
		b.run(exitFailed, nil, "restore", "database", path, "--yes")
		run := b.run(exitSome, nil, "restore", "database", path, "--yes", "--keep-going").says("1 statements failed")
		part := strings.TrimSpace(run.stdout.String())
		if !strings.HasPrefix(part, "keeps_partial_") || c.Psql(t, part, "SELECT count(*) FROM t") != "10\n" {
			t.Errorf("%s: restored into %q", format, part)
		}
		c.Psql(t, "postgres", `DROP DATABASE "`+part+`"`)
		if all := databases(t, c, "keeps"); len(all) != 1 {
			t.Errorf("the databases are %q", all)
		}
		b.run(exitSome, nil, "restore", "database", path, "--yes", "--keep-going", "--swap")
		if c.Psql(t, "keeps", "SELECT count(*) FROM t") != "10\n" || len(databases(t, c, "keeps")) != 2 {
			t.Errorf("%s: the databases are %q", format, databases(t, c, "keeps"))
		}
		b.run(exitOK, nil, "restore", "database", "--drop-previous", "--yes")
		c.Psql(t, "keeps", "REFRESH MATERIALIZED VIEW m")
	}
}
