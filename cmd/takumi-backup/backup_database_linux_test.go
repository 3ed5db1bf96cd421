package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// rich has one of each thing that a dump may get wrong.
const rich = `
CREATE EXTENSION pgcrypto; CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('calm', '花', '🎯');
CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, mood mood,
  tags text[], matrix int[][], about jsonb, raw json, extra hstore, proof bytea,
  upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
INSERT INTO people (name, mood, tags, matrix, about, raw, extra, proof)
  SELECT 'naïve 🎯𝔘 ' || i || E'\t\\\n', (enum_range(NULL::mood))[1 + i % 3], ARRAY['a,b', NULL, E'"q"\\', '🧪'], ARRAY[[i, 2], [3, NULL]],
    jsonb_build_object('n', i, 'deep', jsonb_build_array(1.50, NULL, '🐘')), '{"b": 1,  "a": 1, "a": 2}', hstore('k', i::text),
    digest(i::text, 'sha256') FROM generate_series(1, 500) i;
CREATE TABLE numbers (id bigserial PRIMARY KEY, person int REFERENCES people, f8 float8, f4 float4, n numeric, t timestamptz, d date, i interval, b bit(5), net inet);
INSERT INTO numbers (person, f8, f4, n, t, d, i, b, net) VALUES
  (1, 'NaN', 'NaN', 'NaN', 'infinity', '-infinity', '1 mon -2 days 3.000001 s', B'10101', '::1/64'), (2, 'Infinity', '-Infinity', 1e-200, '-infinity', 'infinity', NULL, NULL, NULL),
  (3, 0.1::float8 + 0.2, 1.17549435e-38, 123456789012345678901234567890.123456789, '1000-01-01 00:00:00.123456 BC', '0044-03-15 BC', '0', B'00000', '10.0.0.0/8'),
  (4, '-0', 1e-45::float4, -0.00, 'epoch', '9999-12-31', NULL, NULL, NULL) ON CONFLICT DO NOTHING;
CREATE TABLE events (at timestamptz NOT NULL, person int REFERENCES people ON DELETE CASCADE, what text, PRIMARY KEY (at, what)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-06-01') PARTITION BY HASH (what);
CREATE TABLE events_1a PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_1b PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_2 PARTITION OF events DEFAULT;
INSERT INTO events SELECT timestamptz '2026-01-01 UTC' + i * interval '1 hour', 1 + i % 500, 'what ' || i FROM generate_series(1, 6000) i;
CREATE SCHEMA "my schema";
CREATE TABLE "my schema"."Odd ""name"", a.b" ("select" int, " " text);
INSERT INTO "my schema"."Odd ""name"", a.b" VALUES (1, E'\\.'), (2, ''), (3, NULL), (4, E'-- PostgreSQL database dump complete');
CREATE TABLE nothing ();
CREATE VIEW calm AS SELECT id FROM people WHERE mood = 'calm';
CREATE MATERIALIZED VIEW counts AS SELECT person, count(*) FROM events GROUP BY person;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := NEW.name || '!'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION touch();
SELECT setval('numbers_id_seq', 4711);
SELECT lo_from_bytea(4000000001, 'small'), lo_from_bytea(77, ''), lo_from_bytea(78, decode(repeat('00ff5c0a', 300000), 'hex'));
COMMENT ON LARGE OBJECT 77 IS 'empty 🎯';
`

// withDatabase is a sandbox whose DB_* variables lead to a database.
func withDatabase(t *testing.T, c *pgtest.Cluster, name string) *sandbox {
	t.Helper()
	b := withCluster(t, c)
	b.env = append(b.env, "DB_NAME="+name, "DB_USER="+pgtest.User)
	return b
}

// rows returns all that the tables and large objects of a database hold, in
// order.
func rows(t *testing.T, c *pgtest.Cluster, db string) string {
	t.Helper()
	var script strings.Builder
	script.WriteString("SET extra_float_digits = 3;\n")
	for name := range strings.Lines(c.Psql(t, db, `SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname, relname`)) {
		name = strings.TrimSpace(name)
		script.WriteString("SELECT 'table', $n$" + name + "$n$;\nCOPY (SELECT * FROM " + name + " t ORDER BY t::text) TO STDOUT;\n")
	}
	script.WriteString("SELECT oid, sha256(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1;\n")
	return c.Psql(t, db, script.String())
}

// made returns the paths that a run has printed.
func (r *running) made() []string { return strings.Fields(r.stdout.String()) }

