package paralleldump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const things = `
CREATE EXTENSION pgcrypto; CREATE TYPE mood AS ENUM ('calm', 'glad');
CREATE TABLE heap (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, dropped int, t text, g int GENERATED ALWAYS AS (length(t)) STORED, b bytea, f float8, i interval, d timestamptz);
ALTER TABLE heap DROP COLUMN dropped;
INSERT INTO heap (t, b, f, i, d) SELECT CASE i % 4 WHEN 0 THEN E'\\.' WHEN 1 THEN NULL WHEN 2 THEN E'a\nb\\' ELSE repeat('ü', i % 300) END, digest(i::text, 'md5'), 0.1::float8 + i, i * interval '1 hour', 'epoch'
  FROM generate_series(1, 20000) i;
DELETE FROM heap WHERE id % 7 = 0;
CREATE TABLE toasted (t text); ALTER TABLE toasted ALTER t SET STORAGE EXTERNAL; INSERT INTO toasted SELECT repeat(md5(i::text), 1000) FROM generate_series(1, 60) i;
CREATE TABLE parts (id int, m mood) PARTITION BY HASH (m); CREATE TABLE parts_a PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE parts_b PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT i, (enum_range(NULL::mood))[1 + i % 2] FROM generate_series(1, 500) i;
CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
CREATE SCHEMA "Odd s"; CREATE TABLE "Odd s"."new
line ""q""; --" ("a,b;" int, "COPY x FROM stdin;" text); INSERT INTO "Odd s"."new
line ""q""; --" VALUES (1, 'COPY x FROM stdin;');
CREATE TABLE empty (id serial); CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
CREATE UNLOGGED TABLE unlogged (i int); INSERT INTO unlogged VALUES (1);
CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
BEGIN; INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); COMMIT;
CREATE MATERIALIZED VIEW counts AS SELECT m, count(*) FROM parts GROUP BY m; CREATE VIEW v AS SELECT id FROM heap;
CREATE FUNCTION atomic(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC INSERT INTO empty VALUES (x); SELECT CASE WHEN x > 1 THEN 2 END; END;
SELECT setval('empty_id_seq', 4711);
SELECT lo_from_bytea(4000000001, 'small'), lo_from_bytea(77, ''), lo_from_bytea(78, decode(repeat('00ff5c0a', 100000), 'hex'));
COMMENT ON LARGE OBJECT 77 IS 'empty'; GRANT SELECT ON LARGE OBJECT 78 TO PUBLIC;
CREATE PUBLICATION p FOR TABLE heap; CREATE STATISTICS s ON t, f FROM heap; ALTER TABLE heap ENABLE ROW LEVEL SECURITY; CREATE POLICY y ON heap USING (id > 1);
`

