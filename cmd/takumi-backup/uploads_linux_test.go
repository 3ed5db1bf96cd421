package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// uploads makes two states of a folder and a sealed backup of the second. The
// folder, in a folder of its own, is in the first state.
func uploads(b *sandbox) (dir, sealed string, former, backed map[string]string) {
	b.Helper()
	second := b.path("second")
	if err := os.Mkdir(second, 0o755); err != nil {
		b.Fatal(err)
	}
	for i := range 300 {
		writeFile(b, filepath.Join(second, fmt.Sprintf("file-%03d", i)), bytes.Repeat([]byte{byte(i)}, i*100))
	}
	backed = treetest.Describe(b, second)
	sealed = b.path("uploads.enc")
	b.run(exitOK, nil, "backup", "uploads", second, "-o", sealed)
	dir = b.path("around/uploads")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	writeFile(b, filepath.Join(dir, "file"), []byte("precious"))
	return dir, sealed, treetest.Describe(b, dir), backed
}

// siblings lists what is next to dir.
func siblings(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(dir + ".*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestRestoreUploadsKilled kills a restore at 20 points. The folder is the
// former or the one from the backup, whole, and if it is the latter, the former
// is next to it.
func TestRestoreUploadsKilled(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	dir, sealed, former, backed := uploads(b)
	begun := time.Now()
	b.run(exitOK, nil, "restore", "uploads", sealed, "--to", b.path("rehearsal"))
	whole := time.Since(begun)
	finished := 0
	for point := range 20 {
		cmd := b.program("restore", "uploads", sealed, "--to", dir, "--yes")
		r := b.start(cmd)
		time.Sleep(whole * time.Duration(point) / 18)
		cmd.Process.Kill()
		r.Wait()
		got := treetest.Describe(t, dir)
		switch {
		case len(got) == len(former):
			treetest.Compare(t, got, former)
		default:
			treetest.Compare(t, got, backed)
			finished++
			before, err := filepath.Glob(dir + ".before-*")
			if err != nil || len(before) != 1 {
				t.Fatalf("point %d: the former folder is in %q, %v", point, before, err)
			}
			treetest.Compare(t, treetest.Describe(t, before[0]), former)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(before[0], dir); err != nil {
				t.Fatal(err)
			}
		}
		for _, left := range siblings(t, dir) {
			os.RemoveAll(left)
		}
	}
	t.Logf("%d of 20 were killed after the exchange", finished)
}

// TestRestoreUploadsStopped: a signal in the middle, and a backup that ends
// early, leave the folder as it was and nothing next to it.
func TestRestoreUploadsStopped(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	dir, sealed, former, _ := uploads(b)
	half := readFile(t, sealed)
	half = half[:len(half)*3/4]
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		cmd := b.program("restore", "uploads", "-", "--to", dir, "--yes")
		w := heldPipe(t, cmd)
		r := b.start(cmd)
		if _, err := w.Write(half); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the restore works", func() bool { return len(siblings(t, dir)) > 0 })
		cmd.Process.Signal(sig)
		r.exits(exitSignal)
		treetest.Compare(t, treetest.Describe(t, dir), former)
		if left := siblings(t, dir); len(left) > 0 {
			t.Errorf("%v leaves %q", sig, left)
		}
	}
	b.run(exitDamaged, bytes.NewReader(half), "restore", "uploads", "-", "--to", dir, "--yes")
	treetest.Compare(t, treetest.Describe(t, dir), former)
	if left := siblings(t, dir); len(left) > 0 {
		t.Errorf("a damaged backup leaves %q", left)
	}
}

func TestRestoreUploadsDisks(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	b := newSandbox(t)
	_, sealed, _, _ := uploads(b)

	small := mount(t, "tmpfs", "tmpfs", 0, "size=1m")
	dir := filepath.Join(small, "uploads")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "file"), []byte("precious"))
	former := treetest.Describe(t, dir)
	b.run(exitStore, nil, "restore", "uploads", sealed, "--to", dir, "--yes").says("no space left on device")
	treetest.Compare(t, treetest.Describe(t, dir), former)
	if left := siblings(t, dir); len(left) > 0 {
		t.Errorf("a full disk leaves %q", left)
	}
	// A mount point keeps its place; its content is exchanged.
	b.run(exitStore, nil, "restore", "uploads", sealed, "--to", small, "--yes").says("no space left on device")
	if got, _ := os.ReadDir(small); len(got) != 1 {
		t.Errorf("a full disk leaves %v in the mount point", got)
	}

	// What other file systems hold is left out when asked.
	outer := t.TempDir()
	inner := filepath.Join(outer, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", inner, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(inner, syscall.MNT_DETACH) })
	writeFile(t, filepath.Join(inner, "far"), []byte("x"))
	for flag, want := range map[string]string{"--one-file-system": "./\ninner/\n", "--quiet": "./\ninner/\ninner/far\n"} {
		out := b.path("fs" + flag + ".enc")
		b.run(exitOK, nil, "backup", "uploads", outer, flag, "-o", out)
		if got := b.run(exitOK, nil, "restore", "uploads", out, "--to", b.path("x"), "--dry-run").stdout.String(); got != want {
			t.Errorf("%s: the backup holds %q, want %q", flag, got, want)
		}
	}
}

