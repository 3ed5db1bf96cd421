package replicate_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// seed gives a key made of a number.
type seed int

func (s seed) Load(context.Context) (*kek.Key, error) {
	material := sha256.Sum256([]byte(fmt.Sprint("key ", int(s))))
	return kek.New(material[:])
}
func (s seed) String() string { return fmt.Sprint("test:", int(s)) }

// world is a store, a copy of it, and the keys that are at hand.
type world struct {
	t     *testing.T
	state string
	here  string
	there string
	hand  []keystore.Source
	next  int
	clock time.Time
	// How replicate finds out which of two was rewrapped: by the clocks of the stores,
	// or where they are wrong by its memory or the keys at hand.
	by   string
	skew time.Duration // of the clock of the store
}

// options are those of a replicate, and close releases them.
func (w *world) options() (o replicate.Options, close func()) {
	o = replicate.Options{Place: local.Folder{}}
	switch w.by {
	case "memory":
		var err error
		if o.Memory, err = replicate.OpenMemory(w.state); err != nil {
			w.t.Fatal(err)
		}
	case "keys":
		o.Keys = keystore.NewRing(w.hand...)
		return o, o.Keys.Close
	}
	return o, func() {}
}

// opens reports which of the files open with the keys at hand.
func (w *world) opens(keys []keystore.Source) map[string]bool {
	ring := keystore.NewRing(keys...)
	defer ring.Close()
	open := make(map[string]bool)
	for _, dir := range []string{w.here, w.there} {
		path := filepath.Join(dir, "x.enc")
		open[path] = backup.Prove(w.t.Context(), local.Folder{}, path, backup.Options{Keys: ring}) == nil
	}
	return open
}

// tick sets the time of what a step wrote, so that steps are not of one moment.
func (w *world) tick(dir string) {
	w.clock = w.clock.Add(time.Minute)
	at := w.clock
	if dir == w.here {
		at = at.Add(w.skew)
	}
	for _, name := range []string{"x.enc", "x.enc.envelope"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) < 10*time.Minute {
			if err := os.Chtimes(path, at, at); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// step does one thing at random, and says what.
func (w *world) step(rng *rand.Rand) string {
	switch rng.IntN(5) {
	case 0, 1:
		o, done := w.options()
		defer done()
		items, err := replicate.Plan(w.t.Context(), w.here, w.there, o)
		if err != nil {
			w.t.Fatal(err)
		}
		said := "replicate"
		for _, i := range items {
			_, err := replicate.One(w.t.Context(), i, o, func(int) {})
			said = fmt.Sprintf("replicate: %s, %v", i.Action, err)
		}
		w.tick(w.there)
		return said
	case 2, 3:
		dir := []string{w.here, w.there}[rng.IntN(2)]
		to := keystore.Source(seed(w.next))
		w.next++
		if rng.IntN(3) == 0 {
			to = w.hand[rng.IntN(len(w.hand))]
		}
		from := w.hand
		w.hand = append(w.hand[:len(w.hand):len(w.hand)], to)
		ring := keystore.NewRing(from...)
		defer ring.Close()
		key, err := to.Load(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		o := rekey.RewrapOptions{KeepOld: rng.IntN(4) == 0, Detached: rng.IntN(2) == 0}
		o.Store, o.StateDir, o.From, o.To = local.Folder{}, w.state, ring, slot.Recipients(key)
		o.Meter = new(backup.Meter)
		_, err = rekey.Rewrap(w.t.Context(), filepath.Join(dir, "x.enc"), o)
		w.tick(dir)
		return fmt.Sprintf("rewrap %s to %v, keep %v, detached %v: %v", filepath.Base(dir), to, o.KeepOld, o.Detached, err)
	}
	// A key is retired as key retire does it: when all opens without it.
	n := rng.IntN(len(w.hand))
	rest := append(w.hand[:n:n], w.hand[n+1:]...)
	if len(rest) == 0 {
		return "retire nothing"
	}
	for _, ok := range w.opens(rest) {
		if !ok {
			return fmt.Sprintf("retire %v: needed", w.hand[n])
		}
	}
	said := fmt.Sprintf("retire %v", w.hand[n])
	w.hand = rest
	return said
}

// TestNoCopyGetsWorse: whatever is done to a store and its copy, in whatever order, what
// opens with the keys at hand opens after the next step too. 150 sequences; 1,000 in a long
// run, 10,000 with TAKUMI_TEST_LONG=full.
func TestNoCopyGetsWorse(t *testing.T) {
	sequences := 150
	switch os.Getenv("TAKUMI_TEST_LONG") {
	case "":
	case "full":
		sequences = 10_000
	default:
		sequences = 1000
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	for n := range sequences {
		rng := rand.New(rand.NewPCG(uint64(n), 2026))
		dir, err := os.MkdirTemp("", "model")
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, state: filepath.Join(dir, "state"), here: filepath.Join(dir, "here"), there: filepath.Join(dir, "there"),
			hand: []keystore.Source{seed(0)}, next: 1, clock: time.Now().Add(-24 * time.Hour)}
		w.by = []string{"clocks", "memory", "keys"}[n%3]
		if w.by != "clocks" {
			w.skew = []time.Duration{-6 * time.Hour, 6 * time.Hour}[n%2]
		}
		key, _ := seed(0).Load(t.Context())
		j := backup.Job{
			Source: backup.From(io.LimitReader(rand.NewChaCha8([32]byte{byte(n)}), 20_000)), Unguarded: true, Kind: backup.KindStream, Created: time.Now(),
			Pack: pack.Options{Codec: pack.None}, Recipients: slot.Recipients(key),
			Store: local.Folder{}, To: backup.Dest{Path: filepath.Join(w.here, "x.enc")},
		}
		if err := os.MkdirAll(w.here, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Run(t.Context(), backup.Observer{}); err != nil {
			t.Fatal(err)
		}
		w.tick(w.here)
		var log []string
		before := w.opens(w.hand)
		for range 8 {
			log = append(log, w.step(rng))
			after := w.opens(w.hand)
			for path, ok := range before {
				if ok && !after[path] {
					t.Fatalf("sequence %d: %s opened, and opens no more, after %q", n, path, log)
				}
			}
			before = after
		}
		os.RemoveAll(dir)
	}
}
