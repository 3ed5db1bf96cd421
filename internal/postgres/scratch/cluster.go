// Package scratch starts private PostgreSQL servers that leave nothing behind, for
// rehearsals and tests.
//
// A caller makes a cluster with [Start] and ends it with [Cluster.Stop]. It lives in a
// folder that only its user may enter, listens only on a unix socket there, trusts whoever
// can reach that, and does not sync. Started by root it runs as the user postgres, because
// initdb refuses root.
//
// When the program is killed, the kernel stops the server, on Linux, and the next
// [NewFolder] or Start in the same parent removes the folder.
package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const (
	// User is the superuser of every cluster.
	User = "takumi"
	// Port is the one in the name of the socket.
	Port = "5432"

	// serverUser runs the server for root. Debian's package makes it.
	serverUser = "postgres"

	// maxSocket is the shortest limit on a unix socket's path among systems.
	maxSocket = 100

	startTime = time.Minute
	goodbye   = 10 * time.Second
)

// ErrNoServer is wrapped when PostgreSQL's server is not installed.
var ErrNoServer = fail.New(fail.Failed, "install PostgreSQL's server, or set one aside and give --database-url", "there is no PostgreSQL server")

// ErrPath is wrapped when a socket cannot be in the folder.
var ErrPath = fail.New(fail.Usage, "name a shorter folder with --scratch-dir", "the scratch folder cannot hold the socket of a server")

// settings of the server: what is thrown away need not be safe, and its memory
// is bounded whatever the machine has.
var settings = []string{
	"listen_addresses=", "unix_socket_permissions=0700", "port=" + Port,
	"fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=1GB",
	"shared_buffers=128MB", "maintenance_work_mem=128MB", "max_connections=100", "dynamic_shared_memory_type=mmap",
	"autovacuum=off", "lc_messages=C", "logging_collector=off", "log_destination=stderr",
}

// Cluster is a running PostgreSQL server with its own data.
type Cluster struct {
	bin      string
	settings []string
	folder   *Folder
	cred     *syscall.Credential

	server *exec.Cmd
	gone   chan struct{} // closed when the server has ended
	ended  error         // how; after gone
}

// Start starts a cluster in a new folder below parent, with further settings, as
// NAME=VALUE. A missing server is ErrNoServer, a parent with too long a path ErrPath.
// The caller calls Stop.
func Start(ctx context.Context, parent string, further ...string) (_ *Cluster, err error) {
	c := &Cluster{settings: slices.Concat(settings, further)}
	if c.bin, err = BinDir(); err != nil {
		return nil, err
	}
	if c.cred, err = credential(); err != nil {
		return nil, err
	}
	if err := checkPath(parent); err != nil {
		return nil, err
	}
	if c.folder, err = NewFolder(ctx, parent); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = errors.Join(err, c.Stop())
	}()
	if c.cred != nil {
		if err = os.Chown(c.folder.path, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return nil, err
		}
	}
	if err = c.initialise(ctx); err == nil {
		err = c.serve(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// checkPath refuses what a socket's path, or a list of such, cannot hold.
func checkPath(parent string) error {
	path, err := filepath.Abs(parent)
	if err != nil {
		return err
	}
	if strings.ContainsAny(path, `,"'\@`) {
		return fmt.Errorf("%w: %q has a comma, a quote, a backslash or an @ in it", ErrPath, path)
	}
	// MkdirTemp appends up to ten digits.
	if socket := socketIn(filepath.Join(path, prefix+"0123456789")); len(socket) >= maxSocket {
		return fmt.Errorf("%w: %s is too long by %d characters", ErrPath, path, len(socket)-maxSocket+1)
	}
	return nil
}

func socketIn(folder string) string { return filepath.Join(folder, ".s.PGSQL."+Port) }

// Dir returns the folder of the cluster's socket, which stands for its host.
func (c *Cluster) Dir() string { return c.folder.path }

// Bin returns the folder of PostgreSQL's programs of the cluster's version.
func (c *Cluster) Bin() string { return c.bin }

// Stop stops the server, waits for it, and removes everything.
func (c *Cluster) Stop() error {
	if c.server != nil {
		// Quit: the data is thrown away, nothing need be written.
		_ = c.server.Process.Signal(syscall.SIGQUIT)
		select {
		case <-c.gone:
		case <-time.After(goodbye):
			_ = c.server.Process.Kill() // its children notice, and go
			<-c.gone
		}
	}
	return c.folder.Remove()
}

// command runs a program as the server's user, without this process's environment, and no
// longer than this process.
func (c *Cluster) command(ctx context.Context, whenWeDie syscall.Signal, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Env = []string{"PATH=" + c.bin + string(os.PathListSeparator) + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Dir = c.folder.path
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Setpgid: true}
	setDeathSignal(cmd.SysProcAttr, whenWeDie)
	cmd.WaitDelay = goodbye
	return cmd
}

func (c *Cluster) initialise(ctx context.Context) error {
	runtime.LockOSThread() // it is the thread whose end the kernel watches
	defer runtime.UnlockOSThread()
	out, err := c.command(ctx, syscall.SIGKILL, "initdb", "-D", c.data(), "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput()
	if err == nil {
		return nil
	}
	text := fmt.Sprintf("running initdb in %s", c.folder.path)
	if c.cred != nil {
		text += fmt.Sprintf(" as %s, who must be able to reach that folder", serverUser)
	}
	return fmt.Errorf("%s: %w\n%s", text, err, out)
}

func (c *Cluster) data() string { return filepath.Join(c.folder.path, "data") }

// serve starts the server and waits until it is ready.
func (c *Cluster) serve(ctx context.Context) error {
	log, err := os.Create(filepath.Join(c.folder.path, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", c.data(), "-c", "unix_socket_directories=" + c.folder.path}
	for _, s := range c.settings {
		args = append(args, "-c", s)
	}
	// It outlives the context: Stop ends it.
	server := c.command(context.WithoutCancel(ctx), syscall.SIGQUIT, "postgres", args...)
	server.Stdout, server.Stderr = log, log
	started := make(chan error)
	c.gone = make(chan struct{})
	go func() {
		// The thread must live as long as the server; it ends with this goroutine.
		runtime.LockOSThread()
		err := server.Start()
		started <- err
		if err == nil {
			c.ended = server.Wait()
		}
		close(c.gone)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting a scratch server: %w", err)
	}
	c.server = server
	if err := c.ready(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("starting a scratch server: %w\n%s", err, text)
	}
	return nil
}

// ready waits for the server to say that it takes connections, in the last line
// of its file.
func (c *Cluster) ready(ctx context.Context) error {
	deadline := time.After(startTime)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, _ := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		if lines := strings.Split(string(text), "\n"); len(lines) >= 8 && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.gone:
			return fmt.Errorf("it ended: %v", c.ended)
		case <-deadline:
			return fmt.Errorf("it is not ready after %v", startTime)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// credential is whom the server runs as: nil for whoever runs this program.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(serverUser)
	if err != nil {
		return nil, fmt.Errorf("%w that root can start: %w", ErrNoServer, err)
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

// BinDir finds the folder of PostgreSQL's programs: the one in PATH if it has
// the server's, else Debian's of the highest version. There may be none:
// ErrNoServer.
func BinDir() (string, error) {
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
		return "", fmt.Errorf("%w: initdb is neither in PATH nor at %s; install PostgreSQL's server, or name one with --database-url", ErrNoServer, pattern)
	}
	return best, nil
}
