package rehearse

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// theatre makes backups of a cluster's databases, and rehearses them.
type theatre struct {
	*Stage
	c *pgtest.Cluster
}

func newTheatre(t *testing.T, c *pgtest.Cluster) theatre {
	t.Helper()
	key, scratch := t.TempDir()+"/key", "/tmp/rehearse"+t.Name()
	err := errors.Join(keystore.WriteFile(key, kek.Generate()), os.Mkdir(scratch, 0o711))
	place, err2 := store.Open(t.TempDir(), store.S3Options{})
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	s := New(Options{Place: place, Keys: keystore.NewRing(keystore.File{Path: key}), ScratchDir: scratch})
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), os.Remove(scratch)); err != nil {
			t.Error(err)
		}
	})
	for _, kv := range c.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	return theatre{s, c}
}

// rehearse backs a database up, replaces texts in its manifest, and rehearses that.
func (th theatre) rehearse(t *testing.T, db string, mode backup.ManifestMode, replace ...string) (*Outcome, error) {
	t.Helper()
	settings, err := postgres.FromURI("postgresql:///" + db)
	if err != nil {
		t.Fatal(err)
	}
	to, err := th.o.Keys.Recipients(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := ""
	run := func(ctx context.Context, job backup.Job) (*backup.Made, error) {
		if job.Kind == backup.KindManifest {
			r, err := job.Source(ctx)
			if err != nil {
				return nil, err
			}
			text, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			job.Source = backup.From(strings.NewReader(strings.NewReplacer(replace...).Replace(string(text))))
		}
		made, err := job.Run(ctx, backup.Observer{})
		if err == nil && job.Kind == backup.KindDatabase {
			path = made.Path
		}
		return made, err
	}
	job := backup.Job{Created: time.Now(), Recipients: to, Store: th.o.Place, Pack: pack.Options{Codec: pack.Zstd}, To: backup.Dest{Root: t.TempDir()}}
	if err := backup.Database(t.Context(), job, run, backup.DatabaseOptions{Settings: settings, Manifest: mode, Warn: t.Logf}); err != nil {
		t.Fatal(err)
	}
	return th.Run(t.Context(), path, new(backup.Meter))
}

// TestNeedsWithoutManifest: a dump without a manifest gets the tablespaces and roles that it
// names, and one that needs a library that this host does not load is not accused.
func TestNeedsWithoutManifest(t *testing.T) {
	c := pgtest.Start(t, "shared_preload_libraries=pg_stat_statements")
	c.Psql(t, "postgres", "SET allow_in_place_tablespaces = on; CREATE TABLESPACE fast LOCATION ''")
	c.Psql(t, "postgres", "CREATE ROLE one; CREATE ROLE two; CREATE DATABASE spaced; CREATE DATABASE preloads")
	c.Psql(t, "spaced", "CREATE TABLE t (n int) TABLESPACE fast; INSERT INTO t VALUES (1); ALTER TABLE t OWNER TO one; GRANT SELECT ON t TO two")
	c.Psql(t, "preloads", "CREATE EXTENSION pg_stat_statements; CREATE MATERIALIZED VIEW m AS SELECT 1 FROM pg_stat_statements")
	th := newTheatre(t, c)
	if out, err := th.rehearse(t, "spaced", backup.ManifestOff); err != nil || out.Rows != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	for _, mode := range []backup.ManifestMode{backup.ManifestOff, backup.ManifestOn} {
		if _, err := th.rehearse(t, "preloads", mode); err == nil || errors.Is(err, ErrNotRestorable) || !strings.Contains(err.Error(), "not rehearsed") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// TestLocale: a database is rehearsed in its own locale. Where that is missing or not known,
// rows that break a rule do not speak against the backup; in its own they do.
func TestLocale(t *testing.T) {
	c := pgtest.Shared(t)
	c.Psql(t, "postgres", "CREATE DATABASE letters TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'")
	c.Psql(t, "postgres", "CREATE DATABASE sorted TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
	c.Psql(t, "postgres", "CREATE DATABASE broken TEMPLATE letters; CREATE DATABASE plain TEMPLATE letters")
	c.Psql(t, "letters", "CREATE TABLE t (name text CHECK (name ~ '^[[:alpha:] ]+$')); INSERT INTO t VALUES ('José')")
	c.Psql(t, "sorted", "CREATE TABLE t (name text) PARTITION BY RANGE (name); CREATE TABLE a PARTITION OF t FOR VALUES FROM ('a') TO ('n'); INSERT INTO t VALUES ('B')")
	c.Psql(t, "broken", `CREATE FUNCTION good(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE TABLE t (n int CHECK (public.good(n))); INSERT INTO t VALUES (1);
		CREATE OR REPLACE FUNCTION good(int) RETURNS bool LANGUAGE sql AS 'SELECT false'`)
	c.Psql(t, "plain", "CREATE TABLE t AS SELECT 'José' AS name")
	th := newTheatre(t, c)
	gone := []string{"C.UTF-8", "tlh_KL.UTF-8"}
	for _, tc := range []struct {
		db      string
		mode    backup.ManifestMode
		replace []string
		want    string // of the error, or ""
	}{
		{"letters", backup.ManifestOn, nil, ""},
		{"sorted", backup.ManifestOn, nil, ""},
		{"plain", backup.ManifestOn, gone, ""},
		{"broken", backup.ManifestOn, nil, ErrNotRestorable.Error()},
		{"letters", backup.ManifestOn, gone, "not rehearsed: locale tlh_KL.UTF-8 is missing here"},
		{"letters", backup.ManifestOff, nil, "not rehearsed: the locale is not known without a manifest"},
		{"sorted", backup.ManifestOff, nil, "not rehearsed: the locale is not known without a manifest"},
		{"sorted", backup.ManifestOn, []string{`"en-US"`, `"no such locale"`}, "not rehearsed: locale no such locale is missing here"},
	} {
		out, err := th.rehearse(t, tc.db, tc.mode, tc.replace...)
		if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrNotRestorable) != (tc.db == "broken")) {
			t.Errorf("%s, manifest %s, with %q: %v", tc.db, tc.mode, tc.replace, err)
		}
		if tc.db == "plain" && !slices.ContainsFunc(out.Notes, func(note string) bool { return strings.Contains(note, "tlh_KL") }) {
			t.Errorf("the notes are %q", out.Notes)
		}
	}
}
