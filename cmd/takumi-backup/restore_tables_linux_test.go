package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// served is a folder behind a server that speaks as much S3 as reading needs, and
// counts what it hands out.
type served struct {
	dir             string
	bytes, requests atomic.Int64
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	f, err := os.Open(filepath.Join(s.dir, filepath.Base(r.URL.Path)))
	if err != nil || r.Method != http.MethodGet {
		s3test.Refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	defer f.Close()
	w.Header().Set("ETag", `"fixed"`)
	http.ServeContent(counted{w, &s.bytes}, r, "", time.Unix(1e9, 0), f)
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// noiseRows are rows that pack to three quarters, no fewer than size bytes of them.
func noiseRows(size int) []byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; b.Len() < size; i++ {
		line := make([]byte, 200)
		for j := range line {
			line[j] = digits[r.IntN(64)]
		}
		fmt.Fprintf(&b, "%d\t%s\n", i, line)
	}
	return b.Bytes()
}

// TestOneTableFromS3: of a backup that is much larger, restoring one table reads little
// more than the table has. The backup has 1 GiB in a long run, 10 with TAKUMI_TEST_LONG=full.
func TestOneTableFromS3(t *testing.T) {
	c := pgtest.Shared(t)
	c.CreateDB(t, "onefroms3")
	large, wanted, most := 40<<20, 2<<20, int64(6<<20)
	if long := os.Getenv("TAKUMI_TEST_LONG"); long != "" {
		large, wanted, most = 1<<30, 10<<20, 16<<20
		if long == "full" {
			large = 10 << 30
		}
	}
	b := withDatabase(t, c, "onefroms3")
	b.patience = time.Hour
	chunk, table := noiseRows(1<<20+1000), noiseRows(wanted)
	rows := bytes.Count(table, []byte("\n"))
	parts := []io.Reader{strings.NewReader("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\nCREATE TABLE public.large (id integer, t text);\n" +
		"CREATE TABLE public.wanted (id integer, t text);\n\nCOPY public.large (id, t) FROM stdin;\n")}
	for n := 0; n < large/2; n += len(chunk) {
		parts = append(parts, bytes.NewReader(chunk))
	}
	parts = append(parts, strings.NewReader("\\.\n\n\nCOPY public.wanted (id, t) FROM stdin;\n"), bytes.NewReader(table), strings.NewReader("\\.\n\n\nCOPY public.larger (id, t) FROM stdin;\n"))
	for n := 0; n < large/2; n += len(chunk) {
		parts = append(parts, bytes.NewReader(chunk))
	}
	parts = append(parts, strings.NewReader("\\.\n\n\nCREATE INDEX wanted_id ON public.wanted (id);\n--\n-- PostgreSQL database dump complete\n--\n\n"))
	folder := &served{dir: t.TempDir()}
	file := filepath.Join(folder.dir, "large.enc")
	b.run(exitOK, io.MultiReader(parts...), "seal", "-o", file)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(folder)
	defer server.Close()
	b.env = append(b.env, "AWS_ENDPOINT_URL="+server.URL, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
	read := func(what string, most int64, args ...string) string {
		folder.bytes.Store(0)
		folder.requests.Store(0)
		began := time.Now()
		run := b.run(exitOK, nil, args...)
		t.Logf("%s of %d MB: %d bytes in %d requests, %.1f s", what, info.Size()/1e6, folder.bytes.Load(), folder.requests.Load(), time.Since(began).Seconds())
		if got := folder.bytes.Load(); got > most {
			t.Errorf("%s reads %d bytes, want at most %d", what, got, most)
		}
		return run.stdout.String()
	}
	if got := read("ls", 1<<20, "ls", "s3://bucket/large.enc", "wanted"); !strings.Contains(got, fmt.Sprintf("%d rows", rows)) {
		t.Errorf("ls prints %q", got)
	}
	if got := read("open", most, "open", "s3://bucket/large.enc", "--member", "public.wanted"); got != string(table) {
		t.Errorf("open writes %d bytes, want %d", len(got), len(table))
	}
	if got := read("restore", most, "restore", "database", "s3://bucket/large.enc", "--table", "public.wanted", "--yes"); got != "public.wanted\n" {
		t.Errorf("restore prints %q", got)
	}
	if got := c.Psql(t, "onefroms3", "COPY (TABLE public.wanted) TO STDOUT; SELECT count(*) FROM pg_indexes WHERE tablename = 'wanted'"); got != string(table)+"1\n" {
		t.Errorf("%d bytes of rows, want %d", len(got), len(table))
	}
	b.run(exitFailed, nil, "restore", "database", file, "--table", "public.wanted", "--yes").says("the table exists already")
	b.run(exitOK, nil, "restore", "database", file, "--table", "wanted", "--to-schema", "rescued", "--into", "onefroms3", "--yes")
	plan := b.run(exitOK, nil, "restore", "database", file, "--table", "wanted", "--into", "onefroms3_new", "--dry-run").stdout.String()
	for _, line := range []string{"make      database onefroms3_new", "make      table public.wanted in onefroms3_new", fmt.Sprintf("copy      %d rows", rows)} {
		if !strings.Contains(plan, line) {
			t.Errorf("the plan lacks %q:\n%s", line, plan)
		}
	}
	b.run(exitUsage, nil, "restore", "database", "-", "--table", "wanted", "--yes").says("--table needs a backup")
	b.run(exitUsage, nil, "restore", "database", file, "--to-schema", "x", "--yes").says("--to-schema names the schema")
	b.run(exitFailed, nil, "restore", "database", file, "--table", "missing", "--yes").says("the dump makes no table missing")
}