// TestChangingUploads: a file that changes all the time is reported, and the
// backup is whole all the same.
func TestChangingUploads(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	dir := b.path("up")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	busy := filepath.Join(dir, "busy")
	writeFile(t, busy, bytes.Repeat(piece(), 4))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for i := int64(1); ctx.Err() == nil; i++ {
			os.Chtimes(busy, time.Time{}, time.Unix(i, 0))
		}
	}()
	for code, args := range map[int][]string{exitOK: {"-o", "lax.enc"}, exitSome: {"-o", "strict.enc", "--strict"}} {
		b.run(code, nil, append([]string{"backup", "uploads", dir}, args...)...).
			says(`"busy": it changed each time it was read`)
		b.run(exitOK, nil, "restore", "uploads", args[1], "--to", b.path("restored-"+args[1]))
		if got := readFile(t, b.path("restored-"+args[1]+"/busy")); !bytes.Equal(got, bytes.Repeat(piece(), 4)) {
			t.Errorf("%s: %d bytes came back", args[1], len(got))
		}
	}
}

// TestUnreadableUploads: a backup that lacks what could not be read is kept, and
// is a failure all the same, so that nothing older is deleted after it.
func TestUnreadableUploads(t *testing.T) {
	needIntegration(t)
	t.Parallel()
	b := newSandbox(t)
	if err := os.Mkdir(b.path("up"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("up/private"), []byte("x"))
	if err := os.Chmod(b.path("up/private"), 0); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "UPLOADS_DIR="+b.path("up"), "XDG_STATE_HOME="+t.TempDir())
	for _, args := range [][]string{{"uploads"}, {"all", "--prune"}} {
		cmd := b.program(append([]string{"backup"}, args...)...)
		if os.Geteuid() == 0 {
			// Without these privileges root is bound by modes like anybody.
			const without = "-dac_override,-dac_read_search"
			cmd = b.command("setpriv", append([]string{"--bounding-set=" + without, "--inh-caps=" + without}, cmd.Args...)...)
		}
		r := b.start(cmd).exits(exitSome).says(`"private": permission denied`)
		if path := strings.TrimSpace(r.stdout.String()); !strings.Contains(path, "/uploads/uploads_") {
			t.Errorf("%v: standard output: %q", args, path)
		} else if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		if args[0] == "all" {
			r.says("prune: left out (a backup failed")
		}
	}
}

