package main

import (
	"encoding/hex"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/testkit/many"
)

// manyBackups is how many backups TestManyBackups lists, and boundOf how much memory in
// MiB each command may take for them. In a long run they are 100,000, a million with
// TAKUMI_TEST_LONG=full, or as many as it says, and 256 MiB.
func manyBackups(t *testing.T) (n int, boundOf map[string]int) {
	text := os.Getenv("TAKUMI_TEST_LONG")
	if text == "" {
		return 2000, map[string]int{"list": 64, "status": 64, "prune": 64, "verify": 80}
	}
	n, err := strconv.Atoi(text)
	switch {
	case text == "full":
		n = 1_000_000
	case err != nil || n < 10_000:
		n = 100_000
	}
	return n, map[string]int{"list": 256, "status": 256, "prune": 256, "verify": 256}
}

// TestManyBackups: what a command takes to look through a store does not grow with it by
// more than a line of an index.
func TestManyBackups(t *testing.T) {
	n, boundOf := manyBackups(t)
	b := measured(t)
	b.patience = 2 * time.Hour
	material, err := hex.DecodeString(mainKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	root := b.path("many")
	if err := many.Fill(t.Context(), root, key, n, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify"}, {"list"}, {"list", "--json"}, {"status"}, {"prune"}, {"verify", "--newer-only", "--json"}} {
		bound := boundOf[args[0]]
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		cmd := b.program(append(args, root)...)
		cmd.Stdout, cmd.Stderr = null, null
		began, run := time.Now(), b.start(cmd)
		peak := watchPeak(run.Process.Pid)
		run.exits(exitOK)
		most := peak()
		t.Logf("%v of %d backups takes %d MiB and %v", args, n, most>>10, time.Since(began).Round(time.Second))
		if most>>10 > bound {
			t.Errorf("%v of %d backups takes %d MiB, want %d at most", args, n, most>>10, bound)
		}
	}
}
