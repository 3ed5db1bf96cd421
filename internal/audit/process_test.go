package audit

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// writerDir makes this test binary a writer: it appends records to the log in
// that folder, and prints a line after each, until it has appended writerCount.
const (
	writerDir   = "TAKUMI_TEST_AUDIT_WRITER"
	writerCount = "TAKUMI_TEST_AUDIT_COUNT"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	count, _ := strconv.Atoi(os.Getenv(writerCount))
	for i := range count {
		r := Record{Operation: "seal", PID: os.Getpid(), Path: strings.Repeat("x", 1+i%9*300), Detail: strconv.Itoa(i)}
		if err := New(dir).Append(context.Background(), r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func startWriter(t *testing.T, dir string, count int) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir, writerCount+"="+strconv.Itoa(count), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// written counts the records of each process, and checks that each has its own
// in order.
func written(t *testing.T, dir string) map[int]int {
	t.Helper()
	counts := make(map[int]int)
	err := Read(t.Context(), dir, func(e Entry) error {
		if e.Operation == OperationAudit {
			return nil
		}
		if want := strconv.Itoa(counts[e.PID]); e.Detail != want {
			t.Fatalf("process %d: record %s, want %s", e.PID, e.Detail, want)
		}
		counts[e.PID]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestProcesses: 16 processes write at once, and lose nothing.
func TestProcesses(t *testing.T) {
	t.Parallel()
	each := 6
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		each = 100
	}
	dir := t.TempDir()
	var writers []*exec.Cmd
	for range 16 {
		cmd, out := startWriter(t, dir, each)
		go func() {
			for out.Scan() {
			}
		}()
		writers = append(writers, cmd)
	}
	for _, cmd := range writers {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	counts := written(t, dir)
	for _, cmd := range writers {
		if n := counts[cmd.Process.Pid]; n != each {
			t.Errorf("process %d: %d records, want %d", cmd.Process.Pid, n, each)
		}
	}
}

// TestKilled: a writer that is killed at any time loses nothing that it was told
// is written, and the chain and its MACs hold for who comes next.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := New(dir).Init(t.Context(), firstKey(1), t.TempDir()+"/key"); err != nil {
		t.Fatal(err)
	}
	times := 10
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		times = 200
	}
	told := make(map[int]int)
	for range times {
		cmd, out := startWriter(t, dir, 1_000_000)
		after := time.After(time.Duration(rand.IntN(30)) * time.Millisecond)
		for first := true; out.Scan(); first = false {
			told[cmd.Process.Pid]++
			if first {
				go func() {
					<-after
					cmd.Process.Kill()
				}()
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		if err := New(dir).Append(t.Context(), Record{PID: -cmd.Process.Pid, Detail: "0"}); err != nil {
			t.Fatal(err)
		}
	}
	counts := written(t, dir)
	for pid, n := range told {
		// The last one may have been written, and not told any more.
		if got := counts[pid]; got != n && got != n+1 {
			t.Errorf("process %d: %d records, and %d were told", pid, got, n)
		}
	}
	if _, err := Verify(t.Context(), dir, Proof{FirstKeys: []FirstKey{firstKey(1)}}); err != nil {
		t.Error(err)
	}
}
