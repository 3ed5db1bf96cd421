package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/pgtest"
)

// schema is a small Takumi, with rows enough that a dump of them can be
// stopped in the middle.
const schema = `
CREATE TABLE profiles (id int PRIMARY KEY, wallet text UNIQUE, about jsonb);
INSERT INTO profiles SELECT i, '0x' || md5(i::text), jsonb_build_object('n', i, 'skills', array['go', 'sql', E'tab\t"quote"\\'])
  FROM generate_series(1, 2000) i;
CREATE TABLE endorsements (id bigserial PRIMARY KEY, profile int REFERENCES profiles, proof bytea);
INSERT INTO endorsements (profile, proof) SELECT 1 + i % 2000, decode(repeat(md5(i::text) || md5((i * 7)::text), 8), 'hex')
  FROM generate_series(1, 40000) i;
CREATE VIEW busiest AS SELECT profile, count(*) FROM endorsements GROUP BY profile;
COMMENT ON TABLE profiles IS E'as in\n--\n-- PostgreSQL database dump complete\n--\n';
SELECT lo_from_bytea(0, convert_to(repeat('large ', 20000), 'UTF8'));
`

// database returns the cluster of this package with the schema in "takumi".
func database(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Shared(t)
	if c.Psql(t, "postgres", "SELECT 1 FROM pg_database WHERE datname = 'takumi'") == "" {
		c.CreateDB(t, "takumi")
		c.Psql(t, "takumi", schema)
	}
	return c
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

// dumps are the ways in which pg_dump is asked, and what brings its output back.
var dumps = map[string]struct{ dump, restore []string }{
	"plain":  {[]string{"pg_dump", "takumi"}, []string{"psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-d"}},
	"custom": {[]string{"pg_dump", "-Fc", "takumi"}, []string{"pg_restore", "--exit-on-error", "--single-transaction", "-d"}},
}

// TestPostgreSQL: what is dumped, sealed, opened and restored is the same
// database.
func TestPostgreSQL(t *testing.T) {
	c := database(t)
	want := dumpOf(t, c, "takumi")
	for format, d := range dumps {
		for _, way := range []string{"piped", "as command"} {
			t.Run(format+" "+way, func(t *testing.T) {
				t.Parallel()
				b := withCluster(t, c)
				var seal *running
				if way == "piped" {
					dump, err := c.Command(d.dump[0], d.dump[1:]...).Output()
					if err != nil {
						t.Fatal(err)
					}
					seal = b.run(exitOK, bytes.NewReader(dump), "seal")
				} else {
					seal = b.run(exitOK, nil, append([]string{"seal", "--"}, d.dump...)...)
				}
				path := strings.TrimSpace(seal.stdout.String())
				if !strings.HasPrefix(path, b.path("store/database/takumi_db_")) {
					t.Errorf("the backup went to %s", path)
				}

				db := "restored_" + strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
				db = strings.ToLower(db)
				c.CreateDB(t, db)
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				open := b.program("open", path)
				open.Stdout = w
				opening := b.start(open)
				w.Close()
				restore := c.Command(d.restore[0], append(d.restore[1:], db)...)
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
	c := database(t)
	for format, d := range dumps {
		for _, way := range []string{"piped", "as command"} {
			t.Run(format+" "+way, func(t *testing.T) {
				t.Parallel()
				b := withCluster(t, c)
				b.seal([]byte("yesterday's"), "-o", "yesterday.enc")
				before := readFile(t, b.path("yesterday.enc"))

				var seal *running
				if way == "piped" {
					seal = sealHalf(b, c, d.dump)
				} else {
					seal = killHalfWay(b, d.dump)
				}
				seal.exits(exitSource).says("nothing was kept")
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
	// While seal stands still, pg_dump cannot come to its end: the pipe is full
	// before it is.
	seal.Process.Signal(syscall.SIGSTOP)
	syscall.Kill(child, syscall.SIGKILL)
	seal.Process.Signal(syscall.SIGCONT)
	return seal
}
