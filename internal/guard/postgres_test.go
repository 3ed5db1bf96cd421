package guard_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// schema has what makes dumps interesting: large objects with oids on both
// sides of the sign bit, partitions, an empty table, and the closing line of
// a dump as rows, in a comment and in a function.
const schema = `
CREATE TABLE profiles (id int PRIMARY KEY, name text, data jsonb);
INSERT INTO profiles SELECT i, md5(i::text), jsonb_build_object('n', i, 'text', repeat(md5(i::text), 5))
  FROM generate_series(1, 3000) i;
CREATE TABLE events (at date, what text) PARTITION BY RANGE (at);
CREATE TABLE events_a PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE events_b PARTITION OF events FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
INSERT INTO events SELECT date '2026-01-01' + i % 365, 'event ' || i FROM generate_series(1, 2000) i;
CREATE TABLE nothing (id int);
CREATE TABLE lines (line text);
INSERT INTO lines VALUES ('row'), (''), ('--'), ('-- PostgreSQL database dump complete'), ('--'), (''), ('row');
COMMENT ON TABLE lines IS E'as in\n\n--\n-- PostgreSQL database dump complete\n--\n\n';
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$
SELECT '
-- PostgreSQL database dump complete
'
$$;
SELECT lo_from_bytea(0, convert_to(repeat('large ', 20000), 'UTF8'));
SELECT lo_from_bytea(4000000001, 'small');
SELECT lo_from_bytea(0, '');
`

func TestPostgreSQL(t *testing.T) {
	c := pgtest.Shared(t)
	c.CreateDB(t, "full")
	c.CreateDB(t, "empty")
	c.Psql(t, "full", schema)

	for _, args := range [][]string{
		{"pg_dump", "full"},
		{"pg_dump", "--verbose", "full"},
		{"pg_dump", "--inserts", "full"},
		{"pg_dump", "--schema-only", "full"},
		{"pg_dump", "--data-only", "--disable-triggers", "full"},
		{"pg_dump", "--clean", "--create", "--load-via-partition-root", "full"},
		{"pg_dump", "empty"},
		{"pg_dump", "-Z9", "full"}, // plain, compressed
		{"pg_dumpall"},
		{"pg_dumpall", "--globals-only"},
		{"pg_dump", "-Fc", "full"},
		{"pg_dump", "-Fc", "-Z0", "full"},
		{"pg_dump", "-Fc", "-Z9", "full"},
		{"pg_dump", "-Fc", "--schema-only", "full"},
		{"pg_dump", "-Fc", "--section=pre-data", "full"},
		{"pg_dump", "-Fc", "--section=data", "full"},
		{"pg_dump", "-Fc", "--section=post-data", "full"},
		{"pg_dump", "-Fc", "--inserts", "--no-blobs", "full"},
		{"pg_dump", "-Fc", "empty"},
		{"pg_dump", "-Ft", "full"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			// By a pipe the offsets stay unset, in a file they are filled in.
			piped, err := c.Command(args[0], args[1:]...).Output()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "dump")
			if err := c.Command(args[0], append(args[1:], "-f", path)...).Run(); err != nil {
				t.Fatal(err)
			}
			filed, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkCuts(t, piped)
			checkCuts(t, filed)
		})
	}

	t.Run("pg_restore to SQL", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "dump")
		if err := c.Command("pg_dump", "-Fc", "-f", path, "full").Run(); err != nil {
			t.Fatal(err)
		}
		script, err := c.Command("pg_restore", "-f", "-", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		checkCuts(t, script)
	})

	t.Run("cut behind the closing line as a row", func(t *testing.T) {
		dump, err := c.Command("pg_dump", "--table=lines", "full").Output()
		if err != nil {
			t.Fatal(err)
		}
		rows := bytes.Index(dump, []byte("COPY public.lines"))
		row := bytes.Index(dump[rows:], []byte("\n-- PostgreSQL database dump complete\n"))
		for n := rows + row; !bytes.HasSuffix(dump[:n], []byte("\\.")); n++ {
			if err := verdict(dump[:n]); err == nil {
				t.Errorf("accepted behind %q", dump[rows:n])
			}
		}
	})
}

// checkCuts holds that a dump is accepted and that no beginning of it is,
// unless nothing but the closing line's comment is missing.
func checkCuts(t *testing.T, dump []byte) {
	t.Helper()
	if err := verdict(dump); err != nil {
		t.Errorf("a whole dump was refused: %v", err)
	}
	whole, format := len(dump), guard.Sniff(dump[:guard.SniffLen])
	if format == guard.PlainDump {
		last := bytes.LastIndex(dump, []byte(" dump complete\n"))
		whole = last + len(" dump complete\n")
	}
	const shown = 262 // enough for every format
	random := rand.New(rand.NewPCG(1, 2))
	cuts := 25
	if long {
		cuts = 200
	}
	for range cuts {
		n := shown + random.IntN(whole-shown)
		var incomplete *guard.IncompleteError
		if err := verdict(dump[:n]); !errors.As(err, &incomplete) || incomplete.Format != format {
			t.Errorf("%v cut at %d of %d: %v", format, n, len(dump), err)
		}
	}
}
