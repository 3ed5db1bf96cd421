package tables_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	dumpkit "github.com/takumi-backup/takumi-backup/internal/testkit/dump"
	pgtest "github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func name(t testing.TB, text string) postgres.TableName {
	t.Helper()
	n, err := postgres.ParseTableName(text)
	if err != nil || n.String() != text {
		t.Fatalf("%s is %q, %v", text, n, err)
	}
	return n
}

func rowsOf(t testing.TB, d *tables.Dump, table string) (string, []string) {
	t.Helper()
	blocks, err := d.Find(name(t, table))
	if err != nil {
		t.Fatal(err)
	}
	columns, err := d.Columns(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, b := range blocks {
		rows, err := io.ReadAll(d.Rows(b))
		if err != nil {
			t.Fatal(err)
		}
		text += string(rows)
	}
	return text, columns
}

const dump = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.a ();\n" +
	"COPY public.a (id, t) FROM stdin;\n1\tx\n2\t\\N\n\\.\n\nCOPY \"B\".a (\"x y\") FROM stdin;\n3\n\\.\n\nCOPY public.empty (id) FROM stdin;\n\\.\n" +
	"SELECT pg_catalog.setval('public.s', 1, true);\nCREATE INDEX i ON public.a (id);\n--\n-- PostgreSQL database dump complete\n--\n\n"

func TestTablesByTheIndex(t *testing.T) {
	contents := bytes.Repeat([]byte("contents"), 200_000)
	d := dumpkit.Indexed(t, []byte(dump), contents, nil)
	var all []string
	for table, err := range d.Tables() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(table.TableName, " ", table.Rows, " ", table.Size))
	}
	if got := strings.Join(all, ", "); got != `"B".a 1 2, public.a 2 9, public.empty 0 0` {
		t.Errorf("tables: %s", got)
	}
	if rows, columns := rowsOf(t, d, "public.a"); rows != "1\tx\n2\t\\N\n" || fmt.Sprint(columns) != "[id t]" {
		t.Errorf("rows %q of %q", rows, columns)
	}
	if rows, columns := rowsOf(t, d, "empty"); rows != "" || fmt.Sprint(columns) != "[id]" {
		t.Errorf("rows %q of %q", rows, columns)
	}
	if _, err := d.Find(name(t, "a")); err == nil || !strings.Contains(err.Error(), `"B".a and public.a`) {
		t.Errorf("a name of two tables: %v", err)
	}
	for _, text := range []string{"public.b", "b", "x.a"} {
		if _, err := d.Find(name(t, text)); !errors.Is(err, tables.ErrNoTable) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for part, want := range map[string]string{
		guard.PartPre: dump[:strings.Index(dump, "COPY")], guard.PartPost: dump[strings.Index(dump, "\nCREATE INDEX"):],
		guard.PartSequences: "SELECT pg_catalog.setval('public.s', 1, true);", guard.PartLargeObjects: "",
	} {
		var got []byte
		parts, err := d.Part(part)
		for _, p := range parts {
			text, readErr := io.ReadAll(p)
			got, err = append(got, text...), errors.Join(err, readErr)
		}
		if err != nil || string(got) != want {
			t.Errorf("part %s is %q, %v", part, got, err)
		}
	}
	if got, err := d.Contents(); err != nil || !bytes.Equal(got, contents) {
		t.Errorf("%d bytes of contents, %v", len(got), err)
	}
}

