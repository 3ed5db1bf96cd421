package guard_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// judged reads all of data and returns the guard's reader.
func judged(t *testing.T, data []byte) *guard.Reader {
	t.Helper()
	r := guard.NewReader(bytes.NewReader(data), guard.Options{})
	t.Cleanup(func() { r.Close() })
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContentsOfAScript(t *testing.T) {
	script := opening + `-- Dumped from database version 15.8 (Debian 15.8-0)
SET client_encoding = 'UTF8';
CREATE DATABASE "my db" WITH TEMPLATE = template0 ENCODING = 'UTF8';
ALTER DATABASE "my db" OWNER TO boss;
\connect "my db"
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE FUNCTION public.f("to" text) RETURNS int LANGUAGE sql AS 'ALTER TABLE x OWNER TO nobody;';
ALTER FUNCTION public.f("to" text) OWNER TO "Big Boss";
CREATE SCHEMA s AUTHORIZATION keeper;
SET default_tablespace = fast;
CREATE TABLE public.t (a int);
ALTER TABLE public.t OWNER TO CURRENT_USER;
SET default_tablespace = '';
CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION public.f();
GRANT SELECT ON TABLE public.t TO reader WITH GRANT OPTION GRANTED BY boss;
REVOKE ALL ON TABLE public.t FROM PUBLIC;
CREATE POLICY p ON public.t FOR SELECT TO one, "Two" USING (true);
ALTER DEFAULT PRIVILEGES FOR ROLE giver IN SCHEMA s GRANT SELECT ON TABLES TO taker;

COPY public.t (a) FROM stdin;
1
\N
\\.
\.


COPY "S x"."T" (a) FROM stdin;
\.

COPY public.t (a) FROM stdin;
4
\.
` + closing
	for _, data := range []string{script, pack(t, gzipped, script)} {
		c := judged(t, []byte(data)).Contents()
		if c == nil {
			t.Fatal("there are none")
		}
		if c.Server != "15.8" || c.Major() != 15 || c.Database != "my db" || c.Encoding != "UTF8" || !c.Counted || !c.Rows || c.Cluster {
			t.Errorf("got %+v", c)
		}
		for what, pair := range map[string][2]any{
			"tables":      {c.Tables, []guard.Table{{Schema: "public", Name: "t", Rows: 4}, {Schema: "S x", Name: "T"}}},
			"roles":       {strings.Join(c.Roles, "|"), "Big Boss|Two|boss|giver|keeper|one|reader|taker"},
			"tablespaces": {c.Tablespaces, []string{"fast"}},
			"extensions":  {c.Extensions, []string{"pg_trgm"}},
			"superuser":   {c.Superuser, []string{"an event trigger"}},
			"properties":  {len(c.Properties), 2},
		} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
			}
		}
	}
}

func TestContentsOfAnArchive(t *testing.T) {
	c := judged(t, sample(t, "file.dump")).Contents() // not compressed
	if c == nil || c.Database == "" || c.Major() != 15 || !c.Counted || len(c.Tables) != 2 {
		t.Fatalf("got %+v", c)
	}
	plain := judged(t, sample(t, "dump.sql")).Contents()
	if !reflect.DeepEqual(c.Tables, plain.Tables) || !reflect.DeepEqual(c.Roles, plain.Roles) {
		t.Errorf("archive: %v %v\n script: %v %v", c.Tables, c.Roles, plain.Tables, plain.Roles)
	}
	if c := judged(t, sample(t, "pipe.dump")).Contents(); c.Counted || !c.Rows {
		t.Errorf("compressed rows were counted: %+v", c)
	}
	if c := judged(t, sample(t, "schema.dump")).Contents(); c.Rows {
		t.Error("a schema has rows")
	}
	if c := judged(t, []byte(opening+"INSERT INTO t VALUES (1);\n"+closing)).Contents(); c.Counted || !c.Rows {
		t.Errorf("rows of INSERT: %+v", c)
	}
}

