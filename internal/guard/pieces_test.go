package guard_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

const before = "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n" +
	"CREATE FUNCTION public.f() RETURNS void\n    LANGUAGE sql\n    BEGIN ATOMIC\n INSERT INTO public.a VALUES (1);\n SELECT CASE WHEN true THEN 1 END;\nEND;\n" +
	"CREATE TABLE public.a (id int);\n"

const ending = "--\n-- PostgreSQL database dump complete\n--\n\n"

const inOrder = before +
	"COPY public.a (id, \"odd;\"\"name\") FROM stdin;\n1\tx\n2\ty\\\\.\n\\.\n\n\n" +
	"COPY \"B\".\"a b\" (id) FROM stdin;\n\\.\n\n" +
	"COPY public.none  FROM stdin;\n\n\n\\.\n" +
	"SELECT pg_catalog.setval('public.s', 1, true);\nSELECT pg_catalog.setval('public.s2', 1, true);\n" +
	"BEGIN;\n\nSELECT pg_catalog.lo_open('1', 131072);\nSELECT pg_catalog.lowrite(0, '\\x00');\nSELECT pg_catalog.lo_close(0);\n\nCOMMIT;\n\n" +
	"CREATE INDEX i ON public.a (id);\n" + ending

// piecesOf returns what a guard tells of a dump that comes through src.
func piecesOf(t *testing.T, src io.Reader) []guard.Piece {
	t.Helper()
	var told []guard.Piece
	r := guard.NewReader(src, guard.Options{Piece: func(p guard.Piece) { told = append(told, p) }})
	defer r.Close()
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil {
		t.Fatal(err)
	}
	return told
}

func TestPiecesOfADump(t *testing.T) {
	want := []struct {
		part, schema, table, text string
		rows                      int64
	}{
		{"", "public", "a", "1\tx\n2\ty\\\\.\n", 2},
		{"", "B", "a b", "", 0},
		{"", "public", "none", "\n\n", 2},
		{"sequences", "", "", "SELECT pg_catalog.setval('public.s', 1, true);\nSELECT pg_catalog.setval('public.s2', 1, true);", 0},
		{"large-objects", "", "", "BEGIN;\n\nSELECT pg_catalog.lo_open('1', 131072);\nSELECT pg_catalog.lowrite(0, '\\x00');\nSELECT pg_catalog.lo_close(0);\n\nCOMMIT;", 0},
		{"pre", "", "", before, 0},
		{"post", "", "", "\n\nCREATE INDEX i ON public.a (id);\n" + ending, 0},
	}
	for name, src := range map[string]io.Reader{
		"at once": strings.NewReader(inOrder), "byte by byte": iotest.OneByteReader(strings.NewReader(inOrder)),
		"by halves": iotest.HalfReader(strings.NewReader(inOrder)),
	} {
		told := piecesOf(t, src)
		if len(told) != len(want) {
			t.Fatalf("%s: %+v", name, told)
		}
		for i, p := range told {
			w := want[i]
			if text := inOrder[p.Offset : p.Offset+p.Length]; p.Part != w.part || p.Schema != w.schema || p.Table != w.table || p.Rows != w.rows || text != w.text {
				t.Errorf("%s: piece %d is %+v: %q", name, i, p, text)
			}
			if p.Part != "" {
				continue
			}
			sql, _, _ := strings.Cut(inOrder[p.Copy:], "\n")
			if schema, table, columns, ok := guard.ParseCopy([]byte(sql)); !ok || schema != p.Schema || table != p.Table || i == 0 && fmt.Sprint(columns) != `[id odd;"name]` {
				t.Errorf("%s: piece %d is headed by %q", name, i, sql)
			}
		}
	}
}