// TestAnIndexThatLies: what it says of rows and their COPY is not believed.
func TestAnIndexThatLies(t *testing.T) {
	for what, change := range map[string]func(*guard.Piece){
		"fewer rows":        func(p *guard.Piece) { p.Rows-- },
		"half a row":        func(p *guard.Piece) { p.Length-- },
		"the end marker":    func(p *guard.Piece) { p.Length += 3; p.Rows++ },
		"rows of another":   func(p *guard.Piece) { p.Table = "c" },
		"no COPY":           func(p *guard.Piece) { p.Copy++ },
		"outside":           func(p *guard.Piece) { p.Offset = 1 << 40 },
		"the COPY outside":  func(p *guard.Piece) { p.Copy = 1 << 40 },
		"before the dump":   func(p *guard.Piece) { p.Offset = -1 },
		"another's columns": func(p *guard.Piece) { p.Copy = int64(strings.Index(dump, `COPY "B"`)) },
	} {
		d := dumpkit.Indexed(t, []byte(dump), nil, func(p *guard.Piece) {
			if p.Table == "a" && p.Schema == "public" {
				change(p)
			}
		})
		for table, err := range d.Blocks() {
			if err == nil && table.Schema != "public" {
				continue
			}
			if err == nil {
				_, err = io.ReadAll(d.Rows(table))
			}
			if err == nil {
				_, err = d.Columns(table)
			}
			if what == "rows of another" && err == nil && table.Table == "c" {
				t.Errorf("%s: taken", what)
			}
			if !errors.Is(err, tables.ErrIndex) {
				t.Errorf("%s: %v", what, err)
			}
			break
		}
	}
}

// whole reads all pieces of a dump as a restore does.
func whole(d *tables.Dump) error {
	pieces, err := d.Pieces()
	for i := 0; err == nil && i < len(pieces); i++ {
		p := &pieces[i]
		src := d.Section(p.Gap, p.Offset+p.Length)
		if _, err = p.CheckGap(src); err == nil && p.Table != "" {
			_, err = io.Copy(io.Discard, p.Counted(src))
		}
	}
	return err
}

