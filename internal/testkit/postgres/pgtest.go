// Package pgtest starts private PostgreSQL clusters for tests. Only tests
// import it.
//
// Tests that need one call [Require] first, by way of [Start] or [Shared]:
// they run when TAKUMI_TEST_INTEGRATION=1 is set and are skipped otherwise.
//
// A cluster listens on a unix socket in a temporary folder and nowhere else,
// trusts whoever can reach that socket, and does not survive the test.
package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
)

const (
	// Switch is the environment variable that turns integration tests on.
	Switch = "TAKUMI_TEST_INTEGRATION"

	// User is the superuser of every cluster.
	User = scratch.User
)

// Require skips the test unless integration tests are switched on, and fails
// it when they are but PostgreSQL is not installed.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(Switch) != "1" {
		t.Skipf("needs PostgreSQL; set %s=1 to run it", Switch)
	}
	if _, err := scratch.BinDir(); err != nil {
		t.Fatalf("%v; run `apt-get install postgresql` or scripts/test", err)
	}
}

// Cluster is a running PostgreSQL server with its own data.
type Cluster struct{ cluster *scratch.Cluster }

// Start starts a cluster with further settings, as NAME=VALUE, and stops and removes
// it when the test ends. It calls Require.
func Start(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	Require(t)
	c, err := start(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var shared struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Shared returns one cluster for all tests of a package, started by the first
// that asks. Tests keep apart by databases of their own. The package's
// TestMain must call [Main]. It calls Require.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	Require(t)
	shared.once.Do(func() { shared.cluster, shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

// Main runs the tests and then stops the shared cluster, if there is one. Its
// result is for os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Env returns the caller's environment with the variables that lead
// PostgreSQL's programs to the cluster, and its programs first in PATH.
func (c *Cluster) Env() []string {
	var env []string
	for _, kv := range os.Environ() {
		// A PGSERVICE or PGPASSFILE of the caller would lead elsewhere.
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "PATH=") {
			env = append(env, kv)
		}
	}
	return append(env,
		"PGHOST="+c.cluster.Dir(),
		"PGPORT="+scratch.Port,
		"PGUSER="+User,
		"PATH="+c.cluster.Bin()+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Command returns one of PostgreSQL's programs, ready to run as the caller
// against the cluster.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.cluster.Bin(), name), args...)
	cmd.Env = c.Env()
	return cmd
}

// CreateDB makes an empty database.
func (c *Cluster) CreateDB(t testing.TB, name string) {
	t.Helper()
	if out, err := c.Command("createdb", "--template=template0", name).CombinedOutput(); err != nil {
		t.Fatalf("creating database %q: %v\n%s", name, err, out)
	}
}

// Psql runs SQL in a database, ends the test at the first error, and returns
// the rows: unaligned, without headers, columns apart by "|".
func (c *Cluster) Psql(t testing.TB, db, sql string) string {
	t.Helper()
	cmd := c.Command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", db)
	cmd.Stdin = strings.NewReader(sql)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("psql in database %q: %v\n%s", db, err, stderr.Bytes())
	}
	return string(out)
}

func start(settings ...string) (*Cluster, error) {
	// Not a test's own temporary folder: that is in one which the server's
	// user may not enter, and its path can be too long for a socket.
	c, err := scratch.Start(context.Background(), os.TempDir(), settings...)
	if err != nil {
		return nil, err
	}
	return &Cluster{c}, nil
}

// BecomeStandby restarts a cluster with wal_level=replica as a standby of nobody, for the
// rest of the test.
func (c *Cluster) BecomeStandby(t testing.TB) {
	t.Helper()
	data := filepath.Join(c.cluster.Dir(), "data")
	if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	control := func(args ...string) {
		args = append([]string{filepath.Join(c.cluster.Bin(), "pg_ctl"), "-D", data, "-w", "-s"}, args...)
		if os.Geteuid() == 0 {
			args = append([]string{"runuser", "-u", "postgres", "--"}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = data
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
	control("-l", filepath.Join(data, "log"), "-m", "fast", "restart")
	t.Cleanup(func() { control("-m", "immediate", "stop") })
}
