package database

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// shell is a feeding that runs a script.
func shell(t *testing.T, script string) feeding {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return feeding{name: "taker", argv: []string{"sh", "-c", script}, env: os.Environ(), stderr: null}
}

var errDamaged = errors.New("damaged")

// TestFeedKillsFirst: who takes a dump never sees its end when it has none.
func TestFeedKillsFirst(t *testing.T) {
	seen := t.TempDir() + "/end"
	f := shell(t, "cat; echo the input has ended >"+seen)
	src := io.MultiReader(strings.NewReader(strings.Repeat("SELECT 1;\n", 100_000)), iotest.ErrReader(errDamaged))
	if _, _, err := f.feed(t.Context(), src); err != errDamaged {
		t.Errorf("got %v", err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := os.Stat(seen); err == nil {
		t.Error("the end of the input was seen")
	}
}

func TestFeed(t *testing.T) {
	content := strings.Repeat("x", 1<<20)
	for name, tc := range map[string]struct {
		script string
		src    io.Reader
		want   func(error) bool
	}{
		"good":         {"wc -c | grep -q 1048576", strings.NewReader(content), func(err error) bool { return err == nil }},
		"fails":        {"cat; echo 'psql: ERROR:  syntax error' >&2; exit 3", strings.NewReader(content), said("syntax error")},
		"fails early":  {"echo 'ERROR: first' >&2; exit 1", strings.NewReader(content), said("ERROR: first")},
		"lacks a role": {`echo 'ERROR:  role "a b" does not exist' >&2; exit 1`, strings.NewReader(content), said(`role "a b", which this server lacks`)},
		"killed":       {"kill -9 $$", strings.NewReader(content), said("killed")},
		// pg_restore needs no end of its input.
		"done early":                {"head -c 1000 >/dev/null", strings.NewReader(content), func(err error) bool { return err == nil }},
		"done early, later damaged": {"head -c 1000 >/dev/null", io.MultiReader(strings.NewReader(content), iotest.ErrReader(errDamaged)), func(err error) bool { return err == errDamaged }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := shell(t, tc.script).feed(t.Context(), tc.src); !tc.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, _, err := (feeding{name: "taker", argv: []string{"/no/such/program"}}).feed(t.Context(), strings.NewReader("")); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func said(words string) func(error) bool {
	return func(err error) bool {
		var e *FeedError
		return errors.As(err, &e) && strings.Contains(e.Error(), words)
	}
}

// TestFeedCommits: psql itself, fed a transaction that loses its end, keeps
// nothing of it.
func TestFeedCommits(t *testing.T) {
	c := pgtest.Shared(t)
	c.CreateDB(t, "feed")
	psql := c.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-d", "feed", "-f", "-")
	f := shell(t, "")
	f.argv, f.env = psql.Args, psql.Env
	sql := "CREATE TABLE t (id int);\nINSERT INTO t SELECT generate_series(1, 1000);\nSELECT pg_sleep(0.1);\n"
	if _, _, err := f.feed(t.Context(), io.MultiReader(strings.NewReader(sql), iotest.ErrReader(errDamaged))); err != errDamaged {
		t.Errorf("got %v", err)
	}
	time.Sleep(300 * time.Millisecond)
	if got := c.Psql(t, "feed", "SELECT to_regclass('t')"); got != "\n" {
		t.Error("a transaction without its end was committed")
	}
	if _, _, err := f.feed(t.Context(), strings.NewReader(sql)); err != nil {
		t.Error(err)
	}
	if got := c.Psql(t, "feed", "SELECT count(*) FROM t"); got != "1000\n" {
		t.Errorf("fed %q rows", got)
	}
}

func TestMarks(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	long := strings.Repeat("é", 31) + "x"
	for _, target := range []string{"takumi", "a_restore_20260101_000000", long} {
		name := derived(target, "restore", at)
		if len(name) > maxName || !strings.HasSuffix(name, "_restore_20261123_020000") {
			t.Errorf("%s becomes %s", target, name)
		}
		for want, is := range map[bool]bool{
			true:  unfinished(name, "", postgres.OwnLimit, target) && unfinished(name, halfMade(target), -1, target) && unfinished("renamed", halfMade(target), postgres.OwnLimit, target),
			false: unfinished(name, "", -1, target) || unfinished(name, "mine", postgres.OwnLimit, target) || unfinished(name, former(target), -1, target) || unfinished(name+"x", "", postgres.OwnLimit, target) || unfinished(name, halfMade("another"), postgres.OwnLimit, target) || unfinished(name, "", postgres.OwnLimit, "another"),
		} {
			if is != want {
				t.Errorf("%s: the mark is not told from others", name)
			}
		}
	}
}
