package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start runs a shell script as the command and makes sure that nothing of it is
// left when the test ends.
func start(t *testing.T, ctx context.Context, script string) *Cmd {
	t.Helper()
	c, err := Command(ctx, []string{"sh", "-c", script}, nil, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		wantNoChild(t)
	})
	return c
}

func wantNoChild(t *testing.T) {
	t.Helper()
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: pid %d, error %v", pid, err)
	}
}

func TestCommand(t *testing.T) {
	const size = 64 << 20
	c := start(t, t.Context(), fmt.Sprintf("yes 0123456789abcde | head -c %d", size))
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Repeat([]byte("0123456789abcde\n"), size/16); !bytes.Equal(got, want) {
		t.Errorf("read %d bytes that differ from the %d written", len(got), len(want))
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read after the end: %d, %v", n, err)
	}
}

func TestCommandStderr(t *testing.T) {
	r, w := newPipe(t)
	c, err := Command(t.Context(), []string{"sh", "-c", "echo words >&2"}, nil, w)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	w.Close()
	if got, _ := io.ReadAll(r); string(got) != "words\n" {
		t.Errorf("standard error %q", got)
	}
}

func TestFailingCommand(t *testing.T) {
	for _, tc := range []struct{ name, script, data, want string }{
		{"at once", "exit 3", "", "sh exited with status 3"},
		{"at the end", "echo data; exec 1>&-; sleep 0.1; exit 1", "data\n", "sh exited with status 1"},
		{"killed", "echo data; sleep 0.1; kill -9 $$", "data\n", "sh was killed by signal 9 (killed)"},
		{"terminated", "kill -TERM $$", "", "sh was killed by signal 15 (terminated)"},
		{"status that looks like a signal", "exit 137", "", "sh exited with status 137"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := start(t, t.Context(), tc.script)
			got, err := io.ReadAll(c)
			exit, ok := errors.AsType[*ExitError](err)
			if !ok || exit.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if string(got) != tc.data {
				t.Errorf("read %q, want %q", got, tc.data)
			}
			if n, again := c.Read(make([]byte, 1)); n != 0 || again != err {
				t.Errorf("the next Read returned %d, %v; want the same error", n, again)
			}
		})
	}
}

func TestStartError(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		is   error
	}{
		{"no-such-program-here", exec.ErrNotFound},
		{"/no/such/program", fs.ErrNotExist},
		{plain, fs.ErrPermission},
	} {
		_, err := Command(t.Context(), []string{tc.name, "--password=hunter2"}, nil, os.Stderr)
		start, ok := errors.AsType[*StartError](err)
		if !ok || start.Name != tc.name || !errors.Is(err, tc.is) {
			t.Errorf("%s: error %v, want a *StartError with %v", tc.name, err, tc.is)
		}
		if text := fmt.Sprint(err); strings.Contains(text, "hunter2") || strings.Count(text, tc.name) != 1 {
			t.Errorf("%s: error %q", tc.name, text)
		}
	}
	wantNoChild(t)
}

func TestCommandCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopped)
	if _, err := Command(ctx, []string{"sleep", "100"}, nil, os.Stderr); err != errStopped {
		t.Errorf("error %v, want the cause", err)
	}
}

func TestSilentCommand(t *testing.T) {
	for name, script := range map[string]string{
		"waiting for data":    "exec sleep 100",
		"waiting for the end": "exec 1>&-; exec sleep 100",
		// The output is held by what the child left behind.
		"waiting for others": "sleep 60 & exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			c := start(t, ctx, script)
			wantCause(t, cancel, c.Read)
			wantQuickClose(t, c)
		})
	}
}

func wantQuickClose(t *testing.T, c *Cmd) {
	t.Helper()
	defer func(was time.Duration) { stopGrace = was }(stopGrace)
	stopGrace = time.Minute
	begin := time.Now()
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if d := time.Since(begin); d >= stopGrace { // the child was asked, and did not have to be killed
		t.Errorf("Close took %v", d)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("Read after Close gave data")
	}
}

