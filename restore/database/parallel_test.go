package database

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/paralleldump"
	dumpkit "github.com/takumi-backup/takumi-backup/internal/testkit/dump"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// parallelDump dumps a database by some connections.
func parallelDump(t *testing.T, s *postgres.Settings, jobs int) (dump, contents []byte) {
	t.Helper()
	conn, err := s.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, snapshot, err := postgres.Snapshot(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	d, err := paralleldump.Open(t.Context(), paralleldump.Options{Settings: s, Leader: conn, Snapshot: snapshot, Server: 15, Jobs: jobs, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if dump, err = io.ReadAll(d); err != nil {
		t.Fatal(err)
	}
	return dump, d.Contents()
}

// sorted are the statements and rows of a dump, sorted.
func sorted(dump []byte) string {
	return strings.Join(slices.Sorted(strings.Lines(statements(dump))), "")
}

func (run parts) do(t *testing.T, s *postgres.Settings, d *tables.Dump) error {
	t.Helper()
	r, err := Begin(t.Context(), Options{Settings: s, Into: run.into, Jobs: run.jobs, First: run.first, Time: time.Now(), Stderr: os.Stderr, Tell: t.Logf, Warn: t.Errorf})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = r.RunParts(t.Context(), d, nil)
	return err
}

type parts struct {
	into  string
	jobs  int
	first []postgres.TableName
}

const more = `
SELECT lo_from_bytea(77, 'x'), lo_from_bytea(78, decode(repeat('00ff5c0a', 100000), 'hex'));
COMMENT ON LARGE OBJECT 77 IS 'small'; GRANT SELECT ON LARGE OBJECT 78 TO PUBLIC;
CREATE MATERIALIZED VIEW public.per AS SELECT customer, count(*) FROM public.orders GROUP BY 1; CREATE UNIQUE INDEX per_i ON public.per (customer);
CREATE VIEW public.v AS SELECT * FROM public.per; CREATE PUBLICATION p FOR TABLE public.orders;
CREATE FUNCTION public.noted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$; CREATE EVENT TRIGGER noted ON ddl_command_start EXECUTE FUNCTION public.noted();
`

// TestParallel: dumps of pg_dump and of several connections come back whole.
func TestParallel(t *testing.T) {
	c := pgtest.Start(t) // the role of the shop is another test's too
	c.CreateDB(t, "pshop")
	c.Psql(t, "pshop", shop+more)
	s := leading(t, c, "pshop")
	want := sorted(pgDump(t, c, "pshop"))
	plain := pgDump(t, c, "--create", "--clean", "pshop")
	dump, contents := parallelDump(t, s, 3)
	for name, d := range map[string]*tables.Dump{"plain_back": dumpkit.Indexed(t, plain, nil, nil), "parallel_back": dumpkit.Indexed(t, dump, contents, nil)} {
		if err := (parts{name, 3, []postgres.TableName{{Table: "customers"}}}).do(t, s, d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := sorted(pgDump(t, c, name)); got != want {
			t.Errorf("%s: %d bytes came back as %d", name, len(want), len(got))
		}
	}
	if err := (parts{"none_back", 3, []postgres.TableName{{Table: "missing"}}}).do(t, s, dumpkit.Indexed(t, dump, contents, nil)); !errors.Is(err, tables.ErrNoTable) {
		t.Error(err)
	}
}

// meeting is a source whose readers wait, once, until as many are there as are wanted.
type meeting struct {
	io.ReaderAt
	mu     sync.Mutex
	open   bool // reads are counted
	wanted int
	there  int
	most   int
	met    chan struct{}
}

func (m *meeting) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	if m.open {
		m.there++
		if m.most = max(m.most, m.there); m.there == m.wanted {
			close(m.met)
			m.open = false
		}
		m.mu.Unlock()
		select {
		case <-m.met:
		case <-time.After(time.Minute):
		}
	} else {
		m.mu.Unlock()
	}
	return m.ReaderAt.ReadAt(p, off)
}

// TestParallelReadsOverlap: as many connections as there are jobs are at work at one time.
func TestParallelReadsOverlap(t *testing.T) {
	c := pgtest.Shared(t)
	s := leading(t, c, "postgres")
	var dump strings.Builder
	dump.WriteString("--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.t (a text);\n")
	for i := range 4 {
		dump.WriteString("COPY public.t (a) FROM stdin;\n" + strings.Repeat(strings.Repeat(string(rune('a'+i)), 99)+"\n", 3000) + "\\.\n\n")
	}
	dump.WriteString("--\n-- PostgreSQL database dump complete\n--\n\n")
	src := dumpkit.Packed(t, []byte(dump.String()), nil, nil)
	m := &meeting{ReaderAt: src, wanted: 4, met: make(chan struct{})}
	d := dumpkit.Open(t, m, src.Size())
	r, err := Begin(t.Context(), Options{Settings: s, Into: "meeting", Jobs: 4, Time: time.Now(), Stderr: os.Stderr, Tell: t.Logf, Warn: t.Errorf})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := &parallel{Restore: r, dump: d}
	head, err := p.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.build(t.Context(), head, func(ctx context.Context) ([]string, int, error) {
		if err := p.run(ctx, bytes.NewReader(p.pre)); err != nil {
			return nil, 0, err
		}
		m.mu.Lock()
		m.open = true
		m.mu.Unlock()
		return nil, 0, p.rows(ctx)
	}); err != nil {
		t.Fatal(err)
	}
	if m.most != 4 {
		t.Errorf("%d connections were at work at one time", m.most)
	}
	if got := c.Psql(t, "meeting", "SELECT count(*) FROM t"); got != "12000\n" {
		t.Errorf("%s rows", got)
	}
}

const tiny = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.a (id int);\n" +
	"COPY public.a (id) FROM stdin;\n1\n2\n\\.\n\n\nCREATE INDEX i ON public.a (id);\n--\n-- PostgreSQL database dump complete\n--\n\n"

// TestContentsOfALaterVersion: what pg_restore does not take psql makes.
func TestContentsOfALaterVersion(t *testing.T) {
	c := pgtest.Shared(t)
	s := leading(t, c, "postgres")
	warned := false
	r, err := Begin(t.Context(), Options{Settings: s, Into: "later", Jobs: 2, Time: time.Now(), Stderr: os.Stderr, Tell: t.Logf, Warn: func(string, ...any) { warned = true }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := dumpkit.Indexed(t, []byte(tiny), []byte("PGDMP\x01\x63\x00\x04\x08\x01 and so on"), nil)
	if _, err := r.RunParts(t.Context(), d, nil); err != nil || !warned {
		t.Errorf("%v, warned: %v", err, warned)
	}
	if got := c.Psql(t, "later", "SELECT count(*) FROM a; SELECT count(*) FROM pg_indexes WHERE indexname = 'i'"); got != "2\n1\n" {
		t.Errorf("%q", got)
	}
}

// TestAnIndexThatLiesRestoresNothing: nothing gets the name of the database.
func TestAnIndexThatLiesRestoresNothing(t *testing.T) {
	c := pgtest.Shared(t)
	s := leading(t, c, "postgres")
	d := dumpkit.Indexed(t, []byte(tiny), nil, func(p *guard.Piece) {
		if p.Table == "a" {
			p.Length, p.Rows = p.Length-2, p.Rows-1
		}
	})
	if err := (parts{into: "lies", jobs: 2}).do(t, s, d); !errors.Is(err, tables.ErrIndex) {
		t.Error(err)
	}
	if got := c.Psql(t, "postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'lies%'"); got != "0\n" {
		t.Errorf("%s databases are left", got)
	}
}
