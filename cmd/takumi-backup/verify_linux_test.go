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
	// What is no database is proved as far as it can be.
	out := r.stdout.String()
	if !strings.Contains(out, "good  restore   "+path) || strings.Count(out, "good  content   ") != 2 {
		t.Error(out)
	}
	b.run(exitOK, nil, append(restore, "--newer-only")...).says("0 good, 0 bad, 3 not checked")

	found, err := filepath.Glob(of.path("store/database/*.manifest.json.zst.enc"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	forged := strings.Replace(of.run(exitOK, nil, "open", found[0]).stdout.String(), `"rows": 500,`, `"rows": 501,`, 1)
	os.Remove(found[0])
	os.Remove(found[0] + ".sha256")
	of.run(exitOK, strings.NewReader(forged), "seal", "--kind", "manifest", "-o", found[0])
	b.run(exitSome, nil, restore...).says("differs-from-manifest").says("500 rows, want 501").says("2 good, 1 bad")
	b.run(exitFailed, nil, append(restore, path)...).says("500 rows, want 501")
}

// TestVerifyThroughput compares verify with the tools that do the same, on the
// same data, in one run.
func TestVerifyThroughput(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") != "1" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run this test")
	}
	for _, tool := range []string{"age", "age-keygen", "zstd", "sha256sum", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: apt-get install age zstd coreutils openssl", tool)
		}
	}
	b := measured(t)
	b.env = append(b.env, "XDG_STATE_HOME="+b.tmp)
	const backups, size = 8, 32 // of 128 MiB
	peers := b.path("peers")
	os.MkdirAll(peers, 0o700)
	os.MkdirAll(b.path("store"), 0o700)
	b.start(b.command("age-keygen", "-o", b.path("age.key"))).exits(0)
	recipient := strings.TrimSpace(b.start(b.command("age-keygen", "-y", b.path("age.key"))).exits(0).stdout.String())
	for i := range backups {
		for name, cmd := range map[string]*exec.Cmd{
			"sealed": b.program("seal", "-o", fmt.Sprintf("store/%d.enc", i)),
			"age":    b.command("sh", "-c", `zstd -q -1 | age -r "$0" -o "$1"`, recipient, filepath.Join(peers, fmt.Sprint(i))),
		} {
			w := heldPipe(t, cmd)
			r := b.start(cmd)
			feed(t, w, size)
			w.Close()
			if r.exits(0); t.Failed() {
				t.Fatal(name)
			}
		}
	}
	// Everything is in the page cache: the best of three of each.
	time3 := func(cmd func() *exec.Cmd) float64 {
		best := time.Hour
		for range 3 {
			began := time.Now()
			r := cmd()
			r.Stdout = io.Discard
			b.start(r).exits(0)
			best = min(best, time.Since(began))
		}
		return best.Seconds()
	}
	ours := time3(func() *exec.Cmd { return b.program("verify", "--level", "content", "store") })
	tools := time3(func() *exec.Cmd {
		return b.command("sh", "-ec", `for f in "$1"/*; do sha256sum "$f"; age -d -i "$0" "$f" | zstd -q -t; done`, b.path("age.key"), peers)
	})
	faster := time3(func() *exec.Cmd {
		return b.command("sh", "-ec", `for f in "$1"/*; do openssl dgst -sha256 "$f"; age -d -i "$0" "$f" | zstd -q -t; done`, b.path("age.key"), peers)
	})
	t.Logf("content: %.2f s; sha256sum and age -d | zstd -t: %.2f s, %.1f times as long; with openssl dgst: %.2f s, %.1f times", ours, tools, tools/ours, faster, faster/ours)
	if tools < 3*ours {
		t.Errorf("content takes %.2f s, and the tools %.2f s: less than 3 times as fast", ours, tools)
	}
	b.env = append(b.env, "GOMAXPROCS=1")
	sums := time3(func() *exec.Cmd { return b.program("verify", "--level", "checksum", "store") })
	openssl := time3(func() *exec.Cmd { return b.command("sh", "-ec", `exec taskset -c 0 openssl dgst -sha256 store/*.enc`) })
	t.Logf("checksum on one core: %.2f s; openssl dgst -sha256: %.2f s, ratio %.2f", sums, openssl, openssl/sums)
	if openssl < 0.9*sums {
		t.Errorf("checksum has %.2f of the speed of openssl dgst", openssl/sums)
	}
}