func TestBackupDatabase(t *testing.T) {
	c := database(t, "backup rich", rich)
	want := dumpOf(t, c, "backup rich")
	for _, format := range []string{"plain", "custom"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := withDatabase(t, c, "backup rich")
			run := b.run(exitOK, nil, "backup", "database", "--format", format, "--globals", "--manifest")
			paths := run.made()
			ending := map[string]string{"plain": ".sql.zst.enc", "custom": ".dump.zst.enc"}[format]
			if len(paths) != 4 { // the name has a space
				t.Fatalf("printed %q", run.stdout.String())
			}
			lines := strings.Split(strings.TrimSpace(run.stdout.String()), "\n")
			globals, dump := lines[0], lines[1]
			if !strings.HasPrefix(globals, b.path("store/database/backup rich_globals_")) || !strings.HasSuffix(globals, ".sql.zst.enc") {
				t.Errorf("the roles went to %s", globals)
			}
			if !strings.HasPrefix(dump, b.path("store/database/backup rich_db_")) || !strings.HasSuffix(dump, ending) {
				t.Errorf("the dump went to %s", dump)
			}
			opened := b.run(exitOK, nil, "open", dump).stdout.Bytes()
			if format == "plain" && withoutTokens(opened) != want {
				t.Error("the backup is not what pg_dump writes")
			}
			if roles := b.run(exitOK, nil, "open", globals).stdout.String(); !strings.Contains(roles, "CREATE ROLE "+pgtest.User) {
				t.Errorf("the backup of the roles is:\n%s", roles)
			}
			manifest := strings.TrimSuffix(dump, ending) + ".manifest.json.zst.enc"
			var m postgres.Manifest
			if err := json.Unmarshal(b.run(exitOK, nil, "open", manifest).stdout.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(m.Tables, func(t postgres.Table) bool { return t.Name == "people" })
			if m.Database != "backup rich" || at < 0 || m.Tables[at].Rows != 500 || m.LargeObjects.Rows != 3 {
				t.Errorf("the manifest is %+v", m)
			}
		})
	}
}

// TestBackupDatabaseFails: no backup, an exit code that says so, and the older
// backups are what they were.
func TestBackupDatabaseFails(t *testing.T) {
	c := database(t, "backup fails", schema)
	protected := guarded(t)
	for name, tc := range map[string]struct {
		env  []string
		args []string
		says string
	}{
		"missing database": {[]string{"DB_NAME=no such database"}, nil, `database "no such database" does not exist`},
		"no server":        {[]string{"DB_HOST=" + t.TempDir()}, nil, "connecting to database"},
		"no server, TCP":   {[]string{"DB_HOST=127.0.0.1", "DB_PORT=1"}, nil, "connecting to database"},
		"wrong password":   {append(protected, "DB_PASSWORD=wrong-secret"), nil, "password authentication failed"},
		"wrong in a URI":   {protected, []string{"--db", "postgresql://guarded:wrong-secret@/guarded"}, "password authentication failed"},
		"no password":      {protected, nil, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withDatabase(t, c, "backup fails")
			old := b.run(exitOK, nil, "backup", "database").made()
			before := files(t, b.dir)
			b.env = append(b.env, tc.env...)
			run := b.run(exitSource, nil, append([]string{"backup", "database", "--globals", "--manifest"}, tc.args...)...).says(tc.says)
			if run.stdout.Len() != 0 {
				t.Errorf("printed %q", run.stdout.String())
			}
			if strings.Contains(run.stderr.String(), "wrong-secret") {
				t.Errorf("the password is shown:\n%s", run.stderr.String())
			}
			if len(old) == 0 || !slices.Equal(files(t, b.dir), before) {
				t.Errorf("the store holds %q", files(t, b.dir))
			}
		})
	}
	t.Run("right password", func(t *testing.T) {
		t.Parallel()
		for _, tc := range []struct{ env, args []string }{
			{append(slices.Clone(protected), "DB_PASSWORD=right-secret"), nil},
			{append(slices.Clone(protected), "PGPASSWORD=right-secret"), []string{"--db", "postgresql://guarded@/guarded"}},
			{protected, []string{"--db", "postgresql://guarded:right-secret@/guarded"}},
		} {
			b := withDatabase(t, c, "")
			b.env = append(b.env, tc.env...)
			b.run(exitOK, nil, append([]string{"backup", "database", "--globals", "--manifest"}, tc.args...)...).says("without")
		}
	})
}

