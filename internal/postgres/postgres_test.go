package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// clean takes away what leads to a database.
func clean(t *testing.T, env map[string]string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "DB_") {
			t.Setenv(name, value) // brings it back afterwards
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir()) // no password file
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func TestSettings(t *testing.T) {
	passfile := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(passfile, []byte("db.example:*:takumi:t:from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		env    map[string]string
		uri    string
		server string
		db     string
		user   string
		child  []string
	}{
		"Takumi's": {
			env:    map[string]string{"DB_HOST": "db.example", "DB_PORT": "5433", "DB_NAME": "takumi", "DB_USER": "t", "DB_PASSWORD": "p w'"},
			server: "db.example:5433", db: "takumi", user: "t",
			child: []string{"PGHOST=db.example", "PGPASSWORD=p w'", "PGPORT=5433", "PGUSER=t"},
		},
		"Takumi's win": {
			env:    map[string]string{"DB_HOST": "/run/x", "PGHOST": "elsewhere", "PGDATABASE": "takumi", "PGUSER": "t", "PGPORT": "5433"},
			server: "/run/x", db: "takumi", user: "t", child: []string{"PGHOST=/run/x"},
		},
		"empty is unset": {
			env:    map[string]string{"DB_HOST": "", "PGHOST": "h", "DB_NAME": "", "PGUSER": "t"},
			server: "h:5432", db: "t", user: "t",
		},
		"password file": {
			env:    map[string]string{"DB_HOST": "db.example", "DB_NAME": "takumi", "DB_USER": "t", "PGPASSFILE": passfile},
			server: "db.example:5432", db: "takumi", user: "t",
			child: []string{"PGHOST=db.example", "PGPASSWORD=from-file", "PGUSER=t"},
		},
		"URI": {
			env:    map[string]string{"DB_HOST": "ignored", "DB_PASSWORD": "ignored", "PGUSER": "t"},
			uri:    "postgresql://u%40x:p%2F%3A@h:6000/my%20db?connect_timeout=7&application_name=a%26b",
			server: "h:6000", db: "my db", user: "u@x",
			child: []string{"PGAPPNAME=a&b", "PGCONNECT_TIMEOUT=7", "PGHOST=h", "PGPASSWORD=p/:", "PGPORT=6000", "PGUSER=u@x"},
		},
		"URI of a socket":     {uri: "postgres://t@%2Frun%2Fx/db", server: "/run/x", db: "db", user: "t", child: []string{"PGHOST=/run/x", "PGUSER=t"}},
		"URI with parameters": {uri: "postgresql:///?host=/run/x&dbname=db&user=t", server: "/run/x", db: "db", user: "t", child: []string{"PGHOST=/run/x", "PGUSER=t"}},
		"URI of an IPv6 host": {uri: "postgresql://t@[::1]:6000/db", server: "::1:6000", db: "db", user: "t", child: []string{"PGHOST=::1", "PGPORT=6000", "PGUSER=t"}},
		"URI of two hosts":    {uri: "postgresql://t@a:1,b/db?sslmode=disable", server: "a:1", db: "db", user: "t", child: []string{"PGHOST=a,b", "PGPORT=1,", "PGSSLMODE=disable", "PGUSER=t"}},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t, tc.env)
			s, err := FromEnv()
			if tc.uri != "" {
				s, err = FromURI(tc.uri)
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Server() != tc.server || s.Database() != tc.db || s.User() != tc.user || !slices.Equal(s.Environ(), tc.child) {
				t.Errorf("got %s, %s, %s, %q", s.Server(), s.Database(), s.User(), s.Environ())
			}
			other := s.On(`a'b\c=d`)
			if other.Target() != `--dbname=dbname='a\'b\\c=d'` || s.Database() != tc.db || !slices.Equal(other.Environ(), tc.child) {
				t.Errorf("on another database: %s, %q; then %s", other.Target(), other.Environ(), s.Database())
			}
		})
	}
}