// start opens a dump of a database by some jobs.
func start(t *testing.T, c *pgtest.Cluster, db string, jobs int) (*Dump, error) {
	t.Helper()
	for _, kv := range c.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	t.Setenv("DB_NAME", db)
	s, err := postgres.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	_, snapshot, err := postgres.Snapshot(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	server, err := postgres.Version(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Options{Settings: s, Leader: conn, Snapshot: snapshot, Server: server, Jobs: jobs, Stderr: os.Stderr})
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

func small(t *testing.T) {
	t.Helper()
	cut, block := minCut, blockSize
	minCut, blockSize = 64<<10, 16<<10
	t.Cleanup(func() { minCut, blockSize = cut, block })
}

// lines are those of a dump, in the order of their text.
func lines(dump []byte) string {
	text := regexp.MustCompile(`(?m)^(--.*|\\(un)?restrict .*|COPY .*|\\\.)\n`).ReplaceAllString(string(dump), "")
	all := slices.Sorted(strings.Lines(text))
	return strings.Join(all, "")
}

func pgDump(t *testing.T, c *pgtest.Cluster, args ...string) []byte {
	t.Helper()
	out, err := c.Command("pg_dump", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAPlainDump: psql makes the same database of it as of pg_dump's own, and so does
// pg_restore with the contents.
func TestAPlainDump(t *testing.T) {
	small(t)
	c := pgtest.Shared(t)
	c.CreateDB(t, "things")
	c.Psql(t, "things", things)
	c.Psql(t, "postgres", "ALTER DATABASE things SET IntervalStyle = iso_8601; ALTER DATABASE things SET DateStyle = 'SQL, DMY'; ALTER DATABASE things SET bytea_output = escape; ALTER DATABASE things SET client_encoding = LATIN1")
	d, err := start(t, c, "things", 3)
	if err != nil {
		t.Fatal(err)
	}
	c.Psql(t, "things", "INSERT INTO parent VALUES (99); DELETE FROM toasted WHERE ctid = '(0,1)'") // not of the snapshot
	parts, blocks := make(map[string]int), make(map[string]int)
	g := guard.NewReader(d, guard.Options{Piece: func(p guard.Piece) {
		parts[p.Part]++
		blocks[p.Table]++
	}})
	defer g.Close()
	dump, err := io.ReadAll(g)
	if err != nil {
		t.Fatal(err)
	}
	if parts["pre"] != 1 || parts["sequences"] != 1 || parts["large-objects"] != 1 || parts["post"] != 1 || blocks["heap"] < 10 || blocks["empty"] != 1 {
		t.Errorf("parts %v, blocks %v", parts, blocks)
	}
	if g.Contents().LargeObjects != 3 || !g.Contents().Counted {
		t.Errorf("%+v", g.Contents())
	}
	c.Psql(t, "postgres", "ALTER DATABASE things RESET ALL")
	c.Psql(t, "things", "DELETE FROM parent WHERE a = 99; INSERT INTO toasted SELECT repeat(md5('1'), 1000)")
	c.CreateDB(t, "things_back")
	if out := c.Psql(t, "things_back", string(dump)); strings.Contains(out, "ERROR") {
		t.Error(out)
	}
	if a, b := lines(pgDump(t, c, "things")), lines(pgDump(t, c, "things_back")); a != b {
		linesA, linesB := strings.Split(a, "\n"), strings.Split(b, "\n")
		for i := range min(len(linesA), len(linesB)) {
			if linesA[i] != linesB[i] {
				t.Errorf("%.300s\ncame back as\n%.300s", linesA[i], linesB[i])
				break
			}
		}
		t.Errorf("%d bytes came back as %d", len(a), len(b))
	}
	if a, b := pgDump(t, c, "-s", "things"), pgDump(t, c, "-s", "things_back"); lines(a) != lines(b) {
		t.Error("the schema differs")
	}
	post, err := d.restorer.SQL(t.Context(), d.Contents(), "post-data")
	if err != nil || !bytes.Contains(post, []byte("ADD CONSTRAINT heap_pkey")) {
		t.Errorf("%v: %.300s", err, post)
	}
}

// TestExpressions: indexes and statistics on functions that need a search_path do not keep
// a large table from being dumped, as they do not keep pg_dump from it.
func TestExpressions(t *testing.T) {
	small(t)
	c := pgtest.Shared(t)
	c.CreateDB(t, "expressions")
	c.Psql(t, "expressions", `CREATE FUNCTION inner_of(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower(t)';
CREATE FUNCTION outer_of(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT inner_of(t)';
CREATE TABLE a (t text); CREATE INDEX ON a (outer_of(t)); CREATE TABLE b (t text); CREATE STATISTICS s ON (outer_of(t)) FROM b; CREATE TABLE c (t text); CREATE INDEX ON c (t) WHERE outer_of(t) = 'x';
INSERT INTO a SELECT md5(i::text) FROM generate_series(1, 20000) i; INSERT INTO b TABLE a; INSERT INTO c TABLE a`)
	d, err := start(t, c, "expressions", 3)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`(?m)^[0-9a-f]{32}$`).FindAll(dump, -1)); n != 60000 {
		t.Errorf("%d rows, want 60000", n)
	}
}

// TestWorkersOverlap: as many connections as there are jobs read at one time.
func TestWorkersOverlap(t *testing.T) {
	small(t)
	c := pgtest.Shared(t)
	c.CreateDB(t, "overlap")
	c.Psql(t, "overlap", "CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 40000) i")
	const jobs = 4
	d, err := start(t, c, "overlap", jobs)
	if err != nil {
		t.Fatal(err)
	}
	var head []byte
	for b := make([]byte, 1); !bytes.Contains(head, []byte("\nCOPY ")); { // then nothing is taken from the workers
		if _, err := io.ReadFull(d, b); err != nil {
			t.Fatal(err)
		}
		head = append(head, b...)
	}
	busy := ""
	for end := time.Now().Add(time.Minute); busy != "4\n" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		busy = c.Psql(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'overlap' AND state = 'active' AND query LIKE 'COPY (SELECT%ctid%'")
	}
	if busy != "4\n" {
		t.Errorf("%s workers are busy", busy)
	}
	rest, err := io.ReadAll(d)
	if n := bytes.Count(append(head, rest...), []byte("\txxxxx")); err != nil || n != 40000 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestSomebodyWaitsToAlter: who waits for the dump to end does not keep it from ending.
func TestSomebodyWaitsToAlter(t *testing.T) {
	small(t)
	c := pgtest.Shared(t)
	c.CreateDB(t, "altered")
	c.Psql(t, "altered", "CREATE TABLE t AS SELECT i, 'ü' AS u FROM generate_series(1, 10000) i; CREATE TABLE u AS TABLE t")
	d, err := start(t, c, "altered", 2)
	if err != nil {
		t.Fatal(err)
	}
	alter := c.Command("psql", "-X", "-d", "altered", "-c", "ALTER TABLE t DROP COLUMN u")
	if err := alter.Start(); err != nil {
		t.Fatal(err)
	}
	waits := ""
	for end := time.Now().Add(time.Minute); waits != "1\n" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		waits = c.Psql(t, "postgres", "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = 'altered')")
	}
	dump, err := io.ReadAll(d)
	if n := bytes.Count(dump, []byte("\tü\n")); waits != "1\n" || err != nil || n != 20000 {
		t.Errorf("%s waits, %d rows, %v", waits, n, err)
	}
	d.Close()
	d.o.Leader.Close(t.Context())
	if err := alter.Wait(); err != nil {
		t.Error(err)
	}
}

// TestADumpThatFails: a server process that ends, and a reader that goes away.
func TestADumpThatFails(t *testing.T) {
	small(t)
	c := pgtest.Shared(t)
	c.CreateDB(t, "fails")
	c.Psql(t, "fails", "CREATE TABLE t AS SELECT i, repeat('x', CASE i % 90 WHEN 0 THEN 100000 ELSE 500 END) FROM generate_series(1, 9000) i") // some larger than a block
	d, err := start(t, c, "fails", 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(d, make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	c.Psql(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fails' AND query LIKE 'COPY%'")
	if _, err := io.ReadAll(d); err == nil {
		t.Error("the dump seems whole")
	}
	d.Close()
	d, err = start(t, c, "fails", 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(d, make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	d.Close() // which returns
}

func TestTextOfPgRestore(t *testing.T) {
	const head, tail = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\n-- Dumped from database version 15\n\nSET a = 1;\n\n", "\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n"
	if got := string(bare([]byte(head + "--\n-- Name: a; Type: TABLE\n--\n\nCREATE 1;\n" + tail))); got != "SET a = 1;\n\n--\n-- Name: a; Type: TABLE\n--\n\nCREATE 1;\n\n" {
		t.Errorf("%q", got)
	}
	if got := string(withoutSettings(bare([]byte(head + tail)))); got != "" {
		t.Errorf("%q", got)
	}
	body := "--\n-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: \n--\n\nBEGIN;\n" + strings.Repeat("SELECT pg_catalog.lowrite(0, '\\x00');\n", 10000) + "COMMIT;\n"
	var out bytes.Buffer
	if err := copyBare(&out, iotest.HalfReader(strings.NewReader(head+body+tail))); err != nil || out.String() != body+"\n" {
		t.Errorf("%d bytes of %d, %v", out.Len(), len(body), err)
	}
	out.Reset()
	if err := copyBare(&out, strings.NewReader(head+tail)); err != nil || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
	broken := errors.New("broken")
	if err := copyBare(io.Discard, io.MultiReader(strings.NewReader(head+body), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
}
