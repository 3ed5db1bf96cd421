package guard_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

func TestScript(t *testing.T) {
	const kept = "SET client_encoding = 'UTF8';\nDROP SCHEMA IF EXISTS public;\nCREATE SCHEMA public;\n" +
		"CREATE TABLE t (a text DEFAULT 'DROP DATABASE x; \\connect x');\nDROP TABLE other;\n" +
		"CREATE FUNCTION f() AS $$\nDROP DATABASE x;\n\\! rm\n$$;\n\nCOPY t FROM stdin;\nDROP DATABASE x;\n\\connect x\n\\\\.\n\\.\n" +
		"COMMENT ON TABLE t IS 'a database';\nGRANT ALL ON TABLE database TO x;\n"
	dump := "\\restrict abc\n" + opening + "DROP DATABASE x;\nCREATE DATABASE x WITH TEMPLATE = template0;\nALTER DATABASE x OWNER TO y;\n" +
		"\\connect -reuse-previous=on \"dbname='x'\"\nALTER DATABASE x SET work_mem TO '1MB';\nALTER ROLE y IN DATABASE x SET a TO 'b;';\n" +
		"COMMENT ON DATABASE x IS 'y;';\nREVOKE CONNECT ON DATABASE x FROM PUBLIC;\n" +
		"UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = 'x';\n" +
		"SET later_setting = 0;\nDROP INDEX IF EXISTS public.i;\nALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT c;\n" + kept + closing + "\\unrestrict abc\n"
	dropped := strings.NewReplacer("SET client_encoding", "\nSET client_encoding").Replace(kept)
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for name, src := range map[string]io.Reader{
		"at once":  strings.NewReader(dump),
		"in bytes": iotest.OneByteReader(strings.NewReader(dump)),
	} {
		script := guard.NewScript(src)
		script.Without = func(setting string) bool { return setting == "later_setting" }
		got, err := io.ReadAll(script)
		if err != nil {
			t.Fatal(err)
		}
		want := opening + dropped + closing
		if squeeze(string(got)) != squeeze(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	for _, bad := range []string{"\\! rm -r x\n", "\\i x\n", "SELECT 1 \\gexec\n", "SELECT 1\n\\o |sh\n;", "\\copy t from program 'x'\n"} {
		if _, err := io.ReadAll(guard.NewScript(strings.NewReader(opening + bad + closing))); !errors.Is(err, guard.ErrUnsafe) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	plain := sample(t, "dump.sql")
	got, err := io.ReadAll(guard.NewScript(bytes.NewReader(plain)))
	if err != nil || !bytes.HasPrefix(plain, got[:len(got)-1]) && len(got) < len(plain)/2 {
		t.Errorf("a dump became %d of %d bytes, %v", len(got), len(plain), err)
	}
}
