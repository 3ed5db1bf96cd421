package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestReencryptKilled kills reencrypt at random moments, half of them around the
// exchange of a backup. Each time every backup is the old one or the new one whole,
// and the same command then finishes what was begun.
func TestReencryptKilled(t *testing.T) {
	t.Parallel()
	kills := 10
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		kills = 50
	}
	b := newTwoKeys(t, 4, 1<<19)
	keys := b.loaded()
	to := 1
	reencrypt := func() *running {
		return b.start(b.program("reencrypt", "store", "--from", b.keys[0], "--from", b.keys[1], "--to", b.keys[to]))
	}
	began := time.Now()
	reencrypt().exits(exitOK)
	whole := time.Since(began)
	want := files(t, b.dir)
	midway, torn := 0, 0
	for kill := range kills {
		to = kill % 2
		r := reencrypt()
		if kill/2%2 == 0 {
			time.Sleep(rand.N(whole))
		} else {
			name := b.path(b.backups[rand.N(len(b.backups))])
			before, _ := os.Stat(name)
			for deadline := time.Now().Add(whole * 2); time.Now().Before(deadline); {
				if now, err := os.Stat(name); err == nil && !os.SameFile(before, now) {
					break
				}
			}
			time.Sleep(rand.N(time.Millisecond))
		}
		r.Process.Signal(syscall.SIGKILL)
		r.Wait()
		for _, name := range b.backups {
			r, err := envelope.Open(t.Context(), bytes.NewReader(readFile(t, b.path(name))), envelope.Options{}, slot.Identities(keys...)...)
			if err != nil {
				t.Fatalf("%s does not open: %v", name, err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b.content) {
				t.Errorf("%s opens to %d bytes: %v", name, len(got), err)
			}
			if !b.sidecarHolds(name) {
				torn++
			}
		}
		if len(files(t, b.dir)) != len(want) {
			midway++
		}
		reencrypt().exits(exitOK)
		for _, name := range b.backups {
			b.lossless(name, keys[to:to+1])
		}
		b.holds(want...)
	}
	t.Logf("%d kills, %d of them with work half done, %d sidecars to mend", kills, midway, torn)
}

// opensWithEither checks that one of the two keys opens a backup.
func (b *twoKeys) opensWithEither(name string) {
	b.Helper()
	r := b.run(exitOK, nil, "open", "--key", b.keys[0], "--key", b.keys[1], name)
	if !bytes.Equal(r.stdout.Bytes(), b.content) {
		b.Errorf("%s opens to %d bytes", name, r.stdout.Len())
	}
}

func (b *twoKeys) sidecarHolds(name string) bool {
	file := readFile(b, b.path(name))
	return string(readFile(b, b.path(name)+store.SidecarSuffix)) == store.FormatSidecar(sha256.Sum256(file), filepath.Base(name))
}

// TestReencryptBesideReaders: while backups are re-encrypted to and fro, and
// rewrapped, by several programs at once, others open them, and never see anything
// wrong.
func TestReencryptBesideReaders(t *testing.T) {
	t.Parallel()
	b := newTwoKeys(t, 3, 300_000)
	until := time.Now().Add(3 * time.Second)
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		until = time.Now().Add(60 * time.Second)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := make(map[string]int)
	loop := func(what string, do func(i int)) {
		wg.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				do(i)
				mu.Lock()
				counts[what]++
				mu.Unlock()
			}
		})
	}
	for worker := range 2 {
		loop("reencrypt", func(i int) {
			b.changes("reencrypt", "store", "--state", filepath.Join(b.tmp, fmt.Sprint("account", worker, i%2)), "--to", b.keys[i%2])
		})
	}
	loop("rewrap", func(i int) { b.changes("rewrap", "store", "--to", b.keys[i%2]) })
	loop("open", func(i int) { b.opensWithEither(b.backups[i%3]) })
	wg.Wait()
	t.Logf("%v", counts)
	for _, name := range b.backups {
		b.opensWithEither(name)
	}
	b.run(exitOK, nil, "reencrypt", "store", "--from", b.keys[0], "--from", b.keys[1], "--to", b.keys[0])
	for _, name := range b.backups {
		if !b.sidecarHolds(name) {
			t.Errorf("the sidecar of %s does not hold", name)
		}
	}
	if left := files(t, b.path("store")); len(left) != 6 {
		t.Errorf("the folder holds %q", left)
	}
}

// changes runs a command that changes the backups, next to others that do: some of
// them may have been locked, or changed meanwhile, which is told.
func (b *twoKeys) changes(args ...string) {
	r := b.start(b.program(append(args, "--quiet", "--from", b.keys[0], "--from", b.keys[1])...))
	r.Wait()
	if r.ProcessState.ExitCode() == exitOK {
		return
	}
	for line := range strings.Lines(r.stderr.String()) {
		told := strings.HasPrefix(line, "  ")
		for _, reason := range []error{rekey.ErrHeld, store.ErrBusy, store.ErrChanged} {
			told = told || strings.Contains(line, reason.Error())
		}
		if !told || r.ProcessState.ExitCode() != exitSome {
			b.Errorf("%s: %v: %s", args[0], r.ProcessState, line)
		}
	}
}

