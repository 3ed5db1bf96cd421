package rotation

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	pgtest "github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// database is a cluster that asks roles for their passwords, with two that alternate.
func database(t *testing.T) *bench {
	t.Helper()
	c := pgtest.Start(t)
	c.CreateDB(t, "takumi")
	c.Psql(t, "takumi", `CREATE ROLE app; CREATE TABLE things (n int); GRANT ALL ON things TO app;
		CREATE ROLE app_a LOGIN IN ROLE app PASSWORD 'first-password-of-all'; CREATE ROLE app_b NOLOGIN IN ROLE app;`)
	hba := strings.TrimSpace(c.Psql(t, "takumi", "SHOW hba_file"))
	rules, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hba, append([]byte("local all app_a,app_b scram-sha-256\n"), rules...), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Psql(t, "takumi", "SELECT pg_reload_conf()")
	for _, pair := range c.Env() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	t.Setenv("PGDATABASE", "takumi")
	backend, err := secrets.Open("dotenv:"+filepath.Join(t.TempDir(), ".env"), secrets.Options{Environment: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, backend: backend.(secrets.Store), dir: t.TempDir(), now: time.Now(), rolled: make(map[string]int)}
	b.set = &Set{Kind: Postgres, Postgres: &PostgresConfig{Roles: []string{"app_a", "app_b"}}}
	if err := b.set.Complete("database"); err != nil {
		t.Fatal(err)
	}
	b.roll = func(context.Context, string) error { return nil }
	d := b.document()
	d.Fields["DB_USER"], d.Fields["DB_PASSWORD"] = "app_a", "first-password-of-all"
	if err := b.backend.Write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return b
}

// login logs in and asks something, as a component with these secrets would.
func (b *bench) login(ctx context.Context, user, password string) error {
	settings, err := postgres.FromEnv()
	if err != nil {
		return err
	}
	conn, err := settings.As(user, password).Connect(ctx)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "INSERT INTO things VALUES (1)")
	return errors.Join(err, conn.Close(ctx))
}

// TestNobodyIsLockedOutOfTheDatabase rotates the password again and again while clients
// log in all the time with what the backend said up to a moment ago, and others keep
// their sessions.
func TestNobodyIsLockedOutOfTheDatabase(t *testing.T) {
	b := database(t)
	rotations := 4
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		rotations = 20
	}
	var current atomic.Pointer[[2]string] // of components that were restarted last
	read := func() {
		d := b.document()
		current.Store(&[2]string{d.Fields["DB_USER"], d.Fields["DB_PASSWORD"]})
	}
	read()
	b.roll = func(context.Context, string) error { read(); return nil }
	ctx, stop := context.WithCancel(t.Context())
	var logins, failed atomic.Int64
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				c := current.Load()
				logins.Add(1)
				if err := b.login(context.WithoutCancel(ctx), c[0], c[1]); err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
			}
		})
	}
	for range rotations {
		before := logins.Load()
		b.must(b.rotator().Rotate(t.Context(), Options{Force: true}))
		for logins.Load() < before+10 && failed.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		b.now = b.now.Add(49 * time.Hour)
		b.must(b.rotator().Finish(t.Context(), Options{}))
	}
	stop()
	clients.Wait()
	t.Logf("%d rotations, %d logins, %d failed", rotations, logins.Load(), failed.Load())
	if err := b.login(t.Context(), "app_a", "first-password-of-all"); err == nil {
		t.Error("the first password is still accepted")
	}
}

