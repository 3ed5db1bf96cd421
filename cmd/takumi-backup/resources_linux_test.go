package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const pieceSize = 4 << 20

// piece returns pieceSize bytes, half of which pack well and half not at all.
// It makes them once, and only when asked: this binary is the program too.
var piece = sync.OnceValue(func() []byte {
	random := rand.NewChaCha8([32]byte{})
	var b bytes.Buffer
	for row := 0; b.Len() < pieceSize; {
		for range 500 {
			fmt.Fprintf(&b, "%d\tuser%d@example.org\t2026-11-23 02:00:00\t%d\tendorsed\n", row, row*7919%100000, row%13)
			row++
		}
		io.CopyN(&b, random, 32<<10)
	}
	return b.Bytes()[:pieceSize]
})

// pieces is how much is sealed and opened where the amount should not matter.
func pieces() int {
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		return 4 << 30 / pieceSize
	}
	return 256 << 20 / pieceSize
}

// measured is a sandbox for the program as users have it, on two cores.
func measured(t *testing.T) *sandbox {
	b := newSandbox(t)
	b.exe = releaseBuild(t)
	b.env = append(b.env, "GOMAXPROCS=2")
	b.patience = 10 * time.Minute
	return b
}

// feed writes n pieces to w.
func feed(t *testing.T, w io.Writer, n int) {
	t.Helper()
	for range n {
		if _, err := w.Write(piece()); err != nil {
			t.Fatal(err)
		}
	}
}

// watchPeak follows the peak of the program's memory until it has ended, and
// then returns it. The exit status does not do: what it calls the peak counts
// in that of the process that forked.
func watchPeak(pid int) func() int {
	peak := make(chan int)
	go func() {
		most := 0
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, after, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found {
				peak <- most
				return
			}
			kb := 0
			fmt.Sscan(after, &kb)
			most = max(most, kb)
			time.Sleep(time.Millisecond)
		}
	}()
	return func() int { return <-peak }
}

// TestMemory holds the program to 64 MiB, however much goes through it.
func TestMemory(t *testing.T) {
	n := pieces()
	b := measured(t)
	check := func(what string, peak int, began time.Time) {
		took := time.Since(began)
		t.Logf("%s %d MiB: at most %.1f MiB resident, %.0f MiB/s", what, n*4, float64(peak)/1024, float64(n*4)/took.Seconds())
		if peak == 0 || peak >= 64<<10 {
			t.Errorf("%s takes %d KiB of memory, want less than 64 MiB", what, peak)
		}
	}

	cmd := b.program("seal", "-o", "x.enc")
	w := heldPipe(t, cmd)
	began := time.Now()
	seal := b.start(cmd)
	peak := watchPeak(seal.Process.Pid)
	feed(t, w, n)
	w.Close()
	seal.exits(exitOK)
	check("sealing", peak(), began)

	cmd = b.program("open", "-")
	w = heldPipe(t, cmd)
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = out
	began = time.Now()
	open := b.start(cmd)
	out.Close()
	peak = watchPeak(open.Process.Pid)
	go func() {
		defer w.Close()
		f, err := os.Open(b.path("x.enc"))
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := io.Copy(w, f); err != nil {
			t.Error(err)
		}
	}()
	got := make([]byte, pieceSize)
	for i := range n {
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, piece()) {
			t.Fatalf("piece %d is not what was sealed (%v)", i, err)
		}
	}
	if n, err := r.Read(got); n != 0 || err != io.EOF {
		t.Error("more comes out than went in")
	}
	open.exits(exitOK)
	check("opening", peak(), began)
}

// TestFirstByte: who pipes a backup into psql does not wait for all of it.
func TestFirstByte(t *testing.T) {
	b := measured(t)
	cmd := b.program("seal", "-o", "x.enc")
	w := heldPipe(t, cmd)
	seal := b.start(cmd)
	feed(t, w, 256<<20/pieceSize)
	w.Close()
	seal.exits(exitOK)

	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = b.program("open", "x.enc")
	cmd.Stdout = out
	open := b.start(cmd)
	out.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	// It has read ahead as far as it does, for nobody takes more of it.
	var read int64
	for last := int64(-1); read != last; time.Sleep(200 * time.Millisecond) {
		last = read
		if _, err := fmt.Sscanf(string(readFile(t, fmt.Sprintf("/proc/%d/io", cmd.Process.Pid))), "rchar: %d", &read); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	open.exits(exitFailed)
	t.Logf("the first byte of 256 MiB comes when at most %d MiB were read", read>>20)
	if read > 64<<20 {
		t.Errorf("%d bytes were read before the first came out", read)
	}
}