// guarded returns the environment of a cluster that wants a password, which is
// right-secret for the role and database guarded.
func guarded(t *testing.T) []string {
	t.Helper()
	c := pgtest.Start(t)
	c.Psql(t, "postgres", `SET password_encryption = 'scram-sha-256'; CREATE ROLE guarded LOGIN PASSWORD 'right-secret'; CREATE DATABASE guarded OWNER guarded`)
	hba := strings.TrimSpace(c.Psql(t, "postgres", "SHOW hba_file"))
	writeFile(t, hba, []byte("local all takumi trust\nlocal all all scram-sha-256\n"))
	c.Psql(t, "postgres", "SELECT pg_reload_conf()")
	var env []string
	for _, kv := range c.Env() {
		if host, ok := strings.CutPrefix(kv, "PGHOST="); ok {
			env = append(env, "PGHOST="+host, "DB_HOST="+host)
		}
	}
	return append(env, "DB_NAME=guarded", "DB_USER=guarded")
}

// TestBackupDatabaseStops: pg_dump is killed, or the server goes down, while
// the dump is under way.
func TestBackupDatabaseStops(t *testing.T) {
	for name, stop := range map[string]func(t *testing.T, c *pgtest.Cluster){
		"pg_dump killed": func(t *testing.T, c *pgtest.Cluster) { syscall.Kill(dumpOn(t, c), syscall.SIGKILL) },
		"server stopped": func(t *testing.T, c *pgtest.Cluster) {
			data := strings.TrimSpace(c.Psql(t, "postgres", "SHOW data_directory"))
			postmaster, err := strconv.Atoi(strings.Fields(string(readFile(t, filepath.Join(data, "postmaster.pid"))))[0])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { startAgain(t, c, data) })
			syscall.Kill(postmaster, syscall.SIGQUIT)
			eventually(t, "the server is down", func() bool { return isGone(postmaster) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Start(t)
			c.CreateDB(t, "long")
			c.Psql(t, "long", longSchema)
			b := withDatabase(t, c, "long")
			b.seal([]byte("yesterday's"), "-o", "yesterday.enc")
			backup := b.start(b.program("backup", "database"))
			eventually(t, "the backup is written", func() bool { return len(files(t, b.path("store"))) > 0 })
			// While it is stopped, pg_dump cannot come to its end.
			backup.Process.Signal(syscall.SIGSTOP)
			stop(t, c)
			backup.Process.Signal(syscall.SIGCONT)
			backup.exits(exitSource).says("nothing was kept")
			b.holds("yesterday.enc", "yesterday.enc.sha256")
		})
	}
}

// startAgain starts a stopped server, which its cluster expects to find running.
func startAgain(t *testing.T, c *pgtest.Cluster, data string) {
	t.Helper()
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	cmd := c.Command("pg_ctl", "-D", data, "-w", "-s", "-l", filepath.Join(data, "log of the restart"), "restart")
	cmd.Dir = data
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if err := cmd.Run(); err != nil {
		t.Errorf("starting the server again: %v", err)
	}
}

// dumpOn returns the process that dumps from the cluster.
func dumpOn(t *testing.T, c *pgtest.Cluster) int {
	t.Helper()
	host := ""
	for _, kv := range c.Env() {
		if strings.HasPrefix(kv, "PGHOST=") {
			host = kv
		}
	}
	found := 0
	eventually(t, "pg_dump runs", func() bool {
		procs, _ := filepath.Glob("/proc/[0-9]*")
		for _, proc := range procs {
			words, _ := os.ReadFile(proc + "/cmdline")
			env, _ := os.ReadFile(proc + "/environ")
			if program, _, _ := bytes.Cut(words, []byte{0}); filepath.Base(string(program)) == "pg_dump" && bytes.Contains(env, []byte(host+"\x00")) {
				found, _ = strconv.Atoi(filepath.Base(proc))
			}
		}
		return found != 0
	})
	return found
}

func TestBackupDatabaseToFullDisk(t *testing.T) {
	c := database(t, "backup full", longSchema)
	b := smallDisk(t)
	b.env = append(withDatabase(t, c, "backup full").env, "BACKUP_ROOT="+b.dir, "TMPDIR="+b.tmp)
	c.Psql(t, "backup full", "CREATE TABLE noise AS SELECT gen_random_uuid() FROM generate_series(1, 200000)")
	b.run(exitStore, nil, "backup", "database").says("no space left on device")
	if got := files(t, b.dir); len(got) != 0 {
		t.Errorf("the disk holds %q", got)
	}
}

