package main

import (
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// killWays are the ways to restore of which one can be killed.
var killWays = []struct {
	name, format string
	args         []string
	long, s3     bool
}{
	{name: "plain", format: "plain"},
	{name: "jobs", format: "plain", args: []string{"--jobs", "3"}},
	{name: "table", format: "plain", args: []string{"--table", "events", "--to-schema", "rescued"}},
	{name: "custom", format: "custom", long: true},
	{name: "first", format: "plain", args: []string{"--jobs", "3", "--first", "public.numbers"}, long: true},
	{name: "S3", format: "plain", args: []string{"--jobs", "3"}, s3: true, long: true},
	{name: "table from S3 into", format: "plain", args: []string{"--table", "events", "--into", "killed_into"}, s3: true, long: true},
	{name: "into", format: "plain", args: []string{"--into", "killed_into"}, long: true},
	{name: "keep going", format: "plain", args: []string{"--keep-going", "--swap"}, long: true},
	{name: "keep going beside", format: "custom", args: []string{"--keep-going"}, long: true},
	{name: "roles", format: "plain", args: []string{"--create-roles"}, long: true},
	{name: "drop previous", format: "plain", args: []string{"--drop-previous"}, long: true},
}

// TestRestoreDatabaseKilled: kill -9 at some random moments, in a long run at 50 of each
// way. The live database is what it was, or, when that was done already, what it should
// become; and the next restore removes what was left.
func TestRestoreDatabaseKilled(t *testing.T) {
	c := pgtest.Start(t)
	long, points := os.Getenv("TAKUMI_TEST_LONG") != "", 3
	if long {
		points = 50
	}
	c.Psql(t, "postgres", "CREATE ROLE missed")
	b, plain, _ := live(t, c, "killed", "plain")
	c.Psql(t, "killed", "GRANT SELECT ON people TO missed")
	paths := map[string]string{"plain": b.backupOf("--manifest=checksums")}
	if long {
		paths["custom"] = b.backupOf("--format", "custom")
	}
	c.Psql(t, "killed", "REVOKE ALL ON people FROM missed; DROP TABLE since; CREATE TABLE later AS SELECT 1 AS id")
	served := httptest.NewServer(&served{dir: filepath.Dir(plain)})
	defer served.Close()
	b.env = append(b.env, "AWS_ENDPOINT_URL="+served.URL, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
	old := rows(t, c, "killed")
	for _, way := range killWays {
		if way.long && !long {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			path := paths[way.format]
			if way.s3 {
				path = "s3://bucket/" + filepath.Base(path)
			}
			k := &killing{T: t, b: b, c: c, old: old, args: append([]string{"restore", "database", path, "--yes", "--quiet"}, way.args...)}
			began := time.Now()
			k.b.run(exitOK, nil, k.args...)
			took := time.Since(began)
			if k.outcome() == "before" {
				t.Fatal("the restore changed nothing")
			}
			k.made = k.state()
			k.undo()
			seen := make(map[string]int)
			for range 20 * points {
				n := seen["before"] + seen["after"]
				if n == points {
					break
				}
				if way.name == "roles" {
					c.Psql(t, "postgres", "DO $$ BEGIN DROP ROLE missed; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$")
				}
				restore := b.start(b.program(k.args...))
				// Each in its own part of the time that a restore takes, and the first long
				// before anything is done.
				wait := (time.Duration(n)*took + rand.N(took)) / time.Duration(points)
				if seen["before"] == 0 {
					wait /= 4
				}
				time.Sleep(wait)
				restore.Process.Kill()
				restore.Wait()
				// The server finishes what it was told before it notices.
				eventually(t, "the lock is gone", func() bool {
					return c.Psql(t, "postgres", "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') + (SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'killed%')") == "0\n"
				})
				state, outcome := k.state(), k.outcome()
				if outcome == "" || outcome == "after" && state != k.made {
					t.Fatalf("killed after %v at most: the live database is neither what it was nor what it should become; there are %q", took, databases(t, c, "killed"))
				}
				if k.undo(); restore.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
					seen[outcome]++
				} else {
					took = took * 9 / 10 // the machine has become faster since it was measured
				}
				if way.name == "roles" {
					c.Psql(t, "postgres", "DO $$ BEGIN CREATE ROLE missed; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
				}
			}
			t.Logf("%v: killed %d times before it was done, %d after", took, seen["before"], seen["after"])
			if seen["before"]+seen["after"] < points || seen["before"] == 0 {
				t.Errorf("killed %v, want %d times", seen, points)
			}
		})
	}
	c.Psql(t, "postgres", "CREATE DATABASE killed_restore_not_ours")
	b.run(exitOK, nil, "restore", "database", paths["plain"], "--yes")
	ofOthers := func(name string) bool { return strings.HasPrefix(name, "killed_into") } // a restore of that sweeps it
	if all := slices.DeleteFunc(databases(t, c, "killed"), ofOthers); len(all) != 3 || all[2] != "killed_restore_not_ours" {
		t.Errorf("the databases are %q", all)
	}
}

// killing is a restore that is killed.
type killing struct {
	*testing.T
	b         *sandbox
	c         *pgtest.Cluster
	args      []string
	old, made string // of the rows
}

// others are the databases that a restore has made, as far as it is done with them.
func (k *killing) others() []string {
	text := k.c.Psql(k.T, "postgres", `SELECT datname FROM pg_database WHERE datname LIKE 'killed\_%'
		AND coalesce(shobj_description(oid, 'pg_database'), '') NOT LIKE 'takumi-backup: not finished%' AND datconnlimit = -1`)
	return strings.Fields(text)
}

// state is what the live database, and one beside it, hold.
func (k *killing) state() string {
	text := rows(k.T, k.c, "killed")
	if slices.Contains(k.others(), "killed_into") {
		text += rows(k.T, k.c, "killed_into")
	}
	return text
}

// outcome is "before" when all is as it was, "after" when the restore was done, and ""
// when it is neither.
func (k *killing) outcome() string {
	same, others := rows(k.T, k.c, "killed") == k.old, k.others()
	beside := slices.Contains(k.args, "--into")
	inPlace := slices.Contains(k.args, "--table") || slices.Contains(k.args, "--drop-previous")
	switch {
	case same && len(others) == 0:
		return "before"
	case same && beside && len(others) == 1, !same && !beside && len(others) == 1, !same && inPlace && len(others) == 0:
		return "after"
	}
	return ""
}

// undo makes everything as it was.
func (k *killing) undo() {
	k.Helper()
	for _, name := range k.others() {
		if strings.HasPrefix(name, "killed_before_") {
			k.c.Psql(k.T, "postgres", "DROP DATABASE killed")
			k.c.Psql(k.T, "postgres", "ALTER DATABASE "+name+" RENAME TO killed")
			k.c.Psql(k.T, "postgres", "COMMENT ON DATABASE killed IS NULL")
			continue
		}
		k.c.Psql(k.T, "postgres", "DROP DATABASE "+name)
	}
	if rows(k.T, k.c, "killed") == k.old {
		return
	}
	if slices.Contains(k.args, "--table") {
		k.c.Psql(k.T, "killed", "DROP SCHEMA rescued CASCADE")
		return
	}
	// The former is dropped: one that is like it takes its place.
	k.c.Psql(k.T, "killed", "REVOKE ALL ON people FROM missed; DROP TABLE since; CREATE TABLE later AS SELECT 1 AS id")
}