// TestAnIndexOfNotAll: what an index leaves out, or puts elsewhere, is noticed by who
// reads all of the dump by it.
func TestAnIndexOfNotAll(t *testing.T) {
	const dump = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.a (id int);\nCREATE TABLE public.b (id int);\n--\n-- Data\n--\n\n" +
		"COPY public.a (id) FROM stdin;\n1\n2\n\\.\n\n\nCOPY public.b (id) FROM stdin;\n3\n\\.\n\n\nSELECT pg_catalog.setval('x', 1);\n" +
		"CREATE INDEX i ON public.a (id);\n--\n-- PostgreSQL database dump complete\n--\n\n"
	for name, lie := range map[string]struct {
		about  string
		change func(*guard.Piece)
	}{
		"a row is left out":          {"a", func(p *guard.Piece) { p.Length -= 2; p.Rows-- }},
		"the first row is left out":  {"a", func(p *guard.Piece) { p.Offset += 2; p.Length -= 2; p.Rows-- }},
		"a table is left out":        {"b", func(p *guard.Piece) { p.Length = -1 }},
		"sequences are left out":     {"sequences", func(p *guard.Piece) { p.Length = -1 }},
		"an index is left out":       {"post", func(p *guard.Piece) { p.Offset += 34; p.Length -= 34 }},
		"the end is left out":        {"post", func(p *guard.Piece) { p.Length -= 5 }},
		"the beginning is left out":  {"pre", func(p *guard.Piece) { p.Offset = 30; p.Length -= 30 }},
		"a table is not made":        {"pre", func(p *guard.Piece) { p.Length -= 40 }},
		"rows go elsewhere":          {"b", func(p *guard.Piece) { p.Table = "a" }},
		"rows are of another COPY":   {"b", func(p *guard.Piece) { p.Copy = int64(strings.Index(dump, "COPY public.a")) }},
		"rows are there twice":       {"b", func(p *guard.Piece) { p.Offset -= 40 }},
		"rows are a part":            {"b", func(p *guard.Piece) { p.Part, p.Table = "sequences", "" }},
		"a part has the name of one": {"sequences", func(p *guard.Piece) { p.Table = "b" }},
		"":                           {"", nil},
	} {
		err := whole(dumpkit.Indexed(t, []byte(dump), nil, func(p *guard.Piece) {
			if lie.change != nil && (p.Part == lie.about || p.Table == lie.about) {
				lie.change(p)
			}
		}))
		if name == "" && err != nil || name != "" && !errors.Is(err, tables.ErrIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCSV(t *testing.T) {
	const rows = "1\t\\N\t\n\\\\.\ta,b\tsays \"x\"\n\\b\\f\\n\\r\\t\\v\t\\101\\x41\\q\t \n"
	const want = "a,\"b \"\"c\"\"\",d\n1,,\"\"\n\"\\.\",\"a,b\",\"says \"\"x\"\"\"\n\"\b\f\n\r\t\v\",AAq, \n"
	for name, src := range map[string]io.Reader{"at once": strings.NewReader(rows), "byte by byte": iotest.OneByteReader(strings.NewReader(rows))} {
		var out bytes.Buffer
		c := tables.NewCSV(&out, []string{"a", `b "c"`, "d"})
		if _, err := io.Copy(c, src); err != nil || c.Close() != nil || out.String() != want {
			t.Errorf("%s: %q", name, out.String())
		}
	}
	c := tables.NewCSV(io.Discard, nil)
	if _, err := c.Write([]byte("1\t")); err != nil || c.Close() == nil {
		t.Error("half a row is taken")
	}
}

func TestTableNames(t *testing.T) {
	for text, want := range map[string]postgres.TableName{
		"a": {Table: "a"}, "S.A": {Schema: "s", Table: "a"}, `"S"."a.b"`: {Schema: "S", Table: "a.b"}, `s."say ""x"""`: {Schema: "s", Table: `say "x"`},
	} {
		if got, err := postgres.ParseTableName(text); err != nil || got != want {
			t.Errorf("%s is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ".", "a.", ".a", "a.b.c", `"a`, `"a"b`, `""`} {
		if got, err := postgres.ParseTableName(text); err == nil {
			t.Errorf("%s is %q", text, got)
		}
	}
}

// TestTablesOfPostgreSQL: rows come out as COPY writes them, in both formats.
func TestTablesOfPostgreSQL(t *testing.T) {
	c := pgtest.Shared(t)
	c.CreateDB(t, "tables")
	c.Psql(t, "tables", `CREATE SCHEMA "Odd ""one";
CREATE TABLE "Odd ""one"."a;b
c" (id int, "x,y" text, z bytea, g int GENERATED ALWAYS AS (id * 2) STORED, dropped int);
ALTER TABLE "Odd ""one"."a;b
c" DROP COLUMN dropped;
INSERT INTO "Odd ""one"."a;b
c" SELECT i, CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'a\tb\n"c",\\N' WHEN 3 THEN E'\\.' ELSE repeat('ü', 300) END, decode(md5(i::text), 'hex')
  FROM generate_series(1, 20000) i;
CREATE TABLE t (i int); INSERT INTO t VALUES (1); CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES;`)
	out, err := c.Command("pg_dump", "tables").Output()
	if err != nil {
		t.Fatal(err)
	}
	d := dumpkit.Indexed(t, out, nil, nil)
	const odd = "\"Odd \"\"one\".\"a;b\nc\""
	rows, columns := rowsOf(t, d, odd)
	if want := c.Psql(t, "tables", `COPY `+odd+` (id, "x,y", z) TO STDOUT`); rows != want || fmt.Sprint(columns) != "[id x,y z]" {
		t.Errorf("%d bytes of rows of %q, want %d", len(rows), columns, len(want))
	}
	var csv bytes.Buffer
	w := tables.NewCSV(&csv, columns)
	if _, err := io.WriteString(w, rows); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if want := c.Psql(t, "tables", `COPY `+odd+` (id, "x,y", z) TO STDOUT (FORMAT csv, HEADER)`); csv.String() != strings.ReplaceAll(want, `,\.,`, `,"\.",`) {
		t.Errorf("%d bytes of CSV, want %d", csv.Len(), len(want))
	}
	if rows, columns := rowsOf(t, d, "no_columns"); rows != "\n" || len(columns) > 0 {
		t.Errorf("rows without columns: %q %q", rows, columns)
	}
}
