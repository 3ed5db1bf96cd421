package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestRegressionDatabase: PostgreSQL's own regression database comes back, in every way,
// as pg_dumpall and psql bring it back; and from what it was that differs only in the
// order of inherited columns.
func TestRegressionDatabase(t *testing.T) {
	from := pgtest.Start(t, freshSettings...)
	from.Regression(t)
	was, wasRows := dumpAll(t, from)
	if len(wasRows) < 300 {
		t.Fatalf("there are %d tables", len(wasRows))
	}
	dump, err := from.Command("pg_dumpall").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := pgtest.Start(t, freshSettings...)
	psqlAll(t, own, dump)
	text, rows := dumpAll(t, own)
	sameLines(t, "what pg_dumpall makes, with columns in any order", anyOrder(text), anyOrder(was))

	b := withDatabase(t, from, "regression")
	b.patience = 10 * time.Minute
	for _, way := range tortureWays {
		t.Run(way.name, func(t *testing.T) {
			made := b.run(exitOK, nil, append([]string{"backup", "database", "--globals", "--manifest=checksums"}, way.backup...)...).made()
			sameCluster(t, intoFresh(t, b, made, "regression", way.restore), text, rows)
		})
	}
}

var columnList = regexp.MustCompile(`(?m)^(COPY \S+ )\(.*\)`)

// anyOrder is a dump for comparing it whatever the order of columns.
func anyOrder(text string) string {
	lines := strings.Split(columnList.ReplaceAllString(text, "$1"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, ",")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// later are things that servers have since.
var later = map[string]string{
	"17": `CREATE TABLE v17 (id int CONSTRAINT named NOT NULL); GRANT MAINTAIN ON v17 TO PUBLIC; INSERT INTO v17 VALUES (1), (2);
		CREATE COLLATION builtin (provider = builtin, locale = 'C.UTF-8')`,
	"18": `CREATE TABLE v18 (id int, r daterange, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL, PRIMARY KEY (id, r WITHOUT OVERLAPS));
		INSERT INTO v18 VALUES (1, '[2020-01-01,2021-01-01)'), (1, '[2022-01-01,2023-01-01)');
		CREATE TABLE v18b (a int); INSERT INTO v18b VALUES (NULL); ALTER TABLE v18b ADD CONSTRAINT later NOT NULL a NOT VALID;
		CREATE TABLE v18c (id int CHECK (id > 0) NOT ENFORCED, r daterange, FOREIGN KEY (id, PERIOD r) REFERENCES v18 (id, PERIOD r))`,
}

// TestLaterServers: on PostgreSQL 17 and 18 everything comes back in every way, as it
// does on 15; a backup of 15 is restored on them, several connections at once too; and
// one of theirs, on 15, is refused as long as no pg_restore reads it, and comes as far as
// the server takes it with --keep-going.
func TestLaterServers(t *testing.T) {
	for _, version := range []string{"17", "18"} {
		t.Run(version, func(t *testing.T) {
			old := pgtest.Start(t, "allow_in_place_tablespaces=on")
			old.Torture(t)
			before := withDatabase(t, old, "torture")
			dumps := [][]string{before.run(exitOK, nil, "backup", "database", "--format=custom").made(), before.run(exitOK, nil, "backup", "database", "--jobs=3").made()}
			pgtest.Use(t, version)
			from := pgtest.Start(t, freshSettings...)
			from.Torture(t)
			from.Psql(t, "torture", later["17"])
			if version == "18" {
				from.Psql(t, "torture", "CREATE EXTENSION IF NOT EXISTS btree_gist; "+later["18"])
			}
			laterOnEarlier(t, from, old)
			text, rows := dumpAll(t, from)
			b := withDatabase(t, from, "torture")
			for _, way := range tortureWays {
				made := b.run(exitOK, nil, append([]string{"backup", "database", "--globals"}, way.backup...)...).made()
				sameCluster(t, intoFresh(t, b, made, "torture", way.restore), text, rows)
				if way.name == "custom" {
					back := withDatabase(t, old, "torture")
					back.run(exitFailed, nil, "restore", "database", made[1], "--yes", "--into", "lenient").says("an archive of PostgreSQL 17 or later").says("postgresql-client-17")
					back.env = append(back.env, "PATH="+from.Env()[len(from.Env())-1][len("PATH="):])
					back.run(exitFailed, nil, "restore", "database", made[1], "--yes", "--into", "lenient").says("transaction_timeout").says("give --keep-going to restore the rest")
					back.run(exitSome, nil, "restore", "database", made[1], "--yes", "--keep-going", "--into", "lenient").says("the server is older, 15")
				}
			}
			for i, made := range dumps {
				b.run(exitOK, nil, "restore", "database", made[0], "--yes", "--from-database", "torture", "--into", "upgraded"+string('a'+rune(i)), "--jobs", "3").says("all as the manifest has them")
			}
		})
	}
}

// laterOnEarlier: what an older server can hold of a later one comes back on it.
func laterOnEarlier(t *testing.T, from, old *pgtest.Cluster) {
	t.Helper()
	from.CreateDB(t, "plainly")
	from.Psql(t, "plainly", "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) i; ALTER TABLE t ADD PRIMARY KEY (i)")
	b, back := withDatabase(t, from, "plainly"), withDatabase(t, old, "plainly")
	back.env = append(back.env, "PATH="+from.Env()[len(from.Env())-1][len("PATH="):])
	for _, way := range tortureWays {
		made := b.run(exitOK, nil, append([]string{"backup", "database"}, way.backup...)...).made()[0]
		args := append([]string{"restore", "database", made, "--yes"}, way.restore...)
		if way.name == "custom" {
			back.run(exitFailed, nil, args...).says("give --keep-going to restore the rest")
			back.run(exitSome, nil, append(args, "--keep-going", "--swap")...)
		} else {
			back.run(exitOK, nil, args...).says("SET transaction_timeout is left out")
		}
		if got := old.Psql(t, "plainly", "SELECT count(*), max(i) FROM t"); got != "1000|1000\n" {
			t.Errorf("%s: %s", way.name, got)
		}
		old.Psql(t, "postgres", "DROP DATABASE plainly")
	}
	from.Psql(t, "postgres", "DROP DATABASE plainly") // the caller compares the whole cluster
}
