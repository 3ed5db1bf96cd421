package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"
)

// emptyFiles is a tar of n empty files.
func emptyFiles(n int) io.Reader {
	from, to := io.Pipe()
	go func() {
		w := tar.NewWriter(to)
		var err error
		for i := 0; i < n && err == nil; i++ {
			err = w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/e%d/user-%d.png", i%97, i%5003, i), Mode: 0o644, ModTime: time.Unix(1e9+int64(i), 0)})
		}
		if err == nil {
			err = w.Close()
		}
		to.CloseWithError(err)
	}()
	return from
}

// TestManyEntries: neither writing the index of an archive of many entries nor reading it,
// nor holding all names against each other takes more than 256 MiB. In a long run they are
// 1,000,000, 5,000,000 with TAKUMI_TEST_LONG=full, or as many as it says.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	n, bound := 3_000, 160
	if text := os.Getenv("TAKUMI_TEST_LONG"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		switch {
		case text == "full":
			n = 5_000_000
		case err != nil || n < 100_000:
			n = 1_000_000
		}
		bound = 256
	}
	b := measured(t)
	b.patience = 3 * time.Hour
	b.run(exitOK, emptyFiles(n/2), "seal", "-q", "--kind", "uploads", "-o", "half.enc")
	member := fmt.Sprintf("d%d/e%d/user-%d.png", n/2%97, n/2%5003, n/2)
	for _, args := range [][]string{
		{"seal", "-q", "--kind", "uploads", "-o", "all.enc"}, {"ls", "all.enc"}, {"ls", "-l", "all.enc"}, {"open", "all.enc", "--member", member},
		{"restore", "uploads", "-q", "all.enc", "--to", "some", "--include", member}, {"diff", "half.enc", "all.enc"}, {"verify", "all.enc"},
	} {
		cmd := b.program(args...)
		cmd.Stdout = devNull(t)
		if args[0] == "seal" {
			cmd.Stdin = emptyFiles(n)
		}
		began := time.Now()
		run := b.start(cmd)
		peak := watchPeak(cmd.Process.Pid)
		run.exits(exitOK)
		most := peak() >> 10
		t.Logf("%s of %d entries takes %d MiB, %.1f s, %.1f s of processors", args[0], n, most, time.Since(began).Seconds(), (run.ProcessState.UserTime() + run.ProcessState.SystemTime()).Seconds())
		if most > bound {
			t.Errorf("%v of %d entries takes %d MiB, want %d at most", args, n, most, bound)
		}
	}
}
