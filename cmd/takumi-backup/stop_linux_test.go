package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// heldPipe gives cmd a standard input that the test holds open.
func heldPipe(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	cmd.Stdin = r
	return w
}

// isTaken says whether the program has taken the pipe for its input: it makes
// it larger then.
func isTaken(w *os.File) bool {
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	return err == nil && size > 64<<10
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// isGone says whether a process has ended. A zombie has: somebody else's
// reaping is not the program's.
func isGone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

func readPID(t *testing.T, path string) int {
	t.Helper()
	pid := 0
	eventually(t, "the command says who it is", func() bool {
		text, _ := os.ReadFile(path)
		line, whole := strings.CutSuffix(string(text), "\n")
		pid, _ = strconv.Atoi(line)
		return whole
	})
	return pid
}

// TestStop stops seal in the middle of all that it can be doing.
func TestStop(t *testing.T) {
	signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	// Each starts seal and returns when it is in the middle; pid is a child's.
	for name, start := range map[string]func(b *sandbox) (seal *running, pid int){
		"silent input": func(b *sandbox) (*running, int) {
			cmd := b.program("seal")
			w := heldPipe(b.T, cmd)
			seal := b.start(cmd)
			eventually(b, "seal waits for its input", func() bool { return isTaken(w) })
			return seal, 0
		},
		"input that falls silent": func(b *sandbox) (*running, int) {
			cmd := b.program("seal", "-o", "x.enc", "--codec", "none")
			w := heldPipe(b.T, cmd)
			seal := b.start(cmd)
			if _, err := w.Write(make([]byte, 3<<20)); err != nil {
				b.Fatal(err)
			}
			eventually(b, "seal writes", func() bool { return exists(b.path(".x.enc.partial")) })
			return seal, 0
		},
		"busy input": func(b *sandbox) (*running, int) {
			cmd := b.program("seal", "-o", "x.enc")
			w := heldPipe(b.T, cmd)
			seal := b.start(cmd)
			go io.Copy(w, rand.Reader) // until nobody reads any more
			eventually(b, "seal writes", func() bool { return exists(b.path(".x.enc.partial")) })
			return seal, 0
		},
		"silent command": func(b *sandbox) (*running, int) {
			pid := b.tmp + "/pid"
			seal := b.start(b.program("seal", "--", "sh", "-c", "echo $$ >"+pid+"; exec sleep 1000"))
			defer os.Remove(pid)
			return seal, readPID(b.T, pid)
		},
		"busy command": func(b *sandbox) (*running, int) {
			pid := b.tmp + "/pid"
			seal := b.start(b.program("seal", "-o", "x.enc", "--", "sh", "-c", "echo $$ >"+pid+"; exec yes"))
			defer os.Remove(pid)
			eventually(b, "seal writes", func() bool { return exists(b.path(".x.enc.partial")) })
			return seal, readPID(b.T, pid)
		},
		"to standard output": func(b *sandbox) (*running, int) {
			cmd := b.program("seal", "-o", "-", "--sidecar", "x.sha256")
			w := heldPipe(b.T, cmd)
			seal := b.start(cmd)
			go io.Copy(w, rand.Reader)
			eventually(b, "seal writes", func() bool { return exists(b.path(".x.sha256.partial")) })
			return seal, 0
		},
	} {
		for _, sig := range signals {
			t.Run(name+"/"+unix.SignalName(sig), func(t *testing.T) {
				t.Parallel()
				b := newSandbox(t)
				seal, pid := start(b)
				if err := seal.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				seal.exits(exitSignal).says("stopped by " + sig.String())
				b.holds()
				if pid != 0 && !isGone(pid) {
					t.Errorf("the command runs on")
				}
			})
		}
	}
}

// TestStubbornCommand: a command that will not end when it is asked to is
// ended, after five seconds.
func TestStubbornCommand(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	pid := b.tmp + "/pid"
	seal := b.start(b.program("seal", "-o", "x.enc", "--", "sh", "-c",
		"trap '' TERM; echo $$ >"+pid+"; while :; do head -c 1000 /dev/zero; sleep 0.1; done"))
	child := readPID(t, pid)
	os.Remove(pid)
	seal.Process.Signal(syscall.SIGTERM)
	seal.exits(exitSignal)
	if !isGone(child) {
		t.Error("the command runs on")
	}
	b.holds()
}

// TestStopOpen: no half of a file either.
func TestStopOpen(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	b.seal(make([]byte, 4<<20), "-o", "x.enc", "--codec", "none")
	sealed := readFile(t, b.path("x.enc"))
	cmd := b.program("open", "-", "-o", "out")
	w := heldPipe(t, cmd)
	open := b.start(cmd)
	if _, err := w.Write(sealed[:len(sealed)-1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "open writes", func() bool { return exists(b.path(".out.partial")) })
	open.Process.Signal(syscall.SIGTERM)
	open.exits(exitSignal)
	b.holds("x.enc", "x.enc.sha256")
}

// TestIgnoredHangup: under nohup the end of the session is not the end.
func TestIgnoredHangup(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	cmd := b.command("sh", "-c", "trap '' HUP; exec takumi-backup seal -o x.enc")
	w := heldPipe(t, cmd)
	seal := b.start(cmd)
	eventually(t, "seal waits for its input", func() bool { return isTaken(w) })
	seal.Process.Signal(syscall.SIGHUP)
	fmt.Fprintln(w, "content")
	w.Close()
	seal.exits(exitOK)
	b.opens("x.enc", []byte("content\n"))
}

// TestKilled: seal cannot clean up after kill -9, so the next writer of the
// name does; until then nothing has the final name.
func TestKilled(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	cmd := b.program("seal", "-o", "x.enc")
	w := heldPipe(t, cmd)
	seal := b.start(cmd)
	go io.Copy(w, rand.Reader)
	eventually(t, "seal writes", func() bool {
		info, err := os.Stat(b.path(".x.enc.partial"))
		return err == nil && info.Size() > 1<<20
	})
	seal.Process.Kill()
	seal.exits(-1)
	b.holds(".x.enc.partial", ".x.enc.sha256.partial")

	b.run(exitDamaged, nil, "open", ".x.enc.partial")
	b.seal([]byte("content"), "-o", "x.enc")
	b.holds("x.enc", "x.enc.sha256")
	b.opens("x.enc", []byte("content"))
}

// TestKilledChild: the command's end by another hand, and what it started ends
// with it.
func TestKilledChild(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	pid, grandchild := b.tmp+"/pid", b.tmp+"/grandchild"
	seal := b.start(b.program("seal", "-o", "x.enc", "--", "sh", "-c",
		"sleep 1000 & echo $! >"+grandchild+"; echo $$ >"+pid+"; cat /dev/zero"))
	child := readPID(t, pid)
	syscall.Kill(child, syscall.SIGKILL)
	seal.exits(exitSource).says("sh was killed by signal 9")
	if !isGone(readPID(t, grandchild)) && !hasTerminal() {
		t.Error("what the command started runs on")
	}
	os.Remove(pid)
	os.Remove(grandchild)
	b.holds()
}

// hasTerminal: with one, a command stays in the program's process group, and
// is alone stopped.
func hasTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
