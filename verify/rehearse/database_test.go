package rehearse

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/keystore"
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

// rehearse backs a database up, and rehearses that.
func (th theatre) rehearse(t *testing.T, db string, mode backup.ManifestMode) (*Outcome, error) {
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
		made, err := job.Run(ctx, backup.Observer{})
		if err == nil && job.Kind == backup.KindDatabase {
			path = made.Path
		}
		return made, err
	}
	job := backup.Job{Created: time.Now(), Recipients: to, Store: th.o.Place, To: backup.Dest{Root: t.TempDir()}}
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
