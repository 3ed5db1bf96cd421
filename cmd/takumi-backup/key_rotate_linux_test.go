package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// TestRotateKilled kills key rotate at random moments, and as often at each of the
// two that matter: when a rotation was begun, and when the new key was stored and
// that is not recorded yet. Whenever it is, the same command then finishes, and
// every backup that was ever sealed opens.
func TestRotateKilled(t *testing.T) {
	t.Parallel()
	kills := 30
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		kills = 500
	}
	b := newSandbox(t)
	b.patience = 10 * time.Minute
	keys, state := t.TempDir(), t.TempDir()
	key := filepath.Join(keys, "backup.key")
	if err := keystore.WriteFile(key, kek.Generate()); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "BACKUP_ENCRYPTION_KEY_FILE="+key, "XDG_STATE_HOME="+state)

	var sealed []string
	seal := func() {
		t.Helper()
		path := fmt.Sprintf("store/%04d.enc", len(sealed))
		b.seal([]byte(path), "-o", b.path(path))
		sealed = append(sealed, b.path(path))
	}
	if err := os.MkdirAll(b.path("store"), 0o700); err != nil {
		t.Fatal(err)
	}
	seal()
	started := time.Now()
	b.run(exitOK, nil, "key", "rotate")
	whole := time.Since(started)
	seal()

	// Each gets ready before the program starts, and returns how to wait for the
	// moment, and what to do after the kill.
	moments := []func() (wait, after func()){
		func() (wait, after func()) { return func() { time.Sleep(rand.N(whole + whole/4)) }, func() {} },
		func() (wait, after func()) {
			release := holdFolder(t, keys)
			return func() { untilBegun(t, state) }, release
		},
		func() (wait, after func()) {
			release := holdFolder(t, keys)
			taken := filepath.Join(state, "takumi-backup", "."+history.FileName+".partial")
			return func() { untilBegun(t, state); takeFile(t, taken); untilStored(t, key, release) }, func() { os.Remove(taken) }
		},
	}
	count := make(map[string]int)
	for n := range kills {
		wait, after := moments[n%len(moments)]()
		rotate := b.start(b.program("key", "rotate"))
		wait()
		rotate.Process.Kill()
		rotate.Wait()
		after()
		left, current := leftBy(t, state, key)
		found := ""
		switch {
		case left == nil:
		case left.New == current:
			found = "stored"
		case left.Old == current:
			found = "begun"
		default:
			t.Fatalf("kill %d left key %s and %+v", n+1, current, left)
		}
		if want := []string{found, "begun", "stored"}[n%len(moments)]; found != want {
			t.Errorf("kill %d came when the rotation was %q, want %q", n+1, found, want)
		}
		count[found]++
		if n%4 == 0 { // work goes on as if nothing had happened
			seal()
		}
		started := time.Now()
		b.run(exitOK, nil, "key", "rotate")
		whole = time.Since(started) // it grows with the number of former keys
		if n%4 == 1 {
			seal()
		}
		if t.Failed() {
			t.Fatalf("after kill %d", n+1)
		}
	}
	seal()
	t.Logf("of %d kills, %d came after a rotation was begun, and %d more after the new key was stored and before that was recorded", kills, count["begun"], count["stored"])

	ring := keystore.NewRing(keystore.File{Path: key})
	defer ring.Close()
	for _, path := range sealed {
		if err := opensWith(t, ring, path, strings.TrimPrefix(path, b.dir+"/")); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, _ := leftBy(t, state, key); left != nil {
		t.Errorf("left unfinished: %+v", left)
	}
	if n := len(files(t, b.tmp)); n != 0 {
		t.Errorf("TMPDIR holds %d files", n)
	}
}

// holdFolder keeps the program from changing keys in dir until release.
func holdFolder(t *testing.T, dir string) (release func()) {
	t.Helper()
	folder, err := os.Open(dir)
	if err == nil {
		err = unix.Flock(int(folder.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { folder.Close() }
}

// untilBegun waits until the history says that a rotation was begun.
func untilBegun(t *testing.T, state string) {
	t.Helper()
	eventually(t, "a rotation is begun", func() bool {
		h, err := history.Read(filepath.Join(state, "takumi-backup"))
		if err != nil {
			t.Fatal(err)
		}
		return len(h.Unfinished()) > 0
	})
}

// takeFile makes a file and holds it: where the next history is to be written, so
// that the program cannot record what it did.
func takeFile(t *testing.T, path string) {
	t.Helper()
	taken, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		err = unix.Flock(int(taken.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
}

// untilStored lets the program change the key and waits until it has.
func untilStored(t *testing.T, key string, release func()) {
	t.Helper()
	before, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	release()
	eventually(t, "the new key is stored", func() bool {
		now, err := os.Stat(key)
		return err == nil && !os.SameFile(before, now)
	})
}

// leftBy returns the rotation that a run has left unfinished, if any, and the
// key that is current now. Whatever was killed, the history says what is true.
func leftBy(t *testing.T, state, key string) (*history.Intent, kek.ID) {
	t.Helper()
	h, err := history.Read(filepath.Join(state, "takumi-backup"))
	if err != nil {
		t.Fatal(err)
	}
	current, err := keystore.File{Path: key}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := h.Unfinished(); len(left) > 0 {
		return &left[len(left)-1], current.ID()
	}
	for _, r := range h.Records() {
		if r.Live() != (r.ID == current.ID()) {
			t.Errorf("the history says of key %s that it is current: %v", r.ID, r.Live())
		}
	}
	return nil, current.ID()
}

// opensWith opens a backup with whatever the ring has for it.
func opensWith(t *testing.T, ring *keystore.Ring, path, want string) error {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := envelope.Open(t.Context(), f, envelope.Options{Find: ring.Identities})
	if err != nil {
		return err
	}
	var got bytes.Buffer
	var meter backup.Meter
	if err := backup.Unseal(&got, r, false, &meter); err != nil {
		return err
	}
	if got.String() != want {
		return fmt.Errorf("it holds %q, want %q", got.String(), want)
	}
	return nil
}
