package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/verify"
)

// manyLinks seals n pieces once, and gives the backup links other names, so that
// a store of any size can be read. The first is in the store's root.
func (b *sandbox) manyLinks(n, links int) {
	b.Helper()
	if err := os.MkdirAll(b.path("store"), 0o700); err != nil {
		b.Fatal(err)
	}
	cmd := b.program("seal", "-o", b.path("store/0.enc"))
	w := heldPipe(b.T, cmd)
	seal := b.start(cmd)
	feed(b.T, w, n)
	w.Close()
	seal.exits(exitOK)
	sum := readFile(b, b.path("store/0.enc.sha256"))[:64]
	for i := 1; i < links; i++ {
		name := fmt.Sprintf("%d.enc", i)
		if err := os.Link(b.path("store/0.enc"), b.path("store/"+name)); err != nil {
			b.Fatal(err)
		}
		writeFile(b, b.path("store/"+name+".sha256"), fmt.Appendf(nil, "%s  %s\n", sum, name))
	}
}

// TestVerifyMemory holds verify on two cores to 80 MiB, however many and large the backups.
func TestVerifyMemory(t *testing.T) {
	t.Parallel()
	b := measured(t)
	b.env = append(b.env, "XDG_STATE_HOME="+b.tmp)
	b.manyLinks(max(16, pieces()/16), 6)
	for _, level := range []string{"checksum", "auth", "content"} {
		began := time.Now()
		r := b.start(b.program("verify", "--level", level))
		peak := watchPeak(r.Process.Pid)
		r.exits(exitOK).says("6 good, 0 bad")
		most := peak()
		t.Logf("%s: at most %.1f MiB resident, in %v", level, float64(most)/1024, time.Since(began))
		if most == 0 || most >= 80<<10 {
			t.Errorf("%s takes %d KiB of memory, want less than 80 MiB", level, most)
		}
	}
}

// TestVerifyStopped: a stopped run writes the report of what was done, and
// remembers it.
func TestVerifyStopped(t *testing.T) {
	t.Parallel()
	b := measured(t)
	b.env = append(b.env, "XDG_STATE_HOME="+b.tmp)
	const links = 60
	b.manyLinks(4, links)
	r := b.start(b.program("verify", "--report", "r.json"))
	// The first are done when much more than the envelopes was read.
	eventually(t, "it reads", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", r.Process.Pid))
		_, after, _ := strings.Cut(string(text), "rchar: ")
		line, _, _ := strings.Cut(after, "\n")
		n, _ := strconv.ParseInt(line, 10, 64)
		return err != nil || n > 40<<20
	})
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.exits(exitSignal).says("stopped by interrupt")
	var report verify.Report
	if err := json.Unmarshal(readFile(t, b.path("r.json")), &report); err != nil {
		t.Fatal(err)
	}
	sum := report.Summary()
	if !report.Interrupted || sum.Backups != links || sum.Checked == 0 || sum.Checked == links || sum.Errors > 0 {
		t.Errorf("%+v", sum)
	}
	r = b.run(exitOK, nil, "verify", "--newer-only", "--report", "r.json")
	r.says(fmt.Sprintf("%d good, 0 bad, %d not checked", links-sum.Checked, sum.Checked))
}

