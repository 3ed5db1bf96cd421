package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIndexCost: what the index costs of sealing the public tree, by processor time and
// size, next to a build without it, in turns; and what a night costs that begins a chain,
// without and with hashes of contents. The index has 3 % of the size at most, and with
// TAKUMI_TEST_LONG=quiet 5 % of the time.
func TestIndexCost(t *testing.T) {
	b := publicTree(t)
	without := unindexed(t)
	ways := []*indexWay{
		{name: "without an index", script: without + ` backup uploads tree -q -o a.enc`},
		{name: "with the index", script: b.exe + ` backup uploads tree -q -o a.enc`},
		{name: "begins a chain", script: b.exe + ` backup uploads tree -q --incremental --store store`},
		{name: "begins a chain, --checksum", script: b.exe + ` backup uploads tree -q --incremental --checksum --store store`},
	}
	const rounds = 5
	for round := range rounds {
		for i := range ways {
			way := ways[(i+round)%len(ways)]
			b.shell(`rm -rf a.enc* store state; mkdir state`)
			began := time.Now()
			way.took.add(began, b.start(b.command("sh", "-euc", "export XDG_STATE_HOME=$PWD/state; exec "+way.script)).exits(0))
			size, err := strconv.Atoi(strings.TrimSpace(b.shell(`cat a.enc store/*/*.enc 2>/dev/null | wc -c`)))
			if err != nil {
				t.Fatal(err)
			}
			way.size = size
		}
	}
	for _, way := range ways {
		t.Logf("%-27s %6.2f s of processors in the median, %9d bytes; against none %.3f, %.4f", way.name, medianOf(way.took.cpu), way.size,
			quotient(way.took.cpu, ways[0].took.cpu), float64(way.size)/float64(ways[0].size))
	}
	if q := float64(ways[1].size) / float64(ways[0].size); q <= 1 || q > 1.03 {
		t.Errorf("the index is %.1f %% of the size, want 3 at most", 100*(q-1))
	}
	if q := quotient(ways[1].took.cpu, ways[0].took.cpu); os.Getenv("TAKUMI_TEST_LONG") == "quiet" && q > 1.05 {
		t.Errorf("the index takes %.1f %% of the time, want 5 at most", 100*(q-1))
	}
}

type indexWay struct {
	name, script string
	took         timings
	size         int
}

// unindexed builds the program with the one case of backup/job.go left out that makes the
// index of archives.
func unindexed(t *testing.T) string {
	t.Helper()
	job, err := filepath.Abs("../../backup/job.go")
	if err != nil {
		t.Fatal(err)
	}
	const indexes = "case format == guard.Tar:"
	text := string(readFile(t, job))
	if strings.Count(text, indexes) != 1 {
		t.Fatalf("%s has not one %q", job, indexes)
	}
	dir := t.TempDir()
	other, list, exe := filepath.Join(dir, "job.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, program)
	writeFile(t, other, []byte(strings.Replace(text, indexes, "case format == guard.Tar && j.night != nil:", 1)))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {job: other}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, list, overlay)
	if out, err := exec.Command("go", "build", "-overlay", list, "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
}