// TestRestoreUploadsAsks: a person is asked before a folder is exchanged, and
// only y is yes.
func TestRestoreUploadsAsks(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	dir, sealed, former, backed := uploads(b)
	for _, answer := range []string{"\n", "n\n", "y\n"} {
		person, tty := onTerminal(t)
		cmd := b.program("restore", "uploads", sealed, "--to", dir)
		cmd.Stdin, cmd.Stderr = tty, tty
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown := ""
		for buf := make([]byte, 1); !strings.HasSuffix(shown, "[y/N] "); shown += string(buf) {
			if _, err := person.Read(buf); err != nil {
				t.Fatalf("%v after %q", err, shown)
			}
		}
		fmt.Fprint(person, answer)
		cmd.Wait()
		want, code := former, exitFailed
		if answer == "y\n" {
			want, code = backed, exitOK
		}
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("%q: exit code %d, want %d", answer, got, code)
		}
		treetest.Compare(t, treetest.Describe(t, dir), want)
	}
}

// TestUploadsThroughput compares with tar and zstd, alternating, and holds the
// bound of memory. TAKUMI_TEST_LONG takes what the claim is about, 100,000
// files and a sparse one of 20 GiB, and holds it to 0.9 of their throughput.
func TestUploadsThroughput(t *testing.T) {
	needIntegration(t)
	for _, tool := range []string{"tar", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: apt-get install %[1]s", tool)
		}
	}
	files, hole, rounds, least := 5_000, int64(1<<30), 2, 0.0 // a short run says nothing of speed
	long := os.Getenv("TAKUMI_TEST_LONG") != ""
	if long {
		files, hole, rounds, least = 100_000, 20<<30, 3, 0.9
	}
	for name, make := range map[string]func(dir string){
		"small files": func(dir string) { smallFiles(t, dir, files) },
		"sparse file": func(dir string) {
			writeFile(t, filepath.Join(dir, "sparse"), piece())
			if err := os.Truncate(filepath.Join(dir, "sparse"), hole); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := measured(t)
			dir := t.TempDir()
			make(dir)
			var ours, theirs timings
			for range rounds {
				cmd := b.program("backup", "uploads", dir, "-q", "-o", "-")
				cmd.Stdout = devNull(t)
				begun := time.Now()
				r := b.start(cmd)
				peak := watchPeak(cmd.Process.Pid)
				ours.add(begun, r.exits(exitOK))
				if kb := peak(); kb > 96<<10 { // the index of the archive takes some
					t.Errorf("took %d KiB of memory, more than 96 MiB", kb)
				}
				begun = time.Now()
				theirs.add(begun, b.start(b.command("sh", "-c", `tar -c -C "$1" . | zstd -q -T0 >/dev/null`, "sh", dir)).exits(0))
			}
			// Of each the run that others disturbed least.
			ratio := slices.Min(theirs.wall) / slices.Min(ours.wall)
			t.Logf("ours %v, tar | zstd -T0 %v: %.2f of its throughput", &ours, &theirs, ratio)
			if ratio < least {
				t.Errorf("%.2f of the throughput of tar | zstd -T0, less than %.1f", ratio, least)
			}
		})
	}
}

// timings are seconds, by the clock and of processors.
type timings struct{ wall, cpu []float64 }

func (m *timings) add(begun time.Time, r *running) {
	m.wall = append(m.wall, time.Since(begun).Seconds())
	m.cpu = append(m.cpu, (r.ProcessState.UserTime() + r.ProcessState.SystemTime()).Seconds())
}

func (m *timings) String() string {
	slices.Sort(m.wall)
	slices.Sort(m.cpu)
	n := len(m.wall)
	return fmt.Sprintf("%.2f s (to %.2f, median %.2f, processors %.2f)", m.wall[0], m.wall[n-1], m.wall[n/2], m.cpu[n/2])
}

func devNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// smallFiles makes n files of up to 16 KiB in folders of 100.
func smallFiles(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("%04d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(folder, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		at := i * 7919 % (pieceSize - 16<<10)
		writeFile(t, filepath.Join(folder, fmt.Sprintf("%06d.jpg", i)), piece()[at:at+i*31%(16<<10)])
	}
}
