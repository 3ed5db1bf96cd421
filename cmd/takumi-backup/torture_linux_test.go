package main

import (
	"bytes"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// tortureWays are the ways in which a database is backed up and comes back equal.
var tortureWays = []struct {
	name            string
	backup, restore []string
}{
	{"plain", []string{"--format", "plain", "--manifest=checksums"}, nil},
	{"custom", []string{"--format", "custom"}, nil},
	{"parallel", []string{"--jobs", "3"}, []string{"--jobs", "3"}},
}

// TestTorture: a database with one of every kind of object is equal after its backup,
// the loss of the whole cluster, and its restore into a new one. With TAKUMI_TEST_LONG
// in the custom format too, and a rehearsal says that its backups are good.
func TestTorture(t *testing.T) {
	from := pgtest.Start(t)
	from.Torture(t)
	text, rows := dumpAll(t, from)
	b := withDatabase(t, from, "torture")
	for _, way := range tortureWays {
		if way.name == "custom" && os.Getenv("TAKUMI_TEST_LONG") == "" {
			continue // TestRestoreDatabase has it
		}
		t.Run(way.name, func(t *testing.T) {
			made := b.run(exitOK, nil, append([]string{"backup", "database", "--globals"}, way.backup...)...).made()
			to := intoFresh(t, b, made, "torture", way.restore)
			sameCluster(t, to, text, rows)
			if os.Getenv("TAKUMI_TEST_LONG") != "" {
				apart, scratch := apart(t, from, b), scratchDir(t)
				apart.run(exitOK, nil, "verify", "--level", "restore", "--scratch-dir", scratch, made[1]).says("1 good")
			}
		})
	}
}

// freshSettings are those of a cluster that takes what these tests make.
var freshSettings = []string{"allow_in_place_tablespaces=on", "max_locks_per_transaction=256", "max_prepared_transactions=4"}

// intoFresh restores the roles and then the database, of whose backups made has the
// paths, into a new cluster.
func intoFresh(t *testing.T, b *sandbox, made []string, db string, args []string) *pgtest.Cluster {
	t.Helper()
	to := pgtest.Start(t, freshSettings...)
	psqlAll(t, to, b.run(exitOK, nil, "open", made[0]).stdout.Bytes())
	there := withDatabase(t, to, db)
	there.patience = b.patience
	there.run(exitOK, nil, append([]string{"restore", "database", made[1], "--yes"}, args...)...).says("all as the manifest has them")
	return to
}

// psqlAll runs what pg_dumpall has written.
func psqlAll(t *testing.T, c *pgtest.Cluster, dump []byte) {
	t.Helper()
	psql := c.Command("psql", "-X", "-q", "-d", "postgres")
	// A tablespace without a folder of its own is not written as it is made.
	psql.Stdin = bytes.NewReader(inPlace.ReplaceAll(dump, []byte("LOCATION ''")))
	if out, err := psql.CombinedOutput(); err != nil || bytes.Count(out, []byte("ERROR")) > 1 { // its own role is there
		t.Fatalf("restoring what pg_dumpall wrote: %v\n%s", err, out)
	}
}

// sameCluster holds a cluster to what dumpAll has returned of another.
func sameCluster(t *testing.T, c *pgtest.Cluster, text string, rows map[string][]string) {
	t.Helper()
	gotText, gotRows := dumpAll(t, c)
	sameLines(t, "the dump", gotText, text)
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		sameLines(t, name, strings.Join(gotRows[name], ""), strings.Join(rows[name], ""))
	}
}

var inPlace = regexp.MustCompile(`LOCATION 'pg_tblspc/\d+'`)

// sameLines reports the first lines that differ.
func sameLines(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("%s differs in line %d:\n%.300q, want\n%.300q", what, i+1, g[i], w[i])
			return
		}
	}
	t.Errorf("%s has %d lines, want %d", what, len(g), len(w))
}

// dumpAll returns what pg_dumpall writes of a cluster without the rows of tables, and
// those, sorted, by the table that they are loaded into. Words that are random are
// left out.
func dumpAll(t *testing.T, c *pgtest.Cluster) (text string, rows map[string][]string) {
	t.Helper()
	out, err := c.Command("pg_dumpall").Output()
	if err != nil {
		t.Fatal(err)
	}
	out = regexp.MustCompile(`(?m)^\\(un)?restrict .*$|SCRAM-SHA-256\S*`).ReplaceAll(out, nil)
	out = inPlace.ReplaceAll(out, nil)
	rows = make(map[string][]string)
	var rest strings.Builder
	table := ""
	for line := range strings.Lines(string(out)) {
		switch {
		case table != "" && line == "\\.\n":
			table = ""
		case table != "":
			rows[table] = append(rows[table], line)
		default:
			if strings.HasPrefix(line, "COPY ") && strings.HasSuffix(line, " FROM stdin;\n") {
				table = line
			}
			rest.WriteString(line)
		}
	}
	for _, lines := range rows {
		slices.Sort(lines)
	}
	return rest.String(), rows
}
