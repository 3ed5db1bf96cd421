package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// twoKeys is a sandbox with backups for the first of two keys.
type twoKeys struct {
	*sandbox
	keys    [2]string // URIs
	content []byte
	backups []string // below the working directory
}

func newTwoKeys(t *testing.T, backups, size int) *twoKeys {
	b := &twoKeys{sandbox: newSandbox(t), keys: [2]string{"file:" + keyFile(t, mainKey), "file:" + keyFile(t, otherKey)}}
	b.patience = 10 * time.Minute
	b.env = append(b.env, "XDG_STATE_HOME="+t.TempDir())
	b.content = bytes.Repeat([]byte("what was sealed "), size/16)
	if err := os.MkdirAll(b.path("store"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range backups {
		name := fmt.Sprintf("store/%d.enc", i)
		b.seal(b.content, "--codec", "none", "-o", name)
		b.backups = append(b.backups, name)
	}
	return b
}

func (b *twoKeys) loaded() (keys []*kek.Key) {
	b.Helper()
	for _, uri := range b.keys {
		key, err := keystore.File{Path: strings.TrimPrefix(uri, "file:")}.Load(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// lossless checks a backup that may have been left in the middle of a rewrap.
func (b *twoKeys) lossless(name string, keys []*kek.Key) {
	b.Helper()
	file := readFile(b, b.path(name))
	r, err := envelope.Open(b.Context(), bytes.NewReader(file), envelope.Options{}, slot.Identities(keys...)...)
	if err != nil {
		b.Errorf("%s does not open: %v", name, err)
		return
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b.content) {
		b.Errorf("%s opens to %d bytes: %v", name, len(got), err)
	}
	line := string(readFile(b, b.path(name)+store.SidecarSuffix))
	if want := store.FormatSidecar(sha256.Sum256(file), filepath.Base(name)); line != want {
		if staged, _ := os.ReadFile(local.Partial(b.path(name) + store.SidecarSuffix)); string(staged) != want {
			b.Errorf("%s: its sidecar does not hold, and is not about to be renewed", name)
		}
	}
}

// TestRewrapKilled kills rewrap at random moments, half of them while a new file is
// written. Each time every backup opens, and the same command then finishes what was
// begun.
func TestRewrapKilled(t *testing.T) {
	t.Parallel()
	kills := 10
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		kills = 50
	}
	b := newTwoKeys(t, 4, 1<<20)
	keys := b.loaded()
	to := 0
	rewrap := func() *running {
		return b.start(b.program("rewrap", "store", "--from", b.keys[0], "--from", b.keys[1], "--to", b.keys[to]))
	}
	to = 1
	began := time.Now()
	rewrap().exits(exitOK)
	whole := time.Since(began)
	want := files(t, b.dir)
	midway := 0
	for kill := range kills {
		to = kill % 2
		r := rewrap()
		if kill/2%2 == 0 {
			time.Sleep(rand.N(whole))
		} else {
			partial := local.Partial(b.path(b.backups[rand.N(len(b.backups))]))
			for deadline := time.Now().Add(whole * 2); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
				if _, err := os.Lstat(partial); err == nil {
					break
				}
			}
			time.Sleep(rand.N(10 * time.Millisecond))
		}
		r.Process.Signal(syscall.SIGKILL)
		r.Wait()
		for _, name := range b.backups {
			b.lossless(name, keys)
		}
		if len(files(t, b.dir)) != len(want) {
			midway++
		}
		rewrap().exits(exitOK)
		for _, name := range b.backups {
			b.lossless(name, keys[to:to+1])
		}
		b.holds(want...)
	}
	t.Logf("%d kills, %d of them with work half done", kills, midway)
}

// TestRewrapBesideReaders: while backups are rewrapped to and fro, by two programs
// at once, others open and verify them, and never see anything wrong.
func TestRewrapBesideReaders(t *testing.T) {
	t.Parallel()
	b := newTwoKeys(t, 3, 300_000)
	until := time.Now().Add(3 * time.Second)
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		until = time.Now().Add(60 * time.Second)
	}
	ring := keystore.NewRing(keystore.File{Path: strings.TrimPrefix(b.keys[0], "file:")}, keystore.File{Path: strings.TrimPrefix(b.keys[1], "file:")})
	defer ring.Close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	rewraps, opens, verifies := 0, 0, 0
	loop := func(count *int, do func(i int)) {
		wg.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				do(i)
				mu.Lock()
				*count++
				mu.Unlock()
			}
		})
	}
	for range 2 {
		loop(&rewraps, func(i int) {
			r := b.start(b.program("rewrap", "store", "--quiet", "--from", b.keys[0], "--from", b.keys[1], "--to", b.keys[i%2]))
			r.Wait()
			if code := r.ProcessState.ExitCode(); code != exitOK && !(code == exitSome && strings.Contains(r.stderr.String(), rekey.ErrHeld.Error())) {
				b.Errorf("rewrap: exit code %d: %s", code, r.stderr.Bytes())
			}
		})
	}
	loop(&opens, func(i int) {
		r := b.run(exitOK, nil, "open", "--key", b.keys[0], "--key", b.keys[1], b.backups[i%3])
		if !bytes.Equal(r.stdout.Bytes(), b.content) {
			b.Errorf("it opens to %d bytes", r.stdout.Len())
		}
	})
	loop(&verifies, func(i int) {
		if err := backup.Prove(b.Context(), local.Folder{}, b.path(b.backups[i%3]), backup.Options{Keys: ring}); err != nil {
			b.Errorf("verify: %v", err)
		}
	})
	wg.Wait()
	t.Logf("%d rewraps of 3 backups, %d opened, %d verified", rewraps, opens, verifies)
	for _, name := range b.backups {
		b.lossless(name, b.loaded())
	}
	b.run(exitOK, nil, "rewrap", "store", "--from", b.keys[0], "--from", b.keys[1], "--to", b.keys[0])
	if left := files(t, b.path("store")); len(left) != 6 {
		t.Errorf("the folder holds %q", left)
	}
}

// TestRewrapDisks: a full disk and one that cannot be written fail what is on
// them, as a store does, and the others go on.
func TestRewrapDisks(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	b := newTwoKeys(t, 1, 1000)
	full, sealedOff := mount(t, "tmpfs", "tmpfs", 0, "size=1m"), mount(t, "tmpfs", "tmpfs", 0, "size=1m")
	for _, dir := range []string{full, sealedOff} {
		for _, name := range []string{"0.enc", "0.enc.sha256"} {
			writeFile(t, filepath.Join(dir, name), readFile(t, b.path("store/"+name)))
		}
	}
	if err := os.WriteFile(filepath.Join(full, "filler"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := syscall.Mount("", sealedOff, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{full, sealedOff} {
		b.run(exitStore, nil, "rewrap", filepath.Join(dir, "0.enc"), "--to", b.keys[1])
		for _, left := range files(t, dir) {
			if left != "0.enc" && left != "0.enc.sha256" && left != "filler" {
				t.Errorf("%s is left", left)
			}
		}
	}
	r := b.run(exitSome, nil, "rewrap", full, sealedOff, "store", "--to", b.keys[1])
	r.says("no space left on device").says("read-only file system").says("1 rewrapped, 0 skipped, 2 failed")
}
