// Package s3test starts real S3 servers for tests, and proxies that break the
// way to them. Only tests import it.
//
// Tests that need a server call [Require] first, by way of [Start] or [Shared]:
// they run when TAKUMI_TEST_INTEGRATION=1 is set and are skipped otherwise.
//
// The server is versitygw, which checks signatures, checksums, conditions and
// object lock. It listens on loopback, keeps everything in a temporary folder,
// and does not survive the test. scripts/versitygw-dev builds it.
package s3test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/port"
)

const (
	// Switch is the environment variable that turns integration tests on.
	Switch = "TAKUMI_TEST_INTEGRATION"

	// AccessKey and Secret are the credentials of every server's owner.
	AccessKey = "takumi"
	Secret    = "takumi-secret"

	// Region is the one that every server is in.
	Region = "us-east-1"

	// As scripts/versitygw-dev builds them.
	gateway = "versitygw-1.8.0"
	minio   = "minio-0.0.0-20260212201848-7aac2a2c5b7c"
)

// Require skips the test unless integration tests are switched on, and fails
// it when they are but the server was not built.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(Switch) != "1" {
		t.Skipf("needs an S3 server; set %s=1 to run it", Switch)
	}
	if _, err := find("versitygw", gateway); err != nil {
		t.Fatalf("%v; run `scripts/versitygw-dev build`", err)
	}
}

// find looks for a server in PATH and among those that were built here.
func find(name, built string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%s is not in PATH, and there is no cache folder: %w", name, err)
	}
	path := filepath.Join(cache, "takumi-backup", built)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is neither in PATH nor at %s", name, path)
	}
	return path, nil
}

// Server is a running S3 server with its own data. Its methods are not safe for
// concurrent use, but for Endpoint and Client.
type Server struct {
	bin  string
	args func(addr, dir string) []string
	addr string // host:port, kept across restarts
	dir  string
	cmd  *exec.Cmd
	// gone is closed when the process has ended.
	gone chan struct{}
}

// Start starts a versitygw, and stops and removes it when the test ends. It
// calls Require. Flags go before those of its posix backend.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	Require(t)
	s, err := start(flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// StartMinIO starts the other server, which has its own idea of what the
// protocol leaves open, for long tests: it takes some 100 MB of memory, and
// ends with the test. User does not work on it.
func StartMinIO(t testing.TB) *Server {
	t.Helper()
	bin, err := find("minio", minio)
	if err != nil {
		t.Fatalf("%v; run `scripts/versitygw-dev build minio`", err)
	}
	s, err := launch(bin, func(addr, dir string) []string {
		return []string{"server", "--quiet", "--address", addr, filepath.Join(dir, "data")}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns one server for all tests of a package, started by the first
// that asks. Tests keep apart by buckets of their own. The package's TestMain
// must call [Main]. It calls Require.
func Shared(t testing.TB) *Server {
	t.Helper()
	Require(t)
	shared.once.Do(func() { shared.server, shared.err = start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Main runs the tests and then stops the shared server, if there is one. Its
// result is for os.Exit.
func Main(m *testing.M) int {
	defer Stop()
	return m.Run()
}

// Stop stops the shared server, if there is one, for packages whose tests share
// more than that.
func Stop() {
	if shared.server != nil {
		shared.server.close()
	}
}

func start(flags ...string) (*Server, error) {
	bin, err := find("versitygw", gateway)
	if err != nil {
		return nil, err
	}
	return launch(bin, func(addr, dir string) []string {
		// Each connection is kept, as AWS does it; versitygw has that off.
		args := append([]string{"--port", addr, "--quiet", "--keep-alive", "--iam-dir", filepath.Join(dir, "iam")}, flags...)
		return append(args, "posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))
	})
}

// launch starts a server on a port that is free.
func launch(bin string, args func(addr, dir string) []string) (*Server, error) {
	s := &Server{bin: bin, args: args}
	var err error
	if s.dir, err = os.MkdirTemp("", "s3test"); err != nil {
		return nil, err
	}
	for _, name := range []string{"data", "versions", "iam"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	for range 5 { // another server may have chosen the same port
		number, chooseErr := port.Choose()
		if chooseErr != nil {
			err = chooseErr
			break
		}
		s.addr = fmt.Sprintf("127.0.0.1:%d", number)
		if err = s.run(); err == nil {
			return s, nil
		}
	}
	os.RemoveAll(s.dir)
	return nil, err
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	var out bytes.Buffer
	cmd := exec.Command(s.bin, s.args(s.addr, s.dir)...)
	cmd.Env = []string{
		"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.dir,
		"ROOT_ACCESS_KEY=" + AccessKey, "ROOT_SECRET_KEY=" + Secret, "MINIO_ROOT_USER=" + AccessKey, "MINIO_ROOT_PASSWORD=" + Secret,
	}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	var waited error
	go func() { waited = cmd.Wait(); close(gone) }()
	for range 2400 { // two minutes
		select {
		case <-gone:
			return fmt.Errorf("%s ended at once: %v\n%s", filepath.Base(s.bin), waited, out.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			s.cmd, s.gone = cmd, gone
			return nil
		}
	}
	_ = cmd.Process.Kill()
	<-gone
	return fmt.Errorf("%s does not answer at %s\n%s", filepath.Base(s.bin), s.addr, out.Bytes())
}

// Endpoint is what AWS_ENDPOINT_URL has to be.
func (s *Server) Endpoint() string { return "http://" + s.addr }

// Env returns the caller's environment with the variables that lead AWS's
// tools, and the program, to the server as its owner.
func (s *Server) Env() []string {
	return append(os.Environ(),
		"AWS_ENDPOINT_URL="+s.Endpoint(), "AWS_REGION="+Region, "AWS_ACCESS_KEY_ID="+AccessKey, "AWS_SECRET_ACCESS_KEY="+Secret,
		"AWS_EC2_METADATA_DISABLED=true")
}

// Kill ends the server as a power cut does, but for what the kernel keeps.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.gone
}

// Restart starts the server again, at the same address, after Kill.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) close() {
	s.Kill()
	os.RemoveAll(s.dir)
}