// TestReencryptDisks: a full disk and one that cannot be written fail what stands
// on them, a backup that is locked or cannot be read too, and the others go on.
func TestReencryptDisks(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	b := newTwoKeys(t, 2, 100_000)
	full, sealedOff := mount(t, "tmpfs", "tmpfs", 0, "size=1m"), mount(t, "tmpfs", "tmpfs", 0, "size=1m")
	for _, dir := range []string{full, sealedOff} {
		for _, name := range []string{"0.enc", "0.enc.sha256"} {
			writeFile(t, filepath.Join(dir, name), readFile(t, b.path("store/"+name)))
		}
	}
	// Room for half a backup.
	writeFile(t, filepath.Join(full, "filler"), make([]byte, 1<<20-200_000))
	if err := syscall.Mount("", sealedOff, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	before := readFile(t, b.path("store/0.enc"))
	for _, dir := range []string{full, sealedOff} {
		b.run(exitStore, nil, "reencrypt", filepath.Join(dir, "0.enc"), "--to", b.keys[1])
		for _, left := range files(t, dir) {
			if left != "0.enc" && left != "0.enc.sha256" && left != "filler" {
				t.Errorf("%s is left", left)
			}
		}
		if !bytes.Equal(readFile(t, filepath.Join(dir, "0.enc")), before) {
			t.Error("the backup changed")
		}
	}
	lock, err := rekey.Take(filepath.Join(b.stateHome(), "takumi-backup"), b.path("store/1.enc"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	r := b.run(exitSome, nil, "reencrypt", full, sealedOff, "store", "--to", b.keys[1])
	r.says("no space left on device").says("read-only file system").says("another run is changing this backup").says("1 reencrypted, 0 skipped, 3 failed")
	b.opensWithEither("store/0.enc")
}

// TestReencryptStopped: a signal in the middle leaves every backup the old one or
// the new one, and nothing else; the same command then does the rest.
func TestReencryptStopped(t *testing.T) {
	t.Parallel()
	b := newTwoKeys(t, 4, 8<<20)
	want := files(t, b.dir)
	r := b.start(b.program("reencrypt", "store", "--workers", "1", "--to", b.keys[1]))
	eventually(t, "the second backup is begun", func() bool {
		_, err := os.Lstat(b.path("store/.1.enc.partial"))
		return err == nil
	})
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.exits(exitSignal).says("stopped by terminated")
	b.holds(want...)
	for _, name := range b.backups {
		b.opensWithEither(name)
	}
	again := b.run(exitOK, nil, "reencrypt", "store", "--to", b.keys[1]).says("going on with a run that was stopped: ")
	if !strings.Contains(again.stdout.String(), "skipped      store/0.enc  (done by an earlier run)") {
		t.Errorf("the second run says\n%s", again.stdout.Bytes())
	}
	for _, name := range b.backups {
		b.lossless(name, b.loaded()[1:])
	}
	b.holds(want...)
}

func (b *twoKeys) stateHome() string {
	for _, variable := range slices.Backward(b.env) {
		if dir, found := strings.CutPrefix(variable, "XDG_STATE_HOME="); found {
			return dir
		}
	}
	b.Fatal("there is no state folder")
	return ""
}

// TestReencryptSpeed compares, in one run, reencrypt with the commands that would do the
// same without a proof: they too put the new file in the place of the old one. What the
// proof takes is what reading takes.
func TestReencryptSpeed(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run this test")
	}
	b := newTwoKeys(t, 0, 16)
	b.exe = releaseBuild(t)
	size := int64(1 << 30)
	seal := b.program("seal", "--codec", "none", "-o", "store/0.enc")
	seal.Stdin = io.LimitReader(zeros{}, size)
	b.start(seal).exits(exitOK)
	if err := os.Mkdir(b.path("new"), 0o700); err != nil {
		t.Fatal(err)
	}
	pipe := func() {
		cmd := b.command("sh", "-c", `"$0" open --packed store/0.enc --key "$1" | "$0" seal --codec none --key "$1" -q -o new/0.enc && mv new/* store`, b.exe, b.keys[0])
		b.start(cmd).exits(exitOK)
	}
	reencrypt := func() {
		b.run(exitOK, nil, "reencrypt", "-q", "store/0.enc", "--to", b.keys[0])
	}
	read := func() {
		b.start(b.command("sh", "-c", `"$0" open --packed store/0.enc --key "$1" >/dev/null`, b.exe, b.keys[0])).exits(exitOK)
	}
	timed := func(do func()) float64 {
		began := time.Now()
		do()
		return time.Since(began).Seconds()
	}
	piped, whole, back := math.Inf(1), math.Inf(1), math.Inf(1) // the best of the rounds
	for range 9 {
		p := timed(pipe)
		w, r := timed(reencrypt), timed(read)
		t.Logf("open | seal %.2f s, reencrypt %.2f s, reading alone %.2f s: ratio %.2f, and %.2f without the read-back", p, w, r, p/w, p/(w-r))
		piped, whole, back = min(piped, p), min(whole, w), min(back, r)
	}
	t.Logf("in all: ratio %.2f, and %.2f without the read-back", piped/whole, piped/(whole-back))
	if piped/whole < 0.7 || piped/(whole-back) < 1 {
		t.Error("want 0.7, and 1 without the read-back")
	}
}

// zeros is an endless source.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