// A signal to the whole terminal kills the child too; its death is not news then.
func TestCauseBeforeExit(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := start(t, ctx, "exit 1")
	<-c.exited
	defer func(was time.Duration) { causeGrace = was }(causeGrace)
	causeGrace = 5 * time.Minute
	time.AfterFunc(10*time.Millisecond, func() { cancel(errStopped) })
	if _, err := c.Read(make([]byte, 1)); err != errStopped {
		t.Errorf("Read returned %v, want the cause", err)
	}
}

func TestFailureDoesNotWaitForOthers(t *testing.T) {
	begin := time.Now()
	c := start(t, t.Context(), "sleep 600 & exit 7")
	_, err := io.ReadAll(c)
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Status != 7 {
		t.Errorf("error %v, want exit status 7", err)
	}
	wantQuickClose(t, c)
	if d := time.Since(begin); d > 5*time.Minute {
		t.Errorf("it took %v", d)
	}
}

func TestSuccessWaitsForOthers(t *testing.T) {
	c := start(t, t.Context(), "(sleep 0.2; echo late) & echo early")
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "early\nlate\n" {
		t.Errorf("read %q, %v", got, err)
	}
}

// What a good command leaves running without holding its output was meant to
// run on.
func TestCloseSparesDaemons(t *testing.T) {
	c := start(t, t.Context(), "sleep 100 >/dev/null 2>&1 & echo $!")
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(got)))
	if err != nil {
		t.Fatal(err)
	}
	wantQuickClose(t, c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

func TestCloseStopsAWriter(t *testing.T) {
	c := start(t, t.Context(), "exec yes")
	if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	wantQuickClose(t, c)
}

func TestCloseBesideRead(t *testing.T) {
	c := start(t, t.Context(), "exec sleep 100")
	done := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	c.Close()
	if err := <-done; err != os.ErrClosed {
		t.Errorf("Read returned %v, want os.ErrClosed", err)
	}
}

func TestStubbornCommand(t *testing.T) {
	old := stopGrace
	defer func() { stopGrace = old }()
	stopGrace = 200 * time.Millisecond
	c := start(t, t.Context(), "trap '' TERM PIPE; echo ready; while :; do sleep 0.05; done")
	if _, err := io.ReadFull(c, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c.Close()
	if d := time.Since(begin); d < stopGrace {
		t.Errorf("Close took %v, want at least %v", d, stopGrace)
	}
	if exit, ok := errors.AsType[*ExitError](c.failure); !ok || exit.Signal != syscall.SIGKILL {
		t.Errorf("the child's end: %v, want SIGKILL", c.failure)
	}
}

// A pipeline goes down as a whole, also the part that ignores the signal while
// its shell does not.
func TestStopGroup(t *testing.T) {
	if hasTerminal() { // then the child would stay in this process group: once more, in a session without one
		again := exec.Command("/proc/self/exe", "-test.run=^TestStopGroup$")
		again.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("without a terminal: %v\n%s", err, out)
		}
		return
	}
	old := stopGrace
	defer func() { stopGrace = old }()
	stopGrace = 200 * time.Millisecond
	c := start(t, t.Context(), `sh -c 'trap "" TERM; echo $$; exec sleep 100' & wait`)
	line := make([]byte, 32)
	n, err := c.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// Whoever inherits the orphan may take a moment to reap it.
	for range 6000 {
		if err := syscall.Kill(pid, 0); err == syscall.ESRCH || isZombie(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d of the group is still there", pid)
	syscall.Kill(pid, syscall.SIGKILL)
}

func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

func TestReadDoesNotAllocate(t *testing.T) {
	c := start(t, t.Context(), "exec yes")
	p := make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() { c.Read(p) }); n > 0 {
		t.Errorf("%v allocations per Read of a command", n)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	in := newInput(t, t.Context(), zero)
	if n := testing.AllocsPerRun(100, func() { in.Read(p) }); n > 0 {
		t.Errorf("%v allocations per Read of standard input", n)
	}
}
