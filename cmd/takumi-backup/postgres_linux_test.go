package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// schema is a small Takumi, with what makes a dump hard to bring back.
const schema = `
CREATE TABLE profiles (id int PRIMARY KEY, wallet text UNIQUE, about jsonb);
INSERT INTO profiles SELECT i, '0x' || md5(i::text), jsonb_build_object('n', i, 'skills', array['go', 'sql', E'tab\t"quote"\\'])
  FROM generate_series(1, 2000) i;
CREATE TABLE endorsements (id bigserial PRIMARY KEY, profile int REFERENCES profiles, proof bytea);
INSERT INTO endorsements (profile, proof) SELECT 1 + i % 2000, decode(md5(i::text) || md5((i * 7)::text), 'hex')
  FROM generate_series(1, 20000) i;
CREATE VIEW busiest AS SELECT profile, count(*) FROM endorsements GROUP BY profile;
COMMENT ON TABLE profiles IS E'as in\n--\n-- PostgreSQL database dump complete\n--\n';
SELECT lo_from_bytea(0, convert_to(repeat('large ', 20000), 'UTF8'));
`

// longSchema takes pg_dump so long that it can be killed in the middle: 200 MB,
// which the server keeps and custom format writes in a hundredth of that.
const longSchema = `
CREATE TABLE proofs (id int, proof text);
INSERT INTO proofs SELECT i, repeat(md5(i::text), 2000) FROM generate_series(1, 3000) i;
`

// database returns the cluster of this package with a new database.
func database(t *testing.T, name, schema string) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Shared(t)
	createDB(t, c, name)
	c.Psql(t, name, schema)
	return c
}

// createDB makes an empty database also where -count had made it before.
func createDB(t *testing.T, c *pgtest.Cluster, name string) {
	t.Helper()
	c.Psql(t, "postgres", `DROP DATABASE IF EXISTS "`+name+`"`)
	c.CreateDB(t, name)
}

// withCluster lets COMMAND find the cluster, and PostgreSQL's programs.
func withCluster(t *testing.T, c *pgtest.Cluster) *sandbox {
	t.Helper()
	b := newSandbox(t)
	for _, kv := range c.Env() {
		if strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "PATH=") {
			b.env = append(b.env, kv)
		}
	}
	return b
}

// dumpOf returns a database as text. The words after \restrict are random.
func dumpOf(t *testing.T, c *pgtest.Cluster, db string) string {
	t.Helper()
	text, err := c.Command("pg_dump", db).Output()
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAllString(string(text), "")
}

// dumps are the ways in which pg_dump is asked, and what brings its output
// back; a database's name follows.
var dumps = map[string]struct{ dump, restore []string }{
	"plain":  {[]string{"pg_dump", "-Fp"}, []string{"psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction"}},
	"custom": {[]string{"pg_dump", "-Fc"}, []string{"pg_restore", "--exit-on-error", "--single-transaction", "-d"}},
}

// on completes a command by the name of a database.
func on(words []string, db string) []string { return append(slices.Clone(words), db) }

// TestPostgreSQL: what is dumped, sealed, opened and restored is the same
// database.
func TestPostgreSQL(t *testing.T) {
	c := database(t, "takumi", schema)
	want := dumpOf(t, c, "takumi")
	for format, d := range dumps {
		for _, way := range []string{"piped", "as command"} {
			t.Run(format+" "+way, func(t *testing.T) {
				t.Parallel()
				b := withCluster(t, c)
				var seal *running
				argv := on(d.dump, "takumi")
				if way == "piped" {
					dump, err := c.Command(argv[0], argv[1:]...).Output()
					if err != nil {
						t.Fatal(err)
					}
					seal = b.run(exitOK, bytes.NewReader(dump), "seal")
				} else {
					seal = b.run(exitOK, nil, append([]string{"seal", "--"}, argv...)...)
				}
				path := strings.TrimSpace(seal.stdout.String())
				if !strings.HasPrefix(path, b.path("store/database/takumi_db_")) {
					t.Errorf("the backup went to %s", path)
				}

				db := format + " " + way
				createDB(t, c, db)
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				open := b.program("open", path)
				open.Stdout = w
				opening := b.start(open)
				w.Close()
				restore := c.Command(d.restore[0], on(d.restore[1:], db)...)
				restore.Stdin = r
				out, err := restore.CombinedOutput()
				r.Close()
				opening.exits(exitOK)
				if err != nil {
					t.Fatalf("restoring: %v\n%s", err, out)
				}
				if got := dumpOf(t, c, db); got != want {
					t.Errorf("the restored database differs: a dump of %d bytes, want %d", len(got), len(want))
				}
			})
		}
	}
}

// TestKilledDump: kill -9 of pg_dump in the middle, which a pipe hides from
// everybody, and the machine's memory killer does at night.
func TestKilledDump(t *testing.T) {
	c := database(t, "long", longSchema)
	for format, d := range dumps {
		for _, way := range []string{"piped", "as command"} {
			t.Run(format+" "+way, func(t *testing.T) {
				t.Parallel()
				b := withCluster(t, c)
				b.seal([]byte("yesterday's"), "-o", "yesterday.enc")
				before := readFile(t, b.path("yesterday.enc"))

				var seal *running
				if way == "piped" {
					seal = sealHalf(b, c, on(d.dump, "long"))
				} else {
					seal = killHalfWay(b, on(d.dump, "long"))
				}
				seal.exits(exitSource).says("nothing was kept")
				if way == "as command" {
					seal.says("was killed by signal 9")
				}
				if seal.stdout.Len() != 0 {
					t.Errorf("seal printed %q", seal.stdout.String())
				}
				b.holds("yesterday.enc", "yesterday.enc.sha256")
				if !bytes.Equal(readFile(t, b.path("yesterday.enc")), before) {
					t.Error("another backup was changed")
				}
			})
		}
	}
}

// sealHalf kills pg_dump after half a megabyte and seals all that it wrote.
func sealHalf(b *sandbox, c *pgtest.Cluster, dump []string) *running {
	b.Helper()
	cmd := b.program("seal", "-o", "today.enc")
	w := heldPipe(b.T, cmd)
	pg := c.Command(dump[0], dump[1:]...)
	out, err := pg.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := pg.Start(); err != nil {
		b.Fatal(err)
	}
	seal := b.start(cmd)
	if _, err := io.CopyN(w, out, 512<<10); err != nil {
		b.Fatal(err)
	}
	eventually(b, "seal writes", func() bool { return exists(b.path(".today.enc.partial")) })
	pg.Process.Kill()
	if _, err := io.Copy(w, out); err != nil {
		b.Fatal(err)
	}
	w.Close()
	if pg.Wait(); pg.ProcessState.Success() {
		b.Fatal("pg_dump was done before it was killed")
	}
	return seal
}

// killHalfWay kills pg_dump while seal, which runs it, has a part of the dump.
func killHalfWay(b *sandbox, dump []string) *running {
	b.Helper()
	pid := b.tmp + "/pid"
	args := []string{"seal", "-o", "today.enc", "--", "sh", "-c", "echo $$ >" + pid + `; exec "$@"`, "sh"}
	seal := b.start(b.program(append(args, dump...)...))
	child := readPID(b.T, pid)
	os.Remove(pid)
	eventually(b, "seal writes", func() bool { return exists(b.path(".today.enc.partial")) })
	// While seal is stopped, pg_dump cannot come to its end: the pipe is full
	// before it is.
	seal.Process.Signal(syscall.SIGSTOP)
	syscall.Kill(child, syscall.SIGKILL)
	seal.Process.Signal(syscall.SIGCONT)
	return seal
}