// TestVerifyRestore brings back what a store holds, and finds the one whose
// manifest says something else.
func TestVerifyRestore(t *testing.T) {
	c := database(t, "verified", rich)
	of := withDatabase(t, c, "verified")
	path := strings.TrimSpace(of.backupOf("--manifest"))
	of.run(exitOK, strings.NewReader("words"), "seal", "--name", "words")
	b, scratch := apart(t, c, of), scratchDir(t)
	b.env = append(b.env, "XDG_STATE_HOME="+b.tmp)
	restore := []string{"verify", "--level", "restore", "--scratch-dir", scratch}
	r := b.run(exitOK, nil, restore...).says("3 good, 0 bad")
	// What is not a database is proved as far as it can be.
	out := r.stdout.String()
	if !strings.Contains(out, "good  restore   "+path) || strings.Count(out, "good  content   ") != 1 || strings.Count(out, "good  content not judged  ") != 1 {
		t.Error(out)
	}
	b.run(exitOK, nil, append(restore, "--newer-only")...).says("0 good, 0 bad, 3 not checked")

	found, err := filepath.Glob(of.path("store/database/*.manifest.json.zst.enc"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	forged := strings.Replace(of.run(exitOK, nil, "open", found[0]).stdout.String(), `"rows": 500`, `"rows": 501`, 1)
	os.Remove(found[0])
	os.Remove(found[0] + ".sha256")
	of.run(exitOK, strings.NewReader(forged), "seal", "--kind", "manifest", "-o", found[0])
	b.run(exitSome, nil, restore...).says("differs-from-manifest").says("500 rows, want 501").says("2 good, 1 bad")
	b.run(exitDamaged, nil, append(restore, path)...).says("500 rows, want 501")
}

// TestVerifyThroughput compares verify with the tools that do the same, on the
// same data, in one run.
func TestVerifyThroughput(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run this test")
	}
	for _, tool := range []string{"age", "age-keygen", "zstd", "sha256sum", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: apt-get install age zstd coreutils openssl", tool)
		}
	}
	b := measured(t)
	b.env = append(b.env, "XDG_STATE_HOME="+b.tmp)
	const backups, size = 4, 64 // of 256 MiB
	b.manyLinks(size, backups)
	peers := b.path("peers")
	if err := os.Mkdir(peers, 0o700); err != nil {
		t.Fatal(err)
	}
	b.start(b.command("age-keygen", "-o", b.path("age.key"))).exits(0)
	recipient := strings.TrimSpace(b.start(b.command("age-keygen", "-y", b.path("age.key"))).exits(0).stdout.String())
	cmd := b.command("sh", "-ec", `zstd -q -1 | age -r "$0" -o 0; for n in 1 2 3; do ln 0 $n; done`, recipient)
	cmd.Dir = peers
	w := heldPipe(t, cmd)
	r := b.start(cmd)
	feed(t, w, size)
	w.Close()
	r.exits(0)

	// Everything is in the page cache: the best of three of each. The clock tells
	// something only where there is no other work; the time of the cores, which
	// three processes of the tools share out well, tells a little everywhere.
	type cost struct{ clock, cores float64 }
	best := func(run func() *exec.Cmd) cost {
		c := cost{1e9, 1e9}
		for range 3 {
			cmd := run()
			cmd.Stdout = io.Discard
			began := time.Now()
			state := b.start(cmd).exits(0).ProcessState
			c.clock = min(c.clock, time.Since(began).Seconds())
			c.cores = min(c.cores, (state.UserTime() + state.SystemTime()).Seconds())
		}
		return c
	}
	with := func(sum string) cost {
		return best(func() *exec.Cmd {
			return b.command("sh", "-ec", `for f in "$1"/*; do `+sum+` "$f"; age -d -i "$0" "$f" | zstd -q -t; done`, b.path("age.key"), peers)
		})
	}
	ours := best(func() *exec.Cmd { return b.program("verify", "--level", "content", "store") })
	tools, faster := with("sha256sum"), with("openssl dgst -sha256")
	load := strings.Fields(string(readFile(t, "/proc/loadavg")))[0]
	t.Logf("content of %d MiB, load %s: %.2f s; sha256sum and age -d | zstd -t: %.1f times as long, %.1f times by core time; with openssl dgst: %.1f, %.1f",
		backups*size*4, load, ours.clock, tools.clock/ours.clock, tools.cores/ours.cores, faster.clock/ours.clock, faster.cores/ours.cores)
	if busy, _ := strconv.ParseFloat(load, 64); busy < 3 && tools.clock < 3*ours.clock || tools.cores < 2*ours.cores {
		t.Error("verify is less than 3 times as fast as the tools, or takes more than half of their core time")
	}
	b.env = append(b.env, "GOMAXPROCS=1")
	sums := best(func() *exec.Cmd { return b.program("verify", "--level", "checksum", "store") })
	openssl := best(func() *exec.Cmd { return b.command("sh", "-ec", `exec openssl dgst -sha256 store/*.enc`) })
	t.Logf("checksum on one core: %.2f of the speed of openssl dgst -sha256 by core time, %.2f by the clock", openssl.cores/sums.cores, openssl.clock/sums.clock)
	if openssl.cores < 0.9*sums.cores {
		t.Error("checksum has less than 0.9 of the speed of openssl dgst")
	}
}
