package local_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// These tests hold what replaces a file against who does it: they run a whole
// rewrap over it.

var (
	oldKey, newKey, otherKey = kek.Generate(), kek.Generate(), kek.Generate()
	message                  = bytes.Repeat([]byte("a message of three chunks "), 1500)
)

// held is a source of a key that is in memory.
type held struct{ key *kek.Key }

func (h held) Load(context.Context) (*kek.Key, error) { return kek.New(h.key.Bytes()) }
func (h held) String() string                         { return "held:" + string(h.key.ID()) }

// rewrapped rewraps the backup at path.
func rewrapped(t testing.TB, state, path string, from, to *kek.Key, detached bool) error {
	ring := keystore.NewRing(held{from})
	defer ring.Close()
	_, err := rekey.Rewrap(t.Context(), path, rekey.RewrapOptions{Detached: detached, Options: rekey.Options{
		Store: local.Folder{}, StateDir: state, From: ring, To: slot.Recipients(to), Meter: new(backup.Meter),
	}})
	return err
}

// begin makes a backup for oldKey.
func begin(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.enc")
	f, err := local.Create(path, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	w, err := envelope.NewWriter(t.Context(), f, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, oldKey)
	if err == nil {
		_, err = w.Write(message)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_, err = f.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// opensWith says which of the keys open the backup to its message.
func opensWith(t testing.TB, path string, keys ...*kek.Key) (which []kek.ID) {
	t.Helper()
	var beside *envelope.Envelope
	if text, err := os.ReadFile(path + envelope.DetachedSuffix); err == nil {
		if beside, err = envelope.Parse(bytes.NewReader(text)); err != nil {
			t.Errorf("what is next to it is not whole: %v", err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		r, err := envelope.Open(t.Context(), bytes.NewReader(text), envelope.Options{Detached: beside}, k)
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, message) {
			t.Errorf("key %s opens something else: %v", k.ID(), err)
		}
		which = append(which, k.ID())
	}
	return which
}

func sidecarHolds(t testing.TB, path string) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	line, sideErr := os.ReadFile(path + store.SidecarSuffix)
	if err != nil || sideErr != nil {
		t.Fatal(err, sideErr)
	}
	return string(line) == store.FormatSidecar(sha256.Sum256(text), filepath.Base(path))
}

// TestRewrapAtEveryPoint lets each system call of a rewrap fail in turn, or the
// program die before it, or in the middle of it, from every state that an earlier
// one may have left.
func TestRewrapAtEveryPoint(t *testing.T) {
	state := t.TempDir()
	good := func(string) local.Fate { return local.Proceed }
	fate := good
	local.Interpose(t, func(op string) local.Fate { return fate(op) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, start := range []struct {
		name     string
		prepare  func(path string)
		from     *kek.Key
		detached bool
		points   int // calls, so that none goes missing unseen
	}{
		{"fresh", func(string) {}, oldKey, false, 14},
		{"over a detached one", func(path string) { must(rewrapped(t, state, path, oldKey, otherKey, true)) }, otherKey, false, 22},
		{"detached", func(string) {}, oldKey, true, 9},
	} {
		between := 0 // how often the sidecar was not that of the file
		for _, mode := range []struct {
			name  string
			fate  local.Fate
			after local.Fate
		}{
			{"fails", local.Tear, local.Proceed}, {"dies before", local.Refuse, local.Refuse}, {"dies within", local.Tear, local.Refuse},
		} {
			for point := 0; ; point++ {
				path := begin(t)
				start.prepare(path)
				count, op := 0, ""
				fate = func(call string) local.Fate {
					count++
					switch {
					case count-1 < point:
						return local.Proceed
					case count-1 == point:
						op = call
						return mode.fate
					}
					return mode.after
				}
				err := rewrapped(t, state, path, start.from, newKey, start.detached)
				fate = good
				what := fmt.Sprintf("%s, %s call %d, %s", start.name, mode.name, point, op)
				if op == "" {
					if must(err); point != start.points {
						t.Errorf("%s: %d calls, want %d", what, point, start.points)
					}
					break
				}
				if len(opensWith(t, path, start.from, newKey)) == 0 {
					t.Errorf("%s: no key opens it", what)
				}
				if !sidecarHolds(t, path) {
					between++
				}
				if err == nil && mode.name != "fails" {
					t.Errorf("%s: no error", what)
				}
				// The next run finishes, whatever there is.
				if err := rewrapped(t, state, path, start.from, newKey, start.detached); err != nil {
					t.Errorf("%s: the next run: %v", what, err)
				}
				want := []string{"x.enc", "x.enc.sha256"}
				if start.detached {
					want = append(want, "x.enc.envelope")
				}
				var names []string
				entries, _ := os.ReadDir(filepath.Dir(path))
				for _, e := range entries {
					names = append(names, e.Name())
				}
				slices.Sort(want)
				if got := opensWith(t, path, newKey); len(got) != 1 || !sidecarHolds(t, path) || !slices.Equal(names, want) {
					t.Errorf("%s: after the next run: opens with %v, sidecar %v, files %q", what, got, sidecarHolds(t, path), names)
				}
				if !start.detached && len(opensWith(t, path, start.from)) != 0 {
					t.Errorf("%s: the old key still opens it", what)
				}
			}
		}
		if between == 0 && !start.detached {
			t.Errorf("%s: nothing fell between the two renames", start.name)
		}
	}
}
