package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// databases lists a cluster's databases whose names begin with prefix.
func databases(t *testing.T, c *pgtest.Cluster, prefix string) []string {
	t.Helper()
	text := c.Psql(t, "postgres", "SELECT datname FROM pg_database WHERE starts_with(datname, $$"+prefix+"$$) ORDER BY 1")
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// backupOf backs a database up and returns the path.
func (b *sandbox) backupOf(args ...string) string {
	b.Helper()
	run := b.run(exitOK, nil, append([]string{"backup", "database"}, args...)...)
	return strings.TrimSuffix(run.stdout.String(), "\n")
}

// TestRestoreDatabase: what was there at the time of the backup is there again,
// and what was there before the restore is kept.
func TestRestoreDatabase(t *testing.T) {
	c := pgtest.Shared(t)
	c.Psql(t, "postgres", "DROP ROLE IF EXISTS visitor; CREATE ROLE visitor")
	for _, format := range []string{"plain", "custom", "parallel"} {
		for _, manifest := range []string{"--manifest", "--manifest=off"} {
			if manifest == "--manifest=off" && format != "plain" && os.Getenv("TAKUMI_TEST_LONG") == "" {
				continue // the format makes no difference to what a manifest is for
			}
			t.Run(format+manifest, func(t *testing.T) {
				t.Parallel()
				name, jobs := "rich"+format+fmt.Sprint(len(manifest)), "1"
				if format == "parallel" {
					format, jobs = "plain", "2"
				}
				c := database(t, name, rich)
				c.Psql(t, "postgres", strings.ReplaceAll(`COMMENT ON DATABASE NAME IS 'our 🎯'; REVOKE ALL ON DATABASE NAME FROM PUBLIC;
					GRANT CONNECT ON DATABASE NAME TO visitor WITH GRANT OPTION; ALTER DATABASE NAME CONNECTION LIMIT 77;
					ALTER DATABASE NAME SET search_path TO "my schema", public; ALTER DATABASE NAME SET work_mem TO '5MB';
					ALTER ROLE visitor IN DATABASE NAME SET application_name TO 'a''b\c'`, "NAME", name))
				c.Psql(t, name, "CREATE TABLE public.later (id int); DROP TABLE public.later") // a gap in the oids
				properties := func() string {
					return c.Psql(t, "postgres", `SELECT datname, datdba, encoding, datcollate, datconnlimit, datacl, shobj_description(d.oid, 'pg_database'),
						(SELECT array_agg((setrole, setconfig) ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)
						FROM pg_database d WHERE datname = '`+name+`'`)
				}
				b := withDatabase(t, c, name)
				path := b.backupOf("--format", format, "--jobs", jobs, manifest)
				wantDump, wantRows, wantProperties := dumpOf(t, c, name), rows(t, c, name), properties()

				c.Psql(t, name, "DELETE FROM public.events; CREATE TABLE public.since (id int)")
				changed := dumpOf(t, c, name)
				args := []string{"restore", "database", path, "--jobs", jobs}
				b.run(exitUsage, nil, args...).says("give --yes")
				dry := b.run(exitOK, nil, append(args, "--dry-run")...)
				if dry.stdout.Len() == 0 || dumpOf(t, c, name) != changed || len(databases(t, c, name)) != 1 {
					t.Errorf("--dry-run did something, and printed %q", dry.stdout.String())
				}
				run := b.run(exitOK, nil, append(args, "--yes")...)
				if run.stdout.String() != name+"\n" {
					t.Errorf("printed %q", run.stdout.String())
				}
				if manifest == "--manifest" {
					run.says("all as the manifest has them")
				}
				if dumpOf(t, c, name) != wantDump {
					t.Error("a dump of the restored database differs")
				}
				if rows(t, c, name) != wantRows {
					t.Error("the rows of the restored database differ")
				}
				if got := c.Psql(t, name, "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'm', 'p') AND relnamespace::regnamespace::text !~ '^(pg_toast|information_schema)' AND reltuples < 0"); got != "0\n" {
					t.Errorf("%s tables were not analyzed", got)
				}
				if got := properties(); got != wantProperties {
					t.Errorf("the restored database is\n%s, want\n%s", got, wantProperties)
				}
				all := databases(t, c, name)
				if len(all) != 2 || !strings.HasPrefix(all[1], name+"_before_") || dumpOf(t, c, all[1]) != changed {
					t.Errorf("the databases are %q", all)
				}

				b.run(exitOK, nil, append(args, "--yes", "--into", name+"_into")...)
				if dumpOf(t, c, name+"_into") != wantDump {
					t.Error("--into restored something else")
				}
				b.run(exitFailed, nil, append(args, "--yes", "--into", name+"_into")...).says("exists already")
				if got := b.run(exitOK, nil, "restore", "database", "--drop-previous", "--yes").stdout.String(); got != all[1]+"\n" {
					t.Errorf("--drop-previous printed %q", got)
				}
				b.run(exitOK, nil, append(args, "--yes", "--drop-previous", "--json")...)
				if got := databases(t, c, name); !slices.Equal(got, []string{name, name + "_into"}) {
					t.Errorf("the databases are %q", got)
				}
				c.Psql(t, "postgres", "DROP DATABASE "+name+"; DROP DATABASE "+name+"_into") // the role can go
			})
		}
	}
}

// TestRestoreDatabaseFresh: the server has lost the database, or is a new one.
func TestRestoreDatabaseFresh(t *testing.T) {
	c := database(t, "lost", schema)
	b := withDatabase(t, c, "lost")
	path := b.backupOf("--manifest")
	want := rows(t, c, "lost")
	c.Psql(t, "postgres", "DROP DATABASE lost")
	b.run(exitOK, nil, "restore", "database", path, "--yes")
	if rows(t, c, "lost") != want || len(databases(t, c, "lost")) != 1 {
		t.Errorf("the restored database differs; there are %q", databases(t, c, "lost"))
	}
}

// TestRestoreDatabaseAsOwner: no superuser is needed, only a role that owns the
// database and may make others.
func TestRestoreDatabaseAsOwner(t *testing.T) {
	c := pgtest.Start(t)
	c.Psql(t, "postgres", `CREATE ROLE app LOGIN CREATEDB; CREATE ROLE reader; CREATE DATABASE app OWNER app`)
	c.Psql(t, "postgres", `REVOKE ALL ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO reader; ALTER DATABASE app SET work_mem = '5MB'`)
	c.Psql(t, "app", "SET ROLE app; CREATE EXTENSION pgcrypto; CREATE TABLE t AS SELECT 1 AS id; GRANT SELECT ON t TO reader; SELECT lo_from_bytea(7, 'x')")
	want := rows(t, c, "app")
	b := withDatabase(t, c, "app")
	b.env = append(b.env, "DB_USER=app")
	for _, format := range []string{"plain", "custom"} {
		path := b.backupOf("--format", format, "--manifest")
		c.Psql(t, "app", "DROP TABLE t")
		b.run(exitOK, nil, "restore", "database", path, "--yes", "--drop-previous")
		if rows(t, c, "app") != want || len(databases(t, c, "app")) != 1 {
			t.Errorf("%s: the databases are %q", format, databases(t, c, "app"))
		}
	}
	if got := c.Psql(t, "postgres", "SELECT datdba::regrole, datacl, datconnlimit FROM pg_database WHERE datname = 'app'"); got != "app|{app=CTc/app,reader=c/app}|-1\n" {
		t.Errorf("the restored database is %s", got)
	}
	// Somebody whose connections this role may not end: nothing is exchanged.
	path := b.backupOf()
	guest := c.Command("psql", "-X", "-d", "app", "-c", "SELECT pg_sleep(1000)")
	if err := guest.Start(); err != nil {
		t.Fatal(err)
	}
	defer guest.Wait()
	defer guest.Process.Kill()
	eventually(t, "the guest is there", func() bool {
		return c.Psql(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app'") == "1\n"
	})
	b.run(exitFailed, nil, "restore", "database", path, "--yes").says("ending its connections")
	if rows(t, c, "app") != want || len(databases(t, c, "app")) != 1 {
		t.Errorf("the databases are %q", databases(t, c, "app"))
	}
}

// TestRestoreDatabaseDropPrevious: with a file only what this restore has
// replaced is dropped.
func TestRestoreDatabaseDropPrevious(t *testing.T) {
	c := database(t, "formers", schema)
	b := withDatabase(t, c, "formers")
	args := []string{"restore", "database", b.backupOf(), "--yes"}
	b.run(exitOK, nil, args...)
	kept := databases(t, c, "formers")
	time.Sleep(time.Second) // for another name
	args = append(args, "--drop-previous")
	if plan := b.run(exitOK, nil, append(args, "--dry-run")...).stdout.String(); strings.Contains(plan, kept[1]) {
		t.Errorf("the plan is\n%s", plan)
	}
	b.run(exitOK, nil, args...)
	if got := databases(t, c, "formers"); len(got) != 2 || !slices.Equal(got, kept) {
		t.Errorf("the databases are %q, want %q", got, kept)
	}
	b.run(exitOK, nil, "restore", "database", "--drop-previous", "--yes")
	if got := databases(t, c, "formers"); len(got) != 1 {
		t.Errorf("the databases are %q", got)
	}

	// One that was renamed, with its comment: it stays, and one that was renamed
	// back does not hand the comment on.
	b.run(exitOK, nil, args[:len(args)-1]...)
	kept = databases(t, c, "formers_before_")
	c.Psql(t, "postgres", "DROP DATABASE formers")
	c.Psql(t, "postgres", "ALTER DATABASE "+kept[0]+" RENAME TO formers")
	time.Sleep(time.Second)
	b.run(exitOK, nil, args[:len(args)-1]...)
	if got := c.Psql(t, "postgres", "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'formers'"); got != "\n" {
		t.Errorf("the restored database has the comment %q", got)
	}
	kept = databases(t, c, "formers_before_")
	c.Psql(t, "postgres", "ALTER DATABASE "+kept[0]+" RENAME TO formers_saved")
	b.run(exitOK, nil, "restore", "database", "--drop-previous", "--yes")
	if got := databases(t, c, "formers"); !slices.Equal(got, []string{"formers", "formers_saved"}) {
		t.Errorf("the databases are %q", got)
	}
}

// live is a database that a restore must leave alone when it fails, and the
// path of a backup of what it was once.
func live(t *testing.T, c *pgtest.Cluster, name, format string) (b *sandbox, path string, untouched func(t *testing.T)) {
	t.Helper()
	createDB(t, c, name)
	c.Psql(t, name, rich)
	b = withDatabase(t, c, name)
	path = b.backupOf("--format", format, "--manifest=checksums")
	c.Psql(t, name, "CREATE TABLE since AS SELECT 1 AS id")
	want := rows(t, c, name)
	return b, path, func(t *testing.T) {
		t.Helper()
		if rows(t, c, name) != want {
			t.Error("the live database has changed")
		}
		if got := databases(t, c, name); len(got) != 1 {
			t.Errorf("the databases are %q", got)
		}
	}
}

func TestRestoreDatabaseFails(t *testing.T) {
	c := pgtest.Shared(t)
	c.Psql(t, "postgres", `DROP DATABASE IF EXISTS owned; DROP ROLE IF EXISTS gone`)
	for _, format := range []string{"plain", "custom"} {
		t.Run(format, func(t *testing.T) {
			b, path, untouched := live(t, c, "live"+format, format)
			backup := readFile(t, path)
			damaged := b.path("damaged.enc")
			for _, at := range []int{len(backup) / 3, len(backup) / 2, len(backup) - 1} {
				bad := bytes.Clone(backup)
				bad[at] ^= 1
				writeFile(t, damaged, bad)
				b.run(exitDamaged, nil, "restore", "database", damaged, "--yes")
				untouched(t)
			}
			for _, n := range []int{len(backup) / 2, len(backup) - 1} {
				writeFile(t, damaged, backup[:n])
				b.run(exitDamaged, nil, "restore", "database", damaged, "--yes")
				untouched(t)
			}
			writeFile(t, damaged, append(bytes.Clone(backup), 0))
			b.run(exitDamaged, nil, "restore", "database", damaged, "--yes")
			untouched(t)

			opened := b.run(exitOK, nil, "open", path).stdout.Bytes()
			for name, tc := range map[string]struct {
				content []byte
				says    string
			}{
				"cut":     {opened[:len(opened)*2/3], "not whole"},
				"no dump": {[]byte("SELECT 1;\n"), "not hold a dump"},
				"roles":   {b.pgDumpAll(c), "whole server"},
				"error":   {bytes.Replace(opened, []byte("CREATE TABLE public.people"), []byte("CREATE TABEL public.people"), 1), "syntax error"},
			} {
				sealed := b.path(name + ".enc")
				b.seal(tc.content, "-o", sealed, "--guard=off")
				b.run(exitFailed, nil, "restore", "database", sealed, "--yes").says(tc.says)
				untouched(t)
			}
			b.distrustsManifests(path)
			untouched(t)
		})
	}
	t.Run("missing role", func(t *testing.T) {
		c.Psql(t, "postgres", `CREATE ROLE gone; CREATE DATABASE owned`)
		c.Psql(t, "owned", "CREATE TABLE t (id int); ALTER TABLE t OWNER TO gone")
		b := withDatabase(t, c, "owned")
		for _, format := range []string{"plain", "custom"} {
			path := b.backupOf("--format", format)
			c.Psql(t, "owned", "ALTER TABLE t OWNER TO takumi; DROP ROLE gone")
			b.run(exitFailed, nil, "restore", "database", path, "--yes").says(`role "gone" is missing: restore the roles`)
			b.run(exitFailed, nil, "restore", "database", path, "--dry-run").says(`role "gone"`)
			if got := databases(t, c, "owned"); len(got) != 1 {
				t.Errorf("the databases are %q", got)
			}
			c.Psql(t, "owned", "CREATE ROLE gone; ALTER TABLE t OWNER TO gone")
		}
	})
	t.Run("protected", func(t *testing.T) {
		b := withDatabase(t, c, "postgres")
		b.run(exitFailed, nil, "restore", "database", b.backupOf(), "--yes").says("not exchanged")
	})
}

func (b *sandbox) pgDumpAll(c *pgtest.Cluster) []byte {
	b.Helper()
	out, err := c.Command("pg_dumpall", "--globals-only").Output()
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// distrustsManifests: what does not agree with the manifest is not restored, and
// a manifest of another backup, or one that was damaged, is none.
func (b *sandbox) distrustsManifests(path string) {
	b.Helper()
	manifest := regexp.MustCompile(`\.(sql|dump)\.zst\.enc$`).ReplaceAllString(path, ".manifest.json.zst.enc")
	text := b.run(exitOK, nil, "open", manifest).stdout.String()
	put := func(text string) {
		b.Helper()
		for _, name := range []string{manifest, manifest + ".sha256"} {
			if err := os.Remove(name); err != nil {
				b.Fatal(err)
			}
		}
		b.seal([]byte(text), "--kind", "manifest", "-o", manifest)
	}
	put(strings.Replace(text, `"rows": 500`, `"rows": 501`, 1))
	b.run(exitFailed, nil, "restore", "database", path, "--yes").says("table public.people: 500 rows, want 501").says("--ignore-manifest")
	b.run(exitOK, nil, "restore", "database", path, "--yes", "--ignore-manifest", "--into", "ignored"+filepath.Ext(strings.TrimSuffix(path, ".zst.enc")))
	put(regexp.MustCompile(`("name": "people",\s*"rows": 500,\s*"sum": ").`).ReplaceAllString(text, "${1}x"))
	b.run(exitFailed, nil, "restore", "database", path, "--yes").says("table public.people: the content differs")
	put(regexp.MustCompile(`"backup": "."?`).ReplaceAllString(text, `"backup": "x`))
	b.run(exitOK, nil, "restore", "database", path, "--dry-run").says("belongs to another backup")
	put("no manifest")
	b.run(exitOK, nil, "restore", "database", path, "--dry-run").says("is not used")
}

// TestRestoreDatabaseStopped: a signal is not a crash, and leaves nothing.
func TestRestoreDatabaseStopped(t *testing.T) {
	c := pgtest.Start(t)
	b, path, untouched := live(t, c, "stopped", "plain")
	// In the midst of it for certain: the second half of the backup never comes.
	// It has megabytes, for a piece is not opened before all of it has come.
	c.CreateDB(t, "noise")
	c.Psql(t, "noise", "CREATE TABLE noise AS SELECT gen_random_uuid() FROM generate_series(1, 200000)")
	backup := readFile(t, b.backupOf("--db", "postgresql:///noise"))
	half := b.program("restore", "database", "-", "--yes", "--from-database", "noise")
	stdin, err := half.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	restore := b.start(half)
	if _, err := stdin.Write(backup[:len(backup)/2]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new database is there", func() bool { return databases(t, c, "stopped_restore_")[0] != "" })
	half.Process.Signal(syscall.SIGTERM)
	restore.exits(exitSignal)
	untouched(t)
	for _, wait := range []time.Duration{20, 60, 120, 200} {
		restore := b.start(b.program("restore", "database", path, "--yes"))
		time.Sleep(wait * time.Millisecond)
		restore.Process.Signal(syscall.SIGTERM)
		restore.Wait()
		if restore.ProcessState.ExitCode() == exitOK {
			t.Logf("done within %d ms", wait)
			return
		}
		// Right after its start it does not know of signals yet.
		if code := restore.ProcessState.ExitCode(); code != exitSignal && code != -1 {
			t.Errorf("exit code %d after SIGTERM\n%s", code, restore.stderr.Bytes())
		}
		untouched(t)
	}
}

// TestRestoreDatabaseConnected: clients that are connected, and come back as
// fast as they can, do not keep the exchange from happening, and never see
// anything but one of the two databases.
func TestRestoreDatabaseConnected(t *testing.T) {
	c := pgtest.Start(t)
	b, path, _ := live(t, c, "connected", "plain")
	idle := c.Command("psql", "-X", "-d", "connected", "-c", "BEGIN; LOCK people; SELECT pg_sleep(1000)")
	if err := idle.Start(); err != nil {
		t.Fatal(err)
	}
	defer idle.Wait()
	stop := make(chan struct{})
	answers := make(chan []string)
	for range 3 {
		go func() {
			var seen []string
			for {
				select {
				case <-stop:
					answers <- seen
					return
				default:
				}
				out, err := c.Command("psql", "-X", "-A", "-t", "-d", "connected", "-c", "SELECT count(*), to_regclass('since') FROM numbers").Output()
				if err == nil {
					seen = append(seen, strings.TrimSpace(string(out)))
				}
			}
		}()
	}
	b.run(exitOK, nil, "restore", "database", path, "--yes")
	close(stop)
	for range 3 {
		for _, line := range <-answers {
			if line != "4|since" && line != "4|" {
				t.Errorf("a client was told %q", line)
			}
		}
	}
	if got := c.Psql(t, "connected", "SELECT to_regclass('since')"); got != "\n" {
		t.Errorf("the live database is the former: %q", got)
	}
}

// TestRestoreDatabaseFullServer: the disk of the server is full in the middle.
func TestRestoreDatabaseFullServer(t *testing.T) {
	needIntegration(t)
	c := pgtest.Start(t)
	disk := mountForServer(t, c)
	c.Psql(t, "postgres", "CREATE TABLESPACE small LOCATION '"+disk+"'")
	c.Psql(t, "postgres", "CREATE DATABASE fits TABLESPACE small")
	c.Psql(t, "fits", "CREATE TABLE t AS SELECT repeat('x', 100) FROM generate_series(1, 1000)")
	c.CreateDB(t, "large")
	c.Psql(t, "large", "CREATE TABLE t AS SELECT md5(i::text) || md5((i+1)::text) FROM generate_series(1, 300000) i")
	want := rows(t, c, "fits")
	for _, format := range []string{"plain", "custom"} {
		b := withDatabase(t, c, "large")
		path := b.backupOf("--format", format)
		// The new database is where the live one does.
		b.env = append(b.env, "DB_NAME=fits")
		run := b.run(exitFailed, nil, "restore", "database", path, "--yes", "--from-database", "large").says("No space left on device")
		if rows(t, c, "fits") != want || len(databases(t, c, "fits")) != 1 {
			t.Errorf("%s: the databases are %q\n%s", format, databases(t, c, "fits"), run.stderr.String())
		}
	}
}

// mountForServer mounts a small disk that belongs to the server's user.
func mountForServer(t *testing.T, c *pgtest.Cluster) string {
	t.Helper()
	data := strings.TrimSpace(c.Psql(t, "postgres", "SHOW data_directory"))
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	dir, err := os.MkdirTemp("", "pgdisk")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=24m,mode=700,uid=%d,gid=%d", owner.Uid, owner.Gid)); err != nil {
		t.Fatalf("mounting tmpfs: %v", err)
	}
	t.Cleanup(func() {
		syscall.Unmount(dir, syscall.MNT_DETACH)
		os.Remove(dir)
	})
	return dir
}

// TestRestoreDatabaseAsks: on a terminal somebody types the name, and only the
// right one will do.
func TestRestoreDatabaseAsks(t *testing.T) {
	c := database(t, "asks", schema)
	b := withDatabase(t, c, "asks")
	path := b.backupOf()
	for _, tc := range []struct {
		typed     string
		code, all int
	}{{"ask", exitFailed, 1}, {"", exitFailed, 1}, {"asks", exitOK, 2}} {
		person, tty := onTerminal(t)
		cmd := b.program("restore", "database", path)
		cmd.Stdin, cmd.Stderr = tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		shown := make(chan string)
		go func() {
			var text []byte
			part := make([]byte, 1024)
			for asked := false; ; {
				n, err := person.Read(part)
				if text = append(text, part[:n]...); err != nil {
					shown <- string(text)
					return
				}
				if !asked && bytes.Contains(text, []byte("Type the name of the database, asks")) {
					asked = true
					fmt.Fprintln(person, tc.typed)
				}
			}
		}()
		run := b.start(cmd)
		run.exits(tc.code)
		tty.Close()
		if text := <-shown; !strings.Contains(text, "rename    asks to asks_before_") {
			t.Errorf("shown was\n%s", text)
		}
		if got := databases(t, c, "asks"); len(got) != tc.all {
			t.Errorf("typed %q: the databases are %q", tc.typed, got)
		}
	}
}

func TestRestoreDatabaseLatest(t *testing.T) {
	c := database(t, "latest", schema)
	b := withDatabase(t, c, "latest")
	b.run(exitStore, nil, "restore", "database", "--latest", "--yes").says("no such file or directory")
	b.seal([]byte("another backup"), "--kind", "database", "--name", "other")
	b.run(exitFailed, nil, "restore", "database", "--latest", "--yes").says("latest_db_")
	good := b.backupOf()
	c.Psql(t, "latest", "CREATE TABLE second (id int)")
	time.Sleep(1100 * time.Millisecond) // times in envelopes have seconds
	bad := b.backupOf("--format", "custom", "--globals")
	bad = strings.Split(bad, "\n")[1]
	content := readFile(t, bad)
	content[len(content)/2] ^= 1
	writeFile(t, bad, content)
	run := b.run(exitOK, nil, "restore", "database", "--latest", "--yes", "--json").says(filepath.Base(bad) + " was passed over")
	if !strings.Contains(run.stdout.String(), filepath.Base(good)) {
		t.Errorf("restored %s", run.stdout.String())
	}
	if got := c.Psql(t, "latest", "SELECT to_regclass('second')"); got != "\n" {
		t.Error("the newer backup was restored")
	}

	// A dump of the schema alone, sealed by hand: it makes the tables, all of them empty.
	time.Sleep(1100 * time.Millisecond)
	alone, err := c.Command("pg_dump", "-s", "latest").Output()
	if err != nil {
		t.Fatal(err)
	}
	empty := strings.TrimSpace(b.run(exitOK, bytes.NewReader(alone), "seal").stdout.String())
	run = b.run(exitOK, nil, "restore", "database", "--latest", "--dry-run", "--json").says("dump of the schema alone")
	if !strings.Contains(run.stdout.String(), filepath.Base(good)) || !strings.Contains(run.stdout.String(), `"findings":[`) {
		t.Errorf("the plan is %s", run.stdout.String())
	}
	if run = b.run(exitOK, nil, "restore", "database", empty, "--dry-run"); !strings.Contains(run.stdout.String(), filepath.Base(empty)) {
		t.Errorf("named, it is not restored: %s", run.stdout.String())
	}

	// A clock that was wrong for a while: its backup would stay the newest.
	b = withDatabase(t, c, "takumi")
	past := b.agedAs("database", ".sql", time.Now().Add(-time.Hour), mainKey)
	b.agedAs("database", ".sql", time.Now().Add(30*time.Minute), mainKey)
	run = b.run(exitOK, nil, "restore", "database", "--latest", "--dry-run")
	if !strings.Contains(run.stdout.String(), filepath.Base(past)) {
		t.Errorf("the plan is\n%s", run.stdout.String())
	}
}
