package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fetched returns a folder that scripts/postgres-dev has made, and skips the test unless
// the long ones run.
func fetched(t testing.TB, name, what string) string {
	t.Helper()
	Require(t)
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run this test, as scripts/test --long does")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "takumi-backup", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; run scripts/postgres-dev %s", err, what)
	}
	return path
}

// Use has the servers and programs of a later version, 17 or 18, take the place of the
// installed ones in this test: they come first in PATH. It skips the test unless long ones run.
func Use(t testing.TB, version string) {
	t.Helper()
	cache := fetched(t, "postgres-"+version, version)
	// The server's user may not enter the cache.
	dir := shared755(t)
	if out, err := exec.Command("cp", "-a", cache, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root := filepath.Join(dir, "postgres-"+version, "root")
	bin := filepath.Join(root, "usr/lib/postgresql", version, "bin")
	programs, err := os.ReadDir(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if path := filepath.Join(bin, p.Name()); p.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, []byte(strings.ReplaceAll(string(text), filepath.Join(cache, "root"), root)), 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.(interface{ Setenv(k, v string) }).Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// shared755 is a folder that every user may enter.
func shared755(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtest")
	if err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Regression makes PostgreSQL's own regression database in a cluster that has none: what
// its tests leave, one after the other, whatever they say. Statements that fail are part
// of the tests. It skips the test unless long ones run.
func (c *Cluster) Regression(t testing.TB) {
	t.Helper()
	major, _, _ := strings.Cut(c.Psql(t, "postgres", "SHOW server_version"), ".")
	from := fetched(t, "postgres-regress-"+major, "regress")
	dir := shared755(t)
	if out, err := exec.Command("cp", "-r", "--no-preserve=mode,ownership", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.Psql(t, "postgres", "CREATE DATABASE regression TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
	for _, set := range []string{"lc_messages = 'C'", "lc_monetary = 'C'", "lc_numeric = 'C'", "lc_time = 'C'", "bytea_output = 'hex'", "timezone_abbreviations = 'Default'"} {
		c.Psql(t, "postgres", "ALTER DATABASE regression SET "+set)
	}
	schedule, err := os.ReadFile(filepath.Join(dir, "parallel_schedule"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o777); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(schedule)) {
		names, is := strings.CutPrefix(line, "test:")
		if !is {
			continue
		}
		for _, name := range strings.Fields(names) {
			cmd := c.Command("timeout", fmt.Sprint(int((5 * time.Minute).Seconds())), "psql", "-X", "-q", "-d", "regression", "-f", "sql/"+name+".sql")
			cmd.Path, cmd.Err = "/usr/bin/timeout", nil
			cmd.Dir = dir
			cmd.Env = append(cmd.Env, "PG_ABS_SRCDIR="+dir, "PG_ABS_BUILDDIR="+dir, "PG_LIBDIR="+dir, "PG_DLSUFFIX=.so", "PGTZ=PST8PDT", "PGDATESTYLE=Postgres, MDY")
			if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 3 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