// TestBackupDatabaseOddName: names that cannot be in a path.
func TestBackupDatabaseOddName(t *testing.T) {
	name := `../o'dd\ name`
	c := database(t, name, schema)
	b := withDatabase(t, c, name)
	path := strings.TrimSpace(b.run(exitOK, nil, "backup", "database", "--globals", "--manifest").stdout.String())
	_, path, _ = strings.Cut(path, "\n")
	if !strings.HasPrefix(path, b.path("store/database/_._o'dd_ name-bdc46eba_db_")) {
		t.Errorf("the backup went to %q", path)
	}
	b.run(exitOK, nil, "restore", "database", path, "--yes").says("as the manifest has them")
}

// TestCutDump: a dump that was cut anywhere is refused. 40 places at random, or
// 200 in the long run, for each format; a plain dump is in truth complete once
// its last comment is.
func TestCutDump(t *testing.T) {
	c := database(t, "cut", rich)
	cuts := 40
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		cuts = 200
	}
	for format, d := range dumps {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := withCluster(t, c)
			dump, err := c.Command(d.dump[0], on(d.dump[1:], "cut")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			whole := len(dump)
			if format == "plain" {
				// What follows is the end of a comment, an empty line and, since
				// August 2025, \unrestrict: nothing that changes the database.
				whole = bytes.LastIndex(dump, []byte("dump complete\n")) + len("dump complete\n")
			}
			// Nor does what is shorter than its format's first words show what it
			// is; backup database, which knows what it asked for, refuses that too.
			shown := 0
			for guard.Sniff(dump[:shown]) == guard.Unknown {
				shown++
			}
			random := rand.New(rand.NewPCG(5, uint64(len(format))))
			refused := 0
			for range cuts {
				n := shown + random.IntN(whole-shown)
				run := b.run(exitSource, bytes.NewReader(dump[:n]), "seal")
				if run.ProcessState.ExitCode() == exitSource && run.stdout.Len() == 0 {
					refused++
				} else {
					t.Errorf("cut at %d of %d: accepted", n, len(dump))
				}
			}
			b.holds()
			t.Logf("%s: refused %d of %d cuts between %d and %d of %d bytes", format, refused, cuts, shown, whole, len(dump))
		})
	}
}

// tokens are the lines of a plain dump with a random word.
var tokens = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

func withoutTokens(dump []byte) string { return tokens.ReplaceAllString(string(dump), "") }

// TestBackupDatabasePlain: without encryption there is a packed file, with its
// sidecar, and nothing else is different.
func TestBackupDatabasePlain(t *testing.T) {
	c := database(t, "plain", schema)
	b := withDatabase(t, c, "plain")
	b.env = append(b.env, "BACKUP_ENCRYPTION_ENABLED=false", "BACKUP_ENCRYPTION_KEY_FILE=")
	run := b.run(exitOK, nil, "backup", "database").says("warning: BACKUP_ENCRYPTION_ENABLED is false")
	path := run.made()[0]
	if !strings.HasSuffix(path, ".sql.zst") {
		t.Errorf("the backup went to %s", path)
	}
	sum := b.command("sha256sum", "-c", filepath.Base(path)+".sha256")
	sum.Dir = filepath.Dir(path)
	b.start(sum).exits(0)
	dump := b.start(b.command("zstd", "-dc", path)).exits(0)
	if withoutTokens(dump.stdout.Bytes()) != dumpOf(t, c, "plain") {
		t.Error("the file is not what pg_dump writes")
	}
	if got := files(t, b.path("store")); len(got) != 2 {
		t.Errorf("the store holds %q", got)
	}
}

