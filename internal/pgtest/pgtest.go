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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	// Switch is the environment variable that turns integration tests on.
	Switch = "TAKUMI_TEST_INTEGRATION"

	// User is the superuser of every cluster.
	User = "takumi"

	port = "5432"

	// serverUser runs the server when the tests run as root, which initdb
	// refuses. Debian's package makes it.
	serverUser = "postgres"

	// maxSocket is the shortest limit on a unix socket's path among systems.
	maxSocket = 100
)

// Require skips the test unless integration tests are switched on, and fails
// it when they are but PostgreSQL is not installed.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(Switch) != "1" {
		t.Skipf("needs PostgreSQL; set %s=1 to run it", Switch)
	}
	if _, err := binDir(); err != nil {
		t.Fatalf("%v; run `apt-get install postgresql` or scripts/test", err)
	}
}

// Cluster is a running PostgreSQL server with its own data.
type Cluster struct {
	bin  string
	dir  string // holds data, log and socket
	cred *syscall.Credential
}

// Start starts a cluster, and stops and removes it when the test ends. It
// calls Require.
func Start(t testing.TB) *Cluster {
	t.Helper()
	Require(t)
	c, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
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
		if err := shared.cluster.stop(); err != nil {
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
		"PGHOST="+c.dir,
		"PGPORT="+port,
		"PGUSER="+User,
		"PATH="+c.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Command returns one of PostgreSQL's programs, ready to run as the caller
// against the cluster.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
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

func start() (c *Cluster, err error) {
	c = &Cluster{}
	if c.bin, err = binDir(); err != nil {
		return nil, err
	}
	// Not a test's own temporary folder: that stands in one which the server's
	// user may not enter, and its path can be too long for a socket.
	if c.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(c.dir)
		}
	}()
	if socket := filepath.Join(c.dir, ".s.PGSQL."+port); len(socket) >= maxSocket {
		return nil, fmt.Errorf("the socket path %s is too long; set TMPDIR to a shorter folder", socket)
	}
	if os.Geteuid() == 0 {
		if c.cred, err = credential(serverUser); err != nil {
			return nil, err
		}
		if err = os.Chown(c.dir, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return nil, err
		}
	}

	data := filepath.Join(c.dir, "data")
	if err = c.server("initdb", "-D", data, "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories='%s' -c port=%s -c fsync=off", c.dir, port)
	log := filepath.Join(c.dir, "log")
	if err = c.server("pg_ctl", "-D", data, "-l", log, "-w", "-s", "-o", options, "start"); err != nil {
		text, _ := os.ReadFile(log)
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return c, nil
}

func (c *Cluster) stop() error {
	// Immediate: the data is thrown away, nothing need be written.
	err := c.server("pg_ctl", "-D", filepath.Join(c.dir, "data"), "-w", "-s", "-m", "immediate", "stop")
	return errors.Join(err, os.RemoveAll(c.dir))
}

// server runs a program that must run as the server's user.
func (c *Cluster) server(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Env = c.Env()
	cmd.Dir = c.dir
	if c.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	}
	// A file, not a pipe: the server that pg_ctl starts inherits it, and a
	// pipe would have no end while the server lives.
	out, err := os.Create(filepath.Join(c.dir, "out"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("running %s: %w\n%s", name, err, text)
	}
	return nil
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("tests run as root need a user to run PostgreSQL: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// binDir finds the folder of PostgreSQL's programs: the one in PATH if it has
// the server's, else Debian's of the highest version.
func binDir() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		// PATH may hold links to some of the programs only.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	const pattern = "/usr/lib/postgresql/*/bin/initdb"
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	best, bestVersion := "", -1
	for _, path := range found {
		dir := filepath.Dir(path)
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && version > bestVersion {
			best, bestVersion = dir, version
		}
	}
	if best == "" {
		return "", fmt.Errorf("no PostgreSQL server: initdb is neither in PATH nor at %s", pattern)
	}
	return best, nil
}
