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

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// TestRotateKilled kills key rotate at random moments. Whenever that is, the same
// command then finishes, and every backup that was ever sealed opens.
func TestRotateKilled(t *testing.T) {
	t.Parallel()
	kills := 30
	if os.Getenv("TAKUMI_TEST_LONG") == "1" {
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

	begun, stored := 0, 0 // the two moments that matter
	for n := range kills {
		rotate := b.start(b.program("key", "rotate"))
		time.Sleep(rand.N(whole + whole/4))
		rotate.Process.Kill()
		rotate.Wait()
		switch left, current := leftBy(t, state, key); {
		case left == nil:
		case left.New == current:
			stored++
		case left.Old == current:
			begun++
		default:
			t.Fatalf("kill %d left key %s and %+v", n+1, current, left)
		}
		if n%3 == 0 { // work goes on as if nothing had happened
			seal()
		}
		started := time.Now()
		b.run(exitOK, nil, "key", "rotate")
		whole = time.Since(started) // it grows with the number of former keys
		if n%3 == 1 {
			seal()
		}
		if t.Failed() {
			t.Fatalf("after kill %d", n+1)
		}
	}
	seal()
	t.Logf("of %d kills, %d came after a rotation was begun, and %d more after the new key was stored and before that was recorded", kills, begun, stored)

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
	r, err := envelope.Open(f, envelope.Options{Find: func(wanted []kek.ID) ([]*kek.Key, error) { return ring.Find(t.Context(), wanted) }})
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