// TestPiecesAreWholeRows: a large table is cut, and every byte of its rows is in one piece.
func TestPiecesAreWholeRows(t *testing.T) {
	var rows bytes.Buffer
	for i := range 400_000 {
		fmt.Fprintf(&rows, "%d\t%s\n", i, strings.Repeat("x", i%97))
	}
	head := before + "COPY public.a (id, t) FROM stdin;\n"
	dump := head + rows.String() + "\\.\n" + ending
	at, n := int64(len(head)), int64(0)
	pieces := piecesOf(t, strings.NewReader(dump))
	for _, p := range pieces[:len(pieces)-2] {
		text := dump[p.Offset : p.Offset+p.Length]
		if p.Offset != at || !strings.HasSuffix(text, "\n") || int64(strings.Count(text, "\n")) != p.Rows || p.Length > 9<<20 {
			t.Fatalf("%+v does not begin at %d", p, at)
		}
		at += p.Length
		n += p.Rows
	}
	if len(pieces) < 4 || n != 400_000 || at != int64(len(head)+rows.Len()) {
		t.Errorf("%d pieces, %d rows, to byte %d", len(pieces), n, at)
	}
}

// TestNoPartsOutOfOrder: what is made or changed between rows would be missed.
func TestNoPartsOutOfOrder(t *testing.T) {
	for name, dump := range map[string]string{
		"a table between rows":    before + "COPY public.a (id) FROM stdin;\n1\n\\.\nCREATE TABLE public.b (id int);\nCOPY public.b (id) FROM stdin;\n\\.\n" + ending,
		"rows as INSERT":          before + "INSERT INTO public.a VALUES (1);\n" + ending,
		"triggers switched off":   before + "COPY public.a (id) FROM stdin;\n1\n\\.\nALTER TABLE public.b DISABLE TRIGGER ALL;\nCOPY public.b (id) FROM stdin;\n\\.\n" + ending,
		"two dumps":               inOrder + inOrder,
		"another database":        before + "COPY public.a (id) FROM stdin;\n1\n\\.\n\\connect b\n" + ending,
		"the dump of a server":    "--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE a;\n--\n-- PostgreSQL database cluster dump complete\n--\n\n",
		"rows after what is last": inOrder[:len(inOrder)-len(ending)] + "COPY public.a (id) FROM stdin;\n1\n\\.\n" + ending,
	} {
		for _, p := range piecesOf(t, strings.NewReader(dump)) {
			if p.Part == guard.PartPre || p.Part == guard.PartPost {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
	if told := piecesOf(t, strings.NewReader(before+ending)); len(told) != 2 || told[0].Length != int64(len(before+ending)) {
		t.Errorf("without rows: %+v", told)
	}
}

func TestParseCopyTakesNothingElse(t *testing.T) {
	for _, sql := range []string{
		"COPY a FROM PROGRAM 'x';", "COPY a FROM '/etc/passwd';", "COPY a TO stdout;", "COPY a FROM stdin WITH (FORMAT csv);", "COPY a (b FROM stdin;",
		"COPY (SELECT 1) TO stdout;", "COPY a (b,) FROM stdin;", "COPY a FROM stdin", "COPY a FROM stdin; DROP TABLE a;", "", "COPY", "COPY a.b.c FROM stdin;",
	} {
		if schema, table, columns, ok := guard.ParseCopy([]byte(sql)); ok {
			t.Errorf("%s is %q.%q %q", sql, schema, table, columns)
		}
	}
	if _, table, columns, ok := guard.ParseCopy([]byte("COPY a () FROM stdin;")); ok {
		t.Errorf("no columns: %q %q", table, columns)
	}
}

func TestCopies(t *testing.T) {
	for name, src := range map[string]io.Reader{"at once": strings.NewReader(inOrder), "byte by byte": iotest.OneByteReader(strings.NewReader(inOrder))} {
		got := make(map[string]*bytes.Buffer)
		err := guard.Copies(src, func(schema, table string, _ []string) (io.Writer, error) {
			if table == "a b" {
				return nil, nil
			}
			b := new(bytes.Buffer)
			got[schema+"."+table] = b
			return b, nil
		})
		if err != nil || len(got) != 2 || got["public.a"].String() != "1\tx\n2\ty\\\\.\n" || got["public.none"].String() != "\n\n" {
			t.Errorf("%s: %v %q", name, err, got)
		}
	}
}