// TestBackupDatabaseSecret: pg_dump gets the password, and the list of
// processes does not.
func TestBackupDatabaseSecret(t *testing.T) {
	env := guarded(t)
	b := withDatabase(t, pgtest.Shared(t), "")
	b.env = append(b.env, env...)
	version := strings.Fields(string(b.start(b.command("pg_dump", "--version")).exits(0).stdout.Bytes()))[2]
	bin := t.TempDir()
	spy := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) " + version + "'; exit; fi\n" +
		"tr '\\0' '\\n' </proc/$$/cmdline >" + bin + "/argv\nprintf %s \"$PGPASSWORD\" >" + bin + "/password\nexit 9\n"
	if err := os.WriteFile(bin+"/pg_dump", []byte(spy), 0o700); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "PATH="+bin+":"+os.Getenv("PATH"))
	for _, tc := range []struct{ env, args []string }{
		{[]string{"DB_PASSWORD=right-secret"}, nil},
		{nil, []string{"--db", "postgresql://guarded:right-secret@/guarded"}},
	} {
		one := *b
		one.env = append(slices.Clone(b.env), tc.env...)
		one.run(exitSource, nil, append([]string{"backup", "database"}, tc.args...)...).says("pg_dump exited with status 9")
		if argv := string(readFile(t, bin+"/argv")); strings.Contains(argv, "secret") || !strings.Contains(argv, "dbname='guarded'") {
			t.Errorf("pg_dump was called as %q", argv)
		}
		if got := string(readFile(t, bin+"/password")); got != "right-secret" {
			t.Errorf("pg_dump got the password %q", got)
		}
	}
	b.holds()

	// A program that gives something else, and says that all is well.
	writeFile(t, bin+"/pg_dump", []byte(strings.Replace(spy, "exit 9", "echo -- Postgre", 1)))
	b.env = append(b.env, "DB_PASSWORD=right-secret")
	b.run(exitSource, nil, "backup", "database").says("gave no plain SQL dump")
	b.holds()
}

// TestBackupDatabaseWithoutGlobals: a pg_dumpall that fails is an error, and no
// reason to stay without a dump.
func TestBackupDatabaseWithoutGlobals(t *testing.T) {
	c := database(t, "rolesfail", schema)
	b := withDatabase(t, c, "rolesfail")
	bin := t.TempDir()
	spy := "#!/bin/sh\nif [ \"$1\" = --version ]; then exec pg_dump --version; fi\nexit 9\n"
	if err := os.WriteFile(bin+"/pg_dumpall", []byte(spy), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, kv := range b.env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			b.env[i] = "PATH=" + bin + ":" + path
		}
	}
	run := b.run(exitSource, nil, "backup", "database", "--globals", "--manifest").says("pg_dumpall exited with status 9").says("complete all the same")
	if made := run.made(); len(made) != 1 || !strings.Contains(made[0], "rolesfail_db_") {
		t.Fatalf("printed %q", made)
	}
	b.run(exitOK, nil, "restore", "database", run.made()[0], "--yes", "--drop-previous").says("as the manifest has them")
}

// TestManifestNames: two backups whose manifests would have one name.
func TestManifestNames(t *testing.T) {
	c := database(t, "manifests", schema)
	b := withDatabase(t, c, "manifests")
	b.run(exitOK, nil, "backup", "database", "--manifest", "-o", "x.sql.enc")
	b.run(exitOK, nil, "backup", "database", "--manifest", "-o", "x.dump.enc", "--format", "custom")
	b.holds("x.dump.enc", "x.dump.enc.sha256", "x.manifest-2.json.zst.enc", "x.manifest-2.json.zst.enc.sha256",
		"x.manifest.json.zst.enc", "x.manifest.json.zst.enc.sha256", "x.sql.enc", "x.sql.enc.sha256")
	for _, name := range []string{"x.sql.enc", "x.dump.enc"} {
		run := b.run(exitOK, nil, "restore", "database", name, "--dry-run")
		if !strings.Contains(run.stdout.String(), "tables by the manifest") || run.stderr.Len() > 0 {
			t.Errorf("%s: %s%s", name, run.stdout.String(), run.stderr.String())
		}
	}
}

// TestStandby: a standby does not have the rows of unlogged tables. It is backed up
// without them, and its backups are restored and rehearsed.
func TestStandby(t *testing.T) {
	c := pgtest.Start(t, "wal_level=replica")
	c.CreateDB(t, "standby")
	c.Psql(t, "standby", "CREATE UNLOGGED TABLE u AS SELECT 1 AS n; CREATE TABLE kept AS SELECT 2 AS n")
	c.BecomeStandby(t)
	of, back := withDatabase(t, c, "standby"), withDatabase(t, pgtest.Shared(t), "restored")
	for i, manifest := range []string{"--manifest", "--manifest=checksums"} {
		run := of.run(exitOK, nil, "backup", "database", manifest).says("the rows of 1 unlogged tables are not in the backup")
		into := "of_standby_" + strconv.Itoa(i)
		back.run(exitOK, nil, "restore", "database", strings.TrimSpace(run.stdout.String()), "--yes", "--into", into).says("1 unlogged tables are empty")
		if got := pgtest.Shared(t).Psql(t, into, "SELECT count(*) FROM u; SELECT n FROM kept"); got != "0\n2\n" {
			t.Errorf("%s: restored is %q", manifest, got)
		}
	}
	apart(t, c, of).drill(exitOK, scratchDir(t))
}
