package harden_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/harden"
)

// childEnv makes the test binary a child that waits to be killed: "hard"
// calls Process first, "soft" does not.
const childEnv = "TAKUMI_TEST_HARDEN"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "hard":
		if err := harden.Process(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "nice":
		err := harden.Nice(7, "idle")
		text, shown := exec.Command("sh", "-c", "nice; ionice").Output()
		fmt.Printf("%q %v %v\n", text, err, shown)
		os.Exit(0)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Println(dumpable, err)
	// A grandchild shows what a command started by this process is left with.
	limit, err := exec.Command("sh", "-c", "ulimit -c; ulimit -Hc").Output()
	fmt.Printf("%q %v\n", limit, err)
	bufio.NewReader(os.Stdin).ReadByte()
}

type child struct {
	*exec.Cmd
	out *bufio.Scanner
}

func start(t *testing.T, kind string) child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Dir = t.TempDir()
	// crash: otherwise Go answers SIGABRT itself and no core would ever be due.
	cmd.Env = append(os.Environ(), childEnv+"="+kind, "GOTRACEBACK=crash")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return child{cmd, bufio.NewScanner(out)}
}

func (c child) line(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the child said nothing: %v", c.out.Err())
	}
	return c.out.Text()
}

// abort kills the child as a crash would and reports whether a core was made.
func (c child) abort(t *testing.T) (dumped bool) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the child ended with %v, want death by signal", err)
	}
	status := exit.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Fatalf("the child ended with %v, want SIGABRT", exit)
	}
	return status.CoreDump()
}

func TestProcess(t *testing.T) {
	c := start(t, "hard")
	if got := c.line(t); got != "0 <nil>" {
		t.Errorf("PR_GET_DUMPABLE: got %q, want 0", got)
	}
	if got := c.line(t); got != `"0\n0\n" <nil>` {
		t.Errorf("core limits of a grandchild: got %s, want 0 and 0", got)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("the child may write a core:\n%s", limits)
	}
	if c.abort(t) {
		t.Error("the child dumped core")
	}
	left, err := os.ReadDir(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("the child left %v", left)
	}
}

// The same crash without Process makes a core, or else TestProcess shows nothing.
func TestWithoutProcess(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.ContainsAny(string(pattern), "|/") {
		t.Skipf("this system sends cores elsewhere: %q %v", pattern, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max == 0 {
		t.Skip("this session may not make cores")
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_CORE, &limit); err != nil {
			t.Error(err)
		}
	})
	c := start(t, "soft")
	if got := c.line(t); got != "1 <nil>" {
		t.Fatalf("PR_GET_DUMPABLE: got %q, want 1", got)
	}
	c.line(t)
	if !c.abort(t) {
		t.Skip("this system makes no cores")
	}
}

// TestNice: what a process starts after it lowered its priority has the lower one.
func TestNice(t *testing.T) {
	c := start(t, "nice")
	if c.out.Scan(); c.out.Text() != `"7\nidle\n" <nil> <nil>` {
		t.Errorf("a child has %s", c.out.Text())
	}
}