// TestUnjudged: what passes without being judged says so.
func TestUnjudged(t *testing.T) {
	script := opening + "SELECT 1;\n" + closing
	for name, tt := range map[string]struct {
		data string
		word string // in the reason; "" for what is judged
	}{
		"text":             {"INSERT INTO t VALUES (1);\n", "not known"},
		"zeros":            {strings.Repeat("\x00", 4096), "not known"},
		"gzip of text":     {pack(t, gzipped, "anything"), "gzip stream is whole"},
		"gzip in gzip":     {pack(t, gzipped, pack(t, gzipped, script)), "more than once"},
		"xz":               {string(sample(t, "dump.sql.xz")), "xz stream is whole"},
		"lz4":              {string(sample(t, "dump.sql.lz4")), "lz4 stream is whole"},
		"a dump":           {script, ""},
		"gzip of a dump":   {pack(t, gzipped, script), ""},
		"bzip2 of a dump":  {string(sample(t, "dump.sql.bz2")), ""},
		"a dump of SQLite": {string(sample(t, "sqlite.sql")), ""},
		"a dump of Redis":  {string(sample(t, "redis.rdb")), ""},
		"a tar archive":    {string(sample(t, "pax.tar")), ""},
	} {
		why := judged(t, []byte(tt.data)).Unjudged()
		if (why == "") != (tt.word == "") || !strings.Contains(why, tt.word) {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestRedisChecksum(t *testing.T) {
	data := sample(t, "redis.rdb")
	for at := 9; at < 200; at += 10 {
		changed := bytes.Clone(data)
		changed[at] ^= 1
		if err := verdict(changed); err == nil {
			t.Errorf("a change at %d passes", at)
		}
	}
	end := bytes.LastIndexByte(data[:220], 0xff)
	without := append(bytes.Clone(data[:end+1]), make([]byte, 8)...)
	if err := verdict(without); err != nil {
		t.Errorf("without a checksum: %v", err)
	}
	if err := verdict(without[:len(without)-1]); err == nil {
		t.Error("half of a missing checksum passes")
	}
}

// bson writes a flat document of texts and booleans.
func bson(fields ...any) string {
	var body bytes.Buffer
	for i := 0; i < len(fields); i += 2 {
		switch v := fields[i+1].(type) {
		case string:
			body.WriteString("\x02" + fields[i].(string) + "\x00")
			body.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(v)+1)))
			body.WriteString(v + "\x00")
		case bool:
			body.WriteString("\x08" + fields[i].(string) + "\x00")
			body.WriteByte(map[bool]byte{true: 1}[v])
		}
	}
	return string(binary.LittleEndian.AppendUint32(nil, uint32(body.Len()+5))) + body.String() + "\x00"
}

// TestMongoArchive follows the format as mongo-tools' archive package writes it.
func TestMongoArchive(t *testing.T) {
	const end = "\xff\xff\xff\xff"
	head := func(collection string, eof bool) string { return bson("db", "d", "collection", collection, "EOF", eof) }
	archive := "\x6d\xe2\x99\x81" + bson("version", "0.1") + bson("db", "d", "collection", "a") + end +
		head("a", false) + bson("x", "1") + bson("x", strings.Repeat("y", 700)) + end +
		head("b", false) + bson("x", "1") + end +
		head("a", true) + end + head("b", true) + end
	if got := guard.Sniff([]byte(archive)); got != guard.MongoArchive {
		t.Fatalf("it begins as %v", got)
	}
	if err := verdict([]byte(archive)); err != nil {
		t.Error(err)
	}
	behindPrelude := strings.Index(archive, end) + len(end)
	for n := 5; n < len(archive); n++ {
		if err := verdict([]byte(archive[:n])); err == nil && n != behindPrelude {
			t.Errorf("cut at %d: accepted", n)
		}
	}
}