func TestSettingsRefused(t *testing.T) {
	const secret = "hunter2"
	for _, tc := range []struct {
		env  map[string]string
		uri  string
		says string
	}{
		{env: map[string]string{"DB_PORT": "x"}, says: "DB_PORT"},
		{env: map[string]string{"DB_PORT": "65536"}, says: "DB_PORT"},
		{env: map[string]string{"PGHOSTADDR": "127.0.0.1"}, says: "PGHOSTADDR"},
		{env: map[string]string{"PGSERVICE": "s", "DB_NAME": "x"}, says: "PGSERVICE"},
		{env: map[string]string{"PGCONNECT_TIMEOUT": "soon", "DB_PASSWORD": secret, "DB_NAME": "x"}, says: "connect_timeout"},
		{uri: "mysql://" + secret, says: "postgresql://"},
		{uri: "postgresql://u:" + secret + "%zz@h/d", says: "password"},
		{uri: "postgresql://u:x@" + secret + ":y@h:" + secret, says: "port"},
		{uri: "postgresql://u:" + secret + "#@h/d", says: "%23"},
		{uri: "postgresql://u:1/" + secret + "@h/d", says: "%40"},
		{uri: "postgresql://u:1?" + secret + "@h/d", says: "%3F"},
		{uri: "postgresql://u:1?" + secret + "&x@h/d", says: "%2F"},
		{uri: "postgresql://h/d?pass=" + secret, says: `"pass"`},
	} {
		t.Run(tc.says, func(t *testing.T) {
			clean(t, tc.env)
			_, err := FromEnv()
			if tc.uri != "" {
				_, err = FromURI(tc.uri)
			}
			if !errors.Is(err, ErrSettings) || !strings.Contains(fmt.Sprint(err), tc.says) || strings.Contains(fmt.Sprint(err), secret) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHasPassword(t *testing.T) {
	for uri, want := range map[string]bool{
		"postgresql://u:p@h/d": true, "postgresql://h/d?x=1&password=p": true,
		"postgresql://u@h:1/d": false, "postgresql:///d?passfile=/x": false, "postgresql://h/a:b@c": false,
	} {
		if HasPassword(uri) != want {
			t.Errorf("%s: %v", uri, !want)
		}
	}
}

// program writes a program that says it has a version.
func program(t *testing.T, dir, version string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pg_dump")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho 'pg_dump (PostgreSQL) "+version+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgram(t *testing.T) {
	root := t.TempDir()
	defer func(old string) { debianPrograms = old }(debianPrograms)
	debianPrograms = filepath.Join(root, "*", "bin")
	inPath := program(t, filepath.Join(root, "path"), "16.4 (Debian 16.4-1)")
	t.Setenv("PATH", filepath.Dir(inPath)+":"+os.Getenv("PATH"))
	v14, v15, v18 := program(t, filepath.Join(root, "14", "bin"), "14.9"), program(t, filepath.Join(root, "15", "bin"), "15beta1"), program(t, filepath.Join(root, "18", "bin"), "18.0")
	for server, want := range map[int]string{14: v14, 15: v15, 16: inPath, 17: v18, 13: v18, 18: v18} {
		if got, err := Program(t.Context(), "pg_dump", server); err != nil || got != want {
			t.Errorf("for %d: %s, %v, want %s", server, got, err, want)
		}
	}
	_, err := Program(t.Context(), "pg_dump", 19)
	if e := (*ProgramError)(nil); !errors.As(err, &e) || len(e.Found) != 4 || !strings.Contains(err.Error(), "the server is PostgreSQL 19") {
		t.Errorf("for 19: %v", err)
	}
	if _, err = Program(t.Context(), "no_such_program", 15); !strings.Contains(fmt.Sprint(err), "install") {
		t.Errorf("without one: %v", err)
	}
}

// TestRowSum: pieces and order of the rows do not matter, the rows do.
func TestRowSum(t *testing.T) {
	sum := func(pieces ...string) Sum {
		var s rowSum
		for _, p := range pieces {
			fmt.Fprint(&s, p)
		}
		return s.sum()
	}
	want := sum("a\nbc\n\n")
	for _, same := range [][]string{{"a\n", "bc\n", "\n"}, {"a\nb", "c\n\n"}, {"\nbc\na\n"}} {
		if got := sum(same...); got != want {
			t.Errorf("%q: %+v, want %+v", same, got, want)
		}
	}
	for _, other := range []string{"a\nbc\n", "ab\nc\n\n", "a\nbc\n\n\n", "a\na\nbc\n", ""} {
		if sum(other) == want {
			t.Errorf("%q has the same sum", other)
		}
	}
	if err := quick.Check(func(a, b, c uint32) bool {
		return sum(fmt.Sprintf("%d\n%d\n%d\n", a, b, c)) == sum(fmt.Sprintf("%d\n%d\n%d\n", c, a, b))
	}, nil); err != nil {
		t.Error(err)
	}
}

func TestSurvey(t *testing.T) {
	c := pgtest.Shared(t)
	clean(t, nil)
	for _, kv := range c.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	t.Setenv("DB_NAME", "survey")
	c.CreateDB(t, "survey")
	c.Psql(t, "survey", `CREATE TABLE t (a int, b text, c int GENERATED ALWAYS AS (a + 1) STORED); INSERT INTO t VALUES (1, E'x\ny'), (2, NULL);
		CREATE TABLE u (f float8); INSERT INTO u VALUES (0.1); CREATE TABLE child () INHERITS (u); INSERT INTO child VALUES (2);
		SELECT lo_from_bytea(5000, 'large');`)
	s, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("locks", func(t *testing.T) {
		c.Psql(t, "survey", `CREATE SCHEMA "o""dd"; DO $$ BEGIN FOR i IN 1..`+fmt.Sprint(2*lockBatch)+` LOOP EXECUTE format('CREATE TABLE "o""dd"."a,b %s" ()', i); END LOOP; END $$`)
		defer c.Psql(t, "survey", `DROP SCHEMA "o""dd" CASCADE`) // waits for the snapshot
		conn, err := s.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, _, err = Snapshot(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{"TRUNCATE t", "DROP TABLE child", `ALTER TABLE "o""dd"."a,b 200" ADD COLUMN x int`} {
			if out, err := c.Command("psql", "-X", "-d", "survey", "-c", "SET lock_timeout = 100", "-c", sql).CombinedOutput(); !strings.Contains(string(out), "lock timeout") {
				t.Errorf("%s: %v, %s", sql, err, out)
			}
		}
		c.Psql(t, "survey", "INSERT INTO t VALUES (3); DELETE FROM t WHERE a = 3")
	})
	survey := func() Contents {
		t.Helper()
		conn, err := s.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		tx, _, err := Snapshot(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := Survey(t.Context(), tx, ManifestVersion)
		if err != nil {
			t.Fatal(err)
		}
		return contents
	}
	first := survey()
	if len(first.Tables) != 3 || first.Tables[1].Name != "t" || first.Tables[1].Rows != 2 || first.Tables[2].Rows != 1 || first.LargeObjects.Rows != 1 {
		t.Fatalf("got %+v", first)
	}
	// Nor is the order of columns, which a dump of a table that inherits some does not keep.
	c.Psql(t, "survey", "CREATE TABLE anew (b text, c int GENERATED ALWAYS AS (a + 1) STORED, a int); INSERT INTO anew (b, a) SELECT b, a FROM t; DROP TABLE t; ALTER TABLE anew RENAME TO t")
	// Settings of the database, and the place of a row, are not content.
	c.Psql(t, "survey", "ALTER DATABASE survey SET extra_float_digits = -10; ALTER DATABASE survey SET client_encoding = LATIN1; UPDATE t SET a = 1 WHERE a = 1")
	if lines := first.Differences(survey(), 10); lines != nil {
		t.Errorf("nothing has changed, and there is %q", lines)
	}
	for _, change := range []struct{ sql, says string }{
		{"UPDATE t SET b = '' WHERE a = 2", "table public.t: the content differs"},
		{"INSERT INTO u VALUES (0.1)", "table public.u: 2 rows, want 1"},
		{"SELECT lo_put(5000, 0, 'LARGE')", "large objects: the content differs"},
		{"CREATE TABLE v ()", "table public.v is there and should not be"},
		{"CREATE UNLOGGED TABLE w AS SELECT 1 AS a", "table public.w is there and should not be"},
		{"DROP TABLE child", "table public.child is missing"},
	} {
		c.Psql(t, "survey", change.sql)
		if lines := first.Differences(survey(), 10); !slices.Contains(lines, change.says) {
			t.Errorf("after %s: %q", change.sql, lines)
		}
	}
	if lines := first.Differences(Contents{}, 2); len(lines) != 2 {
		t.Errorf("at most 2 of %q", lines)
	}
}
