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

		{"cluster cut behind an inner dump", clusterOpening + opening + closing, false},
		{"dump that ends as a cluster", opening + clusterClosing, false},
		{"second of two dumps cut in its head", opening + closing + opening, false},
		{"statement behind the closing line", opening + closing + "SELECT 1;\n", false},
		{"half a statement behind it", opening + closing + "SEL", false},
		{"closing line not at the start of its line", opening + "x-- PostgreSQL database dump complete\n--\n\n", false},
		{"closing line with more in it", opening + "--\n-- PostgreSQL database dump completely\n", false},
		{"closing line as a row", opening + table + "row\n-- PostgreSQL database dump complete\n", false},
		{"closing line as a row behind a row of dashes", opening + "\n" + table + "row\n\n--\n-- PostgreSQL database dump complete\n", false},
		{"comments without end", opening + closing + strings.Repeat("-- and so on\n", 2000), false},
		{"cut in a long line", opening + strings.Repeat("x", 40000), false},

		// What cannot be told: the table is larger than the remembered tail.
		{"closing line as a row of a large table", opening + "\n" + table + filler + "\n--\n-- PostgreSQL database dump complete\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := verdict([]byte(tt.data)); (err == nil) != tt.whole {
				t.Errorf("got %v", err)
			}
		})
	}
}
