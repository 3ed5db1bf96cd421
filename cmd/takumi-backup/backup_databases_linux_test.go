package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// seriesMade returns what a run made, without the folder and the times.
func seriesMade(b *sandbox, r *running) []string {
	var names []string
	for line := range strings.Lines(r.stdout.String()) {
		name := strings.TrimPrefix(strings.TrimSpace(line), b.path("store/database")+"/")
		names = append(names, regexp.MustCompile(`_\d{8}_\d{6}(-\d+)?\..*`).ReplaceAllString(name, ""))
	}
	return names
}

// TestBackupAllDatabases: each database of a server is a series of its own, the roles
// are backed up once, a new database is backed up without a word, one that is gone is
// reported, and one that fails keeps no other from its backup; on the command line and
// as a backup.toml has it.
func TestBackupAllDatabases(t *testing.T) {
	c := pgtest.Start(t)
	for _, name := range []string{"shop_a", "shop/b", `od"d *`, "closed", "gold_template"} {
		c.CreateDB(t, name)
		c.Psql(t, name, "CREATE TABLE t AS SELECT 1 AS id")
	}
	c.Psql(t, "postgres", `CREATE ROLE of_a; ALTER DATABASE closed ALLOW_CONNECTIONS false; ALTER DATABASE gold_template IS_TEMPLATE true;
		CREATE DATABASE shop_a_before_20300101_000000; COMMENT ON DATABASE shop_a_before_20300101_000000 IS 'takumi-backup: this was "shop_a" before a restore'`)
	b := withCluster(t, c) // which no setting names
	b.env = append(b.env, "XDG_STATE_HOME="+t.TempDir())
	oddly, slash := `od"d *`, "shop_b-d3d7f8a4"
	whole := func(names ...string) (all []string) {
		for _, name := range names {
			all = append(all, name+"_db")
		}
		return all
	}
	run := b.run(exitOK, nil, "backup", "database", "--all-databases", "--globals").says(`database "closed" lets nobody in`)
	made := seriesMade(b, run)
	slash = strings.TrimSuffix(made[len(made)-2], "_db")
	if want := append([]string{"local_globals"}, whole("gold_template", oddly, "postgres", slash, "shop_a")...); !slices.Equal(made, want) || !strings.HasPrefix(slash, "shop_b-") {
		t.Errorf("made %q, want %q", made, want)
	}
	roles := strings.Split(run.stdout.String(), "\n")[0]
	if text := b.run(exitOK, nil, "open", roles).stdout.String(); !strings.Contains(text, "CREATE ROLE of_a") {
		t.Errorf("the backup of the roles is\n%s", text)
	}
	b.run(exitOK, nil, "restore", "database", strings.Split(run.stdout.String(), "\n")[4], "--from-database", "shop/b", "--into", "back", "--yes")
	c.Psql(t, "postgres", "DROP DATABASE back")

	// One comes, one goes, one is damaged.
	c.Psql(t, "postgres", `DROP DATABASE shop_a; CREATE DATABASE shop_new`)
	run = b.run(exitOK, nil, "backup", "database", "--all-databases", "--manifest=off").says(`database "shop_a" was there when this ran last, and is gone`).says("database shop_new: done").says("database shop_a: left out")
	if got, want := seriesMade(b, run), whole("gold_template", oddly, "postgres", slash, "shop_new"); !slices.Equal(got, want) {
		t.Errorf("made %q, want %q", got, want)
	}
	if run = b.run(exitOK, nil, "backup", "database", "--all-databases", "--quiet", "--manifest=off"); strings.Contains(run.stderr.String(), "is gone") {
		t.Errorf("what was reported is reported again: %s", run.stderr.String())
	}
	base := strings.TrimSpace(c.Psql(t, "shop_new", "CREATE TABLE t AS SELECT 1 AS id; SELECT pg_relation_filepath('t')"))
	c.Psql(t, "postgres", "CHECKPOINT")
	if err := os.Remove(filepath.Join(strings.TrimSpace(c.Psql(t, "postgres", "SHOW data_directory")), base)); err != nil {
		t.Fatal(err)
	}
	run = b.run(exitSome, nil, "backup", "database", "shop*", "--exclude", "shop_a*", "--manifest=off").says("database shop_new: FAILED")
	if got := seriesMade(b, run); !slices.Equal(got, whole(slash)) {
		t.Errorf("made %q", got)
	}

	// By name, and what cannot be meant.
	if got := seriesMade(b, b.run(exitOK, nil, "backup", "database", oddly)); !slices.Equal(got, whole(oddly)) {
		t.Errorf("made %q", got)
	}
	run = b.run(exitSome, nil, "backup", "database", "postgres", "missing", "--json").says(`has no database "missing"`)
	if !strings.Contains(run.stdout.String(), `"name":"database missing","kind":"database","outcome":"failed"`) {
		t.Errorf("printed %s", run.stdout.String())
	}
	b.run(exitSource, nil, "backup", "database", "nothing_*").says("no database of ")
	b.run(exitSource, nil, "backup", "database", "postgres", "closed").says(`"closed" lets nobody in`)
	for _, args := range [][]string{{"--all-databases", "shop"}, {"[", "x"}, {"a", "b", "-o", "x"}, {"a", "b", "--name", "x"}, {""}} {
		b.run(exitUsage, nil, append([]string{"backup", "database"}, args...)...)
	}

	// A backup.toml says the same; a database that two entries mean is backed up once.
	config := b.path("backup.toml")
	writeFile(t, config, []byte("[[database]]\nname = \"postgres\"\n[[database]]\nall = true\nexclude = [\"shop_new\", \"gold*\", \"other\"]\n[[database]]\nname = \"postgres\"\nhost = \"localhost\"\n"))
	run = b.run(exitSome, nil, "backup", "all", "--config", config).says("database postgres is in the settings twice")
	if got, want := seriesMade(b, run), append([]string{"postgres_globals"}, whole("postgres", oddly, slash)...); !slices.Equal(got, want) {
		t.Errorf("made %q, want %q", got, want)
	}
	if got := seriesMade(b, b.run(exitOK, nil, "backup", "database", "shop/b", "--config", config)); !slices.Equal(got, whole(slash)) {
		t.Errorf("made %q", got)
	}
}
