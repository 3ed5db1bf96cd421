package guard_test

import (
	"strings"
	"testing"
)

const (
	opening        = "--\n-- PostgreSQL database dump\n--\n\n"
	closing        = "--\n-- PostgreSQL database dump complete\n--\n\n"
	clusterOpening = "--\n-- PostgreSQL database cluster dump\n--\n\n"
	clusterClosing = "--\n-- PostgreSQL database cluster dump complete\n--\n\n"
	table          = "COPY public.t (a) FROM stdin;\n"
)

func TestPlain(t *testing.T) {
	filler := strings.Repeat("a row of the table\n", 2000) // more than the tail that is remembered
	for _, tt := range []struct {
		name  string
		data  string
		whole bool
	}{
		{"whole", opening + "SELECT 1;\n\n" + closing, true},
		{"nothing but the frame", opening + closing, true},
		{"CR LF", strings.ReplaceAll(opening+"SELECT 1;\n\n"+closing, "\n", "\r\n"), true},
		{"restricted before the opening line", "\\restrict abc\n\n" + opening + "SELECT 1;\n" + closing + "\\unrestrict abc\n\n", true},
		{"restricted behind it", opening + "\\restrict abc\n" + closing + "\\unrestrict abc\n", true},
		{"blank lines first", "\n\r\n" + opening + closing, true},
		{"large", opening + table + filler + "\\.\n\n\n" + closing, true},
		{"cluster", clusterOpening + opening + closing + clusterClosing, true},
		{"two dumps in a row", opening + closing + opening + closing, true},
		{"a function that names COPY", opening + "AS $$\nCOPY t FROM stdin;\n$$;\n\n" + closing, true},
		{"the closing line in the data, and at the end", opening + "\n" + table + closing + "\\.\n\n" + closing, true},

		{"a NUL byte in a row", opening + table + "a\x00b\n\\.\n\n\n" + closing, false},
		{"a hole in a file", opening + table + filler + strings.Repeat("\x00", 4096) + filler + "\\.\n\n\n" + closing, false},
		{"zeros behind the end", opening + closing + "\x00\x00", false},
		{"cluster cut behind an inner dump", clusterOpening + opening + closing, false},
		{"dump that ends as a cluster", opening + clusterClosing, false},
		{"second of two dumps cut in its head", opening + closing + opening, false},
		{"statement behind the closing line", opening + closing + "SELECT 1;\n", false},
		{"half a statement behind it", opening + closing + "SEL", false},
		{"closing line not at the start of its line", opening + "x-- PostgreSQL database dump complete\n--\n\n", false},
		{"closing line with more in it", opening + "--\n-- PostgreSQL database dump completely\n", false},
		{"closing line as a row", opening + table + "row\n-- PostgreSQL database dump complete\n", false},
		{"closing line as a row behind a row of dashes", opening + "\n" + table + "row\n\n--\n-- PostgreSQL database dump complete\n", false},
		{"cut in a long line", opening + strings.Repeat("x", 40000), false},
		{"closing line as a row of a large table", opening + "\n" + table + filler + "\n--\n-- PostgreSQL database dump complete\n", false},

		{"COPY in a comment", opening + "COMMENT ON TABLE t IS E'Load:\n\nCOPY t FROM stdin;\n1\n';\n\n" + closing, true},
		{"COPY in a body", opening + "CREATE FUNCTION f() AS $_$\n\nCOPY t FROM stdin;\n1\n$_$;\n\n" + closing, true},
		{"COPY in a block comment", opening + "/* a /* b */\nCOPY t FROM stdin;\n*/\n\n" + closing, true},
		{"COPY in a quoted name", opening + "CREATE TABLE \"x\n\nCOPY t FROM stdin;\n\" ();\n\n" + closing, true},
		{"an escaped quote", opening + "SELECT E'it\\'s; --';\nSELECT 'a\\';\n" + closing, true},
		{"escapes where they are none", opening + "SELECT 'C:\\';\n" + closing, true},
		{"escapes by the setting", opening + "SET standard_conforming_strings = off;\nSELECT 'it\\'s';\n" + closing, true},
		{"a doubled quote behind an escape", opening + "SELECT E'a''\\';b';\n" + closing, true},
		{"dollars in names and numbers", opening + "SELECT a$b$, $1 FROM t$x$;\n" + closing, true},
		{"a tag within another", opening + "AS $a$ $b$ x $a;$ $a$;\n" + closing, true},
		{"a rule of several commands", opening + "CREATE RULE r AS ON INSERT TO t DO INSTEAD (SELECT 1; SELECT 2);\n" + closing, true},
		{"a parameter named begin", opening + "CREATE FUNCTION public.f(begin date, \"end\" date) RETURNS int\n    LANGUAGE sql\n    AS $$select 1$$;\n" + closing, true},
		{"a column named begin", opening + "CREATE OR REPLACE FUNCTION f(OUT begin int) RETURNS TABLE(begin int, \"case\" int)\n BEGIN ATOMIC\n SELECT (CASE WHEN true THEN 1 END), 2;\nEND;\n" + closing, true},
		{"a body that does not end", opening + "CREATE FUNCTION f(begin int) RETURNS int BEGIN ATOMIC\n SELECT 1;\n" + closing, false},
		{"a body of SQL", opening + "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\n SELECT 1;\nEND;\n" + closing, true},
		{"COPY with options", opening + "COPY \"a b\".t (\"c;d\") FROM stdin WITH (FORMAT text);\n;\n'\n$$\n\\.\n" + closing, true},
		{"COPY of CR LF rows", opening + "COPY t FROM stdin;\r\na\r\n\\.\r\n" + closing, true},
		{"another database", opening + "\\connect x\n" + closing, true},

		{"closing line in a comment of an object", opening + "COMMENT ON TABLE t IS 'x\n\n" + closing, false},
		{"closing line in a body", opening + "CREATE FUNCTION f() AS $$\n\n" + closing, false},
		{"closing line in a block comment", opening + "/*\n" + closing, false},
		{"closing line in a quoted name", opening + "CREATE TABLE \"x\n" + closing, false},
		{"closing line behind half a statement", opening + "CREATE TABLE t (\n" + closing, false},
		{"cut behind COPY", opening + "COPY t FROM stdin;", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := verdict([]byte(tt.data)); (err == nil) != tt.whole {
				t.Errorf("got %v", err)
			}
		})
	}
}
