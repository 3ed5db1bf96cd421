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
// TAKUMI_TEST_LONG=full, or as many as it says, and 256 MiB, but for verify, which keeps a
// report of each.
func manyBackups(t *testing.T) (n int, boundOf map[string]int) {
	text := os.Getenv("TAKUMI_TEST_LONG")
	if text == "" {
		return 2000, map[string]int{"list": 64, "status": 64, "prune": 64, "verify": 100}
	}
	n, err := strconv.Atoi(text)
	switch {
	case text == "full":
		n = 1_000_000
	case err != nil || n < 10_000:
		n = 100_000
	}
	return n, map[string]int{"list": 256, "status": 256, "prune": 256}
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
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"status"}, {"prune"}, {"verify", "--quiet"}} {
		bound := boundOf[args[0]]
		if bound == 0 {
			continue
		}
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		cmd := b.program(append(args, root)...)
		cmd.Stdout, cmd.Stderr = null, null
		run := b.start(cmd)
		peak := watchPeak(run.Process.Pid)
		run.exits(exitOK)
		most := peak()
		t.Logf("%v of %d backups takes %d MiB", args, n, most>>10)
		if most>>10 > bound {
			t.Errorf("%v of %d backups takes %d MiB, want %d at most", args, n, most>>10, bound)
		}
	}
}