// TestDatabaseKilledAtEveryStep: whatever is killed, who has the current password logs
// in, and the same command ends it.
func TestDatabaseKilledAtEveryStep(t *testing.T) {
	b := database(t)
	for n := 1; ; n++ {
		before := b.document().Fields
		killed := b.killedAt(n, func(r *Rotator) (*Result, error) { return r.Rotate(t.Context(), Options{Force: true}) })
		if err := b.login(t.Context(), before["DB_USER"], before["DB_PASSWORD"]); err != nil {
			t.Fatalf("killed at point %d, what was current is refused: %v", n, err)
		}
		if killed {
			b.must(b.rotator().Rotate(t.Context(), Options{}))
		}
		now := b.document().Fields
		if now["DB_USER"] == before["DB_USER"] || now["DB_PASSWORD_PREVIOUS"] != before["DB_PASSWORD"] {
			t.Fatalf("killed at point %d: not rotated once", n)
		}
		if err := b.login(t.Context(), now["DB_USER"], now["DB_PASSWORD"]); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(49 * time.Hour)
		b.must(b.rotator().Finish(t.Context(), Options{}))
		if !killed {
			break
		}
	}
	// Stolen: the former role is out at once, with its sessions.
	before := b.document().Fields
	settings, err := postgres.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	thief, err := settings.As(before["DB_USER"], before["DB_PASSWORD"]).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close(context.Background())
	b.must(b.rotator().Rotate(t.Context(), Options{Compromised: true}))
	if _, err := thief.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("the thief's session goes on")
	}
	if err := b.login(t.Context(), before["DB_USER"], before["DB_PASSWORD"]); err == nil {
		t.Error("the stolen password is accepted")
	}
}

// In production no password goes to a server whose certificate nobody verifies: neither a
// rotation nor its end changes anything, and no connection is opened.
func TestProductionsDatabaseIsVerified(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var asked atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	}()
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	for name, value := range map[string]string{"DB_HOST": host, "DB_PORT": port, "DB_NAME": "takumi", "DB_USER": "admin", "DB_PASSWORD": "of the admin", "DB_SSL": "", "PGSSLMODE": ""} {
		t.Setenv(name, value)
	}
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	b.set = &Set{Kind: Postgres, Names: []string{"USER", "PASSWORD"}, Postgres: &PostgresConfig{Roles: []string{"app_a", "app_b"}}}
	if err := b.set.Complete("database"); err != nil {
		t.Fatal(err)
	}
	d := b.document()
	d.Fields = map[string]string{"USER": "app_a", "PASSWORD": "current", "USER_PREVIOUS": "app_b", "PASSWORD_PREVIOUS": "former"}
	if err := b.backend.Write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	before := b.document()
	production := func() *Rotator {
		r, err := New(b.set, b.backend, "production", b.dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	refused := func(err error) {
		t.Helper()
		if class, _ := fail.Of(err); err == nil || class != fail.Usage || !strings.Contains(err.Error(), "TLS with verification") {
			t.Errorf("got %v", err)
		}
	}
	_, err = production().Rotate(t.Context(), Options{Force: true, EvenInGrace: true, NoProof: true})
	refused(err)
	_, err = production().Finish(t.Context(), Options{EvenInGrace: true})
	refused(err)
	refused(production().Prover.Prove(t.Context(), []map[string]string{{"USER": "app_a", "PASSWORD": "current"}}, nil))
	if now := b.document(); !maps.Equal(now.Fields, before.Fields) || now.State != before.State || asked.Load() > 0 {
		t.Errorf("something was changed, or %d connections were opened", asked.Load())
	}
}

// That nothing listens does not prove that a password is refused.
func TestUnreachableDatabaseProvesNothing(t *testing.T) {
	t.Setenv("DB_HOST", t.TempDir())
	t.Setenv("DB_NAME", "takumi")
	m := &alternating{user: "USER", password: "PASSWORD"}
	err := m.Prove(t.Context(), nil, []map[string]string{{"USER": "app_a", "PASSWORD": "stolen"}})
	if err == nil || !strings.Contains(err.Error(), "trying the former password of app_a: connecting") {
		t.Errorf("got %v", err)
	}
}

func TestAlternatingRolesMustBeAlike(t *testing.T) {
	b := database(t)
	b.set.Postgres.Roles[1] = "app_c"
	if _, err := b.rotator().Rotate(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "only 1 is there") {
		t.Errorf("a role that is missing: %v", err)
	}
	b.set.Postgres.Roles = []string{"app_b", "app"}
	if _, err := b.rotator().Rotate(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "different roles") {
		t.Errorf("roles that differ: %v", err)
	}
}
