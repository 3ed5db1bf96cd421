package history

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func TestRotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	v := newVault(1)
	first := v.current()
	r := mustRotate(t, dir, v, Options{})
	second := v.current()
	if r.Provider != place || r.Old != first || r.New != second || first == second || r.Finished || len(r.Notes) != 0 {
		t.Errorf("got %+v", r)
	}
	if want := today.Add(180 * 24 * time.Hour); !r.NextDue.Equal(want) {
		t.Errorf("next due %v, want %v", r.NextDue, want)
	}
	if want := today.Add(30 * 24 * time.Hour); !r.DestroyAfter.Equal(want) {
		t.Errorf("destroy after %v, want %v", r.DestroyAfter, want)
	}
	later := today.Add(200 * 24 * time.Hour)
	mustRotate(t, dir, v, Options{Now: later, Grace: time.Hour, MaxAge: time.Hour})
	agrees(t, dir, v)
	for n, want := range []Record{
		{ID: first, Provider: place, Created: made, Retired: today, DestroyAfter: today.Add(30 * 24 * time.Hour)},
		{ID: second, Provider: place, Created: today, Activated: today, Retired: later, DestroyAfter: later.Add(time.Hour)},
		{ID: v.current(), Provider: place, Created: later, Activated: later},
	} {
		if got := read(t, dir).Records()[n]; got != want {
			t.Errorf("record %d is %+v, want %+v", n, got, want)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range v.keys {
		if strings.Contains(strings.ToLower(string(text)), hex.EncodeToString(k.Bytes())[:16]) {
			t.Error("the history holds a key")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestDryRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	v := newVault(1)
	r, err := Rotate(t.Context(), read(t, dir), v, Options{DryRun: true})
	if err != nil || r.Old != v.current() || r.New != "" || len(v.keys) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	other := kek.Generate()
	if _, err := Put(t.Context(), read(t, dir), v, other, Options{DryRun: true, Replace: true}); err != nil || len(v.keys) != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("a dry run made the folder")
	}
}

// script runs Rotate or Put with every step passing through step and fail.
func script(t *testing.T, dir string, v *vault, call func(*History) error) error {
	h, err := Open(dir)
	if err != nil {
		return err
	}
	defer h.Close() // as the kernel does for a process that was killed
	real := sys
	defer func() { sys = real }()
	sys.create = func(path string) (file, error) {
		f, err := real.create(path)
		return committing{f, v}, err
	}
	return call(h)
}

// committing is a file whose Commit passes through the steps of a vault.
type committing struct {
	file
	v *vault
}

func (c committing) Commit() (r store.Result, err error) {
	if err := c.v.event("write"); err != nil {
		return r, err
	}
	if r, err = c.file.Commit(); err != nil {
		return r, err
	}
	return r, c.v.event("written")
}

// TestKilled lets Rotate and Put die, and fail, at every step, and once more in
// the run after that, and then runs them to the end.
func TestKilled(t *testing.T) {
	type killed struct{}
	die := func(f func() error) (err error) {
		defer func() {
			if p := recover(); p != nil {
				if p != (killed{}) {
					panic(p)
				}
				err = errors.New("killed")
			}
		}()
		return f()
	}
	key := kek.Generate()
	calls := map[string]func(v *vault) func(h *History) error{
		"rotate": func(v *vault) func(h *History) error {
			return func(h *History) error { _, err := Rotate(t.Context(), h, v, Options{}); return err }
		},
		"put": func(v *vault) func(h *History) error {
			return func(h *History) error { _, err := Put(t.Context(), h, v, key, Options{Replace: true}); return err }
		},
	}
	for name, call := range calls {
		for _, how := range []string{"dies", "fails"} {
			for first := 1; ; first++ {
				interrupted := false
				for second := 1; ; second++ {
					what := fmt.Sprintf("%s %s at %d and %d", name, how, first, second)
					dir, v := t.TempDir(), newVault(2)
					old := v.current()
					again := false
					for run, at := range []int{first, second} {
						steps := 0
						hit := func(string) error {
							if steps++; steps == at {
								return errInjected
							}
							return nil
						}
						if how == "dies" {
							v.step = func(s string) {
								if hit(s) != nil {
									panic(killed{})
								}
							}
						} else {
							v.fail = hit
						}
						again = die(func() error { return script(t, dir, v, call(v)) }) != nil
						interrupted = interrupted || again && run == 0
						v.step, v.fail = nil, nil
						if v.keys[1].ID() != old {
							t.Fatalf("%s: the former key is lost", what)
						}
					}
					if again { // the same command once more
						if err := script(t, dir, v, call(v)); err != nil {
							t.Fatalf("%s: %v", what, err)
						}
					}
					agreesAfterKill(t, what, dir, v)
					if !again {
						break
					}
				}
				if !interrupted {
					break
				}
			}
		}
	}
}

// agreesAfterKill is agrees for a place whose first key the history never saw.
func agreesAfterKill(t *testing.T, what, dir string, v *vault) {
	t.Helper()
	seen := &vault{keys: v.keys[1:]}
	before := t.Failed()
	agrees(t, dir, seen)
	if t.Failed() && !before {
		t.Fatal(what)
	}
}

// TestFinish: a key that was stored is not followed by a further one.
func TestFinish(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	old := v.current()
	v.fail = func(s string) error {
		if s == "stored" {
			return errInjected
		}
		return nil
	}
	if _, err := rotate(t, dir, v, Options{}); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	v.fail = nil
	stored := v.current()
	later := today.Add(time.Hour)
	if r, err := Rotate(t.Context(), read(t, dir), v, Options{DryRun: true, Now: later}); err != nil || !r.Finished || r.New != stored {
		t.Errorf("a dry run: %+v, %v", r, err)
	}
	r := mustRotate(t, dir, v, Options{Now: later})
	if !r.Finished || r.Old != old || r.New != stored || v.current() != stored || !r.NextDue.Equal(today.Add(DefaultMaxAge)) || !r.DestroyAfter.Equal(later.Add(DefaultGrace)) {
		t.Errorf("got %+v", r)
	}
	agrees(t, dir, v)
}

// TestLateArrival: a request that came to nothing, as its sender thought, is
// carried out after a later one of the same place has been written down.
func TestLateArrival(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	v.fail = func(string) error { return errInjected }
	lost := kek.Generate()
	rotate(t, dir, v, Options{generate: func() *kek.Key { k, _ := kek.New(lost.Bytes()); return k }})
	rotate(t, dir, v, Options{})
	v.fail = nil
	v.put(lost)
	if r := mustRotate(t, dir, v, Options{}); !r.Finished || r.New != lost.ID() {
		t.Errorf("got %+v", r)
	}
	agrees(t, dir, v)
}

// TestManyTries: however often it is tried, the file stays bounded.
func TestManyTries(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	v.fail = func(string) error { return errInjected }
	for range maxIntents + 5 {
		if _, err := rotate(t, dir, v, Options{}); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
	}
	if n := len(read(t, dir).Unfinished()); n != maxIntents {
		t.Errorf("%d tries are remembered", n)
	}
	v.fail = nil
	mustRotate(t, dir, v, Options{})
	agrees(t, dir, v)
}

func TestChangedByOthers(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	v.fail = func(string) error { return errInjected }
	rotate(t, dir, v, Options{})
	v.fail = nil
	v.put(kek.Generate())
	if _, err := rotate(t, dir, v, Options{}); !errors.Is(err, keystore.ErrConflict) || !strings.Contains(err.Error(), "--adopt") {
		t.Errorf("got %v", err)
	}
	r := mustRotate(t, dir, v, Options{Adopt: true})
	if len(r.Notes) != 1 {
		t.Errorf("got %+v", r)
	}
	agrees(t, dir, v)

	// Without a rotation in between it is no more than remarkable.
	v.put(kek.Generate())
	if r := mustRotate(t, dir, v, Options{}); len(r.Notes) != 1 {
		t.Errorf("got %+v", r)
	}
	agrees(t, dir, v)

	// While the rotation runs.
	v.step = func(s string) {
		if s == "store" {
			v.put(kek.Generate())
		}
	}
	if _, err := rotate(t, dir, v, Options{}); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// TestNeverUsedBefore: a generator that repeats itself does not get through.
func TestNeverUsedBefore(t *testing.T) {
	fresh := kek.Generate()
	for name, tc := range map[string]struct {
		keys  func(dir string, v *vault) // what has the key already
		inUse bool
	}{
		"in the place":   {keys: func(_ string, v *vault) { v.keys = append([]*kek.Key{fresh}, v.keys...) }},
		"in a backup":    {inUse: true, keys: func(string, *vault) {}},
		"in the history": {keys: func(dir string, _ *vault) { elsewhere(t, dir, fresh) }},
	} {
		for _, tries := range []int{1, 100} { // how often the generator gives it
			dir, v := t.TempDir(), newVault(1)
			tc.keys(dir, v)
			old := v.current()
			given := 0
			_, err := rotate(t, dir, v, Options{
				InUse: func(id kek.ID) bool { return tc.inUse && id == fresh.ID() },
				generate: func() *kek.Key {
					if given++; given > tries {
						return kek.Generate()
					}
					k, _ := kek.New(fresh.Bytes())
					return k
				},
			})
			if tries == 1 && (err != nil || v.current() == old || v.current() == fresh.ID()) {
				t.Errorf("%s: %v, the key is %s", name, err, v.current())
			}
			if tries > 1 && (err == nil || v.current() != old) {
				t.Errorf("%s: %v, the key is %s", name, err, v.current())
			}
		}
	}
}

// elsewhere records a key of another place.
func elsewhere(t *testing.T, dir string, key *kek.Key) {
	t.Helper()
	h := open(t, dir)
	defer h.Close()
	doc := h.doc.clone()
	doc.activate(Record{ID: key.ID(), Provider: "fake:elsewhere"}, "", Options{Now: today})
	if err := h.save(doc); err != nil {
		t.Fatal(err)
	}
}

func TestPut(t *testing.T) {
	dir, v := t.TempDir(), newVault(0)
	a, b := kek.Generate(), kek.Generate()
	put := func(key *kek.Key, o Options) (*Result, error) {
		t.Helper()
		h := open(t, dir)
		defer h.Close()
		o.Now = today
		return Put(t.Context(), h, v, key, o)
	}
	if r, err := put(a, Options{}); err != nil || r.Old != "" || r.New != a.ID() || r.Unchanged {
		t.Errorf("into an empty place: %+v, %v", r, err)
	}
	if r, err := put(a, Options{}); err != nil || !r.Unchanged || len(v.keys) != 1 {
		t.Errorf("again: %+v, %v", r, err)
	}
	if _, err := put(b, Options{}); !errors.Is(err, keystore.ErrConflict) || v.current() != a.ID() {
		t.Errorf("another key: %v", err)
	}
	agrees(t, dir, v)
	if r, err := put(b, Options{Replace: true}); err != nil || r.Old != a.ID() || !r.DestroyAfter.Equal(today.Add(DefaultGrace)) {
		t.Errorf("replacing: %+v, %v", r, err)
	}
	agrees(t, dir, v)
	if r, err := put(a, Options{Replace: true}); err != nil || len(r.Notes) != 1 {
		t.Errorf("a retired key: %+v, %v", r, err)
	}
	if r, _ := read(t, dir).Find(Site{URI: place}, a.ID()); !r.Live() || !r.Activated.Equal(today) {
		t.Errorf("the key that came back: %+v", r)
	}
}

// TestFileStorer: with key files, every key that was ever current can still be
// had.
func TestFileStorer(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	src := keystore.File{Path: filepath.Join(dir, "backup.key")}
	first := kek.Generate()
	if err := keystore.WriteFile(src.Path, first); err != nil {
		t.Fatal(err)
	}
	ids := []kek.ID{first.ID()}
	for range 3 {
		ids = append(ids, mustRotate(t, state, src, Options{}).New)
	}
	ring := keystore.NewRing(src)
	defer ring.Close()
	for _, id := range ids {
		keys, err := ring.Find(t.Context(), []kek.ID{id})
		if err != nil || len(keys) != 1 || keys[0].ID() != id {
			t.Errorf("key %s cannot be had any more: %v", id, err)
		}
	}
	if n := len(read(t, state).Records()); n != len(ids) {
		t.Errorf("%d records", n)
	}
}

// TestRefused: a place that refuses a key has never had a part in anything.
func TestRefused(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	v.fail = func(string) error {
		return &keystore.Error{URI: place, Kind: keystore.ErrRefused, Reason: "nobody may write here"}
	}
	for range 2 {
		if _, err := rotate(t, dir, v, Options{}); !errors.Is(err, keystore.ErrRefused) {
			t.Fatal(err)
		}
		h := open(t, dir)
		if _, err := Put(t.Context(), h, v, kek.Generate(), Options{Replace: true}); !errors.Is(err, keystore.ErrRefused) {
			t.Fatal(err)
		}
		h.Close()
		if h := read(t, dir); len(h.Records())+len(h.Unfinished()) != 0 {
			t.Errorf("the history has %+v and %+v", h.Records(), h.Unfinished())
		}
	}
	v.fail = nil
	mustRotate(t, dir, v, Options{})
	agrees(t, dir, v)
}

func TestRotateNothing(t *testing.T) {
	if _, err := rotate(t, t.TempDir(), newVault(0), Options{}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := Rotate(t.Context(), read(t, t.TempDir()), newVault(1), Options{}); err == nil {
		t.Error("a history that was opened for reading was changed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := open(t, t.TempDir())
	if _, err := Rotate(ctx, h, newVault(1), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
