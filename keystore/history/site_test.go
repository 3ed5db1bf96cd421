package history

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// server is a vault of which there are others with the same URIs.
type server struct {
	*vault
	at string
}

func (s server) Place(context.Context) (string, error) {
	if s.current() == "" && s.at == "unnamed" {
		return "", &keystore.Error{URI: s.String(), Kind: keystore.ErrNotFound, Reason: "nothing is there"}
	}
	return "https://" + s.at, nil
}

// alias is the same place by another URI.
type alias struct{ server }

func (alias) String() string { return "fake:alias" }

// judged tells by the id which keys are current, and which may be destroyed a
// long time from now.
func judged(t *testing.T, dir string) (live, doomed map[kek.ID]bool) {
	t.Helper()
	live, doomed = make(map[kek.ID]bool), make(map[kek.ID]bool)
	for _, j := range read(t, dir).Judge([]Backup{{Path: "/b"}}, today.Add(100*DefaultMaxAge)) {
		if _, twice := live[j.ID]; twice {
			t.Errorf("key %s is there twice", j.ID)
		}
		live[j.ID], doomed[j.ID] = j.Live(), j.MayBeDestroyed
	}
	return live, doomed
}

// TestTwoPlaces: a key that is in use in one place is not retired by what happens
// in another one of the same URI.
func TestTwoPlaces(t *testing.T) {
	dir := t.TempDir()
	one, two := server{newVault(1), "one"}, server{newVault(1), "two"}
	for range 2 {
		mustRotate(t, dir, one, Options{})
		if r := mustRotate(t, dir, two, Options{}); len(r.Notes) != 0 {
			t.Errorf("got %q", r.Notes)
		}
	}
	live, doomed := judged(t, dir)
	for _, s := range []server{one, two} {
		for n, k := range s.keys {
			current := n == len(s.keys)-1
			if live[k.ID()] != current || doomed[k.ID()] == current {
				t.Errorf("%s, key %d: current: %v, may be destroyed: %v", s.at, n, live[k.ID()], doomed[k.ID()])
			}
		}
	}
	// And what was begun in one says nothing of the other.
	one.fail = func(string) error { return errInjected }
	rotate(t, dir, one, Options{})
	one.fail = nil
	mustRotate(t, dir, two, Options{})
	if left := read(t, dir).Unfinished(); len(left) != 1 || left[0].Place != "https://one" || left[0].Command != CommandRotate {
		t.Errorf("left unfinished: %+v", left)
	}
	mustRotate(t, dir, one, Options{})
}

// TestOnePlace: a place is one, however its URI is written.
func TestOnePlace(t *testing.T) {
	dir := t.TempDir()
	s := server{newVault(1), "one"}
	mustRotate(t, dir, s, Options{})
	if r := mustRotate(t, dir, alias{s}, Options{}); len(r.Notes) != 0 {
		t.Errorf("got %q", r.Notes)
	}
	agrees(t, dir, s.vault)
}

// TestPlaceLearned: a history of an older version names no places. Its keys get
// theirs when they are found, and none is retired for being elsewhere.
func TestPlaceLearned(t *testing.T) {
	dir := t.TempDir()
	one, two := server{newVault(1), "one"}, server{newVault(1), "two"}
	mustRotate(t, dir, one.vault, Options{}) // which says nothing of a place
	inOne := one.current()
	if r := mustRotate(t, dir, two, Options{}); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], string(inOne)) {
		t.Errorf("got %q", r.Notes)
	}
	if _, doomed := judged(t, dir); doomed[inOne] {
		t.Error("a key that is in use elsewhere may be destroyed")
	}
	mustRotate(t, dir, one, Options{})
	live, doomed := judged(t, dir)
	if !live[one.current()] || !live[two.current()] || live[inOne] || !doomed[inOne] {
		t.Errorf("current: %v; may be destroyed: %v", live, doomed)
	}
}

// TestLost: a key that gave way to one that this program did not put there may not
// be destroyed, until somebody says that it was replaced.
func TestLost(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string, v *vault) *Result{
		"rotate": func(t *testing.T, dir string, v *vault) *Result {
			v.put(kek.Generate())
			return mustRotate(t, dir, v, Options{})
		},
		"put": func(t *testing.T, dir string, v *vault) *Result {
			v.put(kek.Generate())
			return mustPut(t, dir, v, kek.Generate())
		},
		"put what is there": func(t *testing.T, dir string, v *vault) *Result {
			v.put(kek.Generate())
			return mustPut(t, dir, v, v.keys[len(v.keys)-1])
		},
		"put where nothing is": func(t *testing.T, dir string, v *vault) *Result {
			v.keys = nil
			return mustPut(t, dir, v, kek.Generate())
		},
	} {
		dir, v := t.TempDir(), newVault(1)
		mustRotate(t, dir, v, Options{})
		lost := v.current()
		if r := change(t, dir, v); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "--adopt") {
			t.Errorf("%s: got %q", name, r.Notes)
		}
		if live, doomed := judged(t, dir); live[lost] || doomed[lost] || !live[v.current()] {
			t.Errorf("%s: current: %v, may be destroyed: %v", name, live, doomed)
		}
		mustRotate(t, dir, v, Options{}) // is no word on it
		if _, doomed := judged(t, dir); doomed[lost] {
			t.Errorf("%s: after another rotation it may be destroyed", name)
		}
		mustRotate(t, dir, v, Options{Adopt: true})
		if _, doomed := judged(t, dir); !doomed[lost] {
			t.Errorf("%s: it may not be destroyed in spite of --adopt", name)
		}
	}
}

func mustPut(t *testing.T, dir string, dst keystore.Storer, key *kek.Key) *Result {
	t.Helper()
	h := open(t, dir)
	defer h.Close()
	r, err := Put(t.Context(), h, dst, key, Options{Now: today, Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPutNew: what does not exist yet may have no place before.
func TestPutNew(t *testing.T) {
	dir, s := t.TempDir(), server{newVault(0), "unnamed"}
	mustPut(t, dir, s, kek.Generate())
	if all := read(t, dir).Records(); len(all) != 1 || all[0].Place != "https://unnamed" {
		t.Errorf("got %+v", all)
	}
}

// TestReservations: a place that took the key but will not keep it says so again,
// and the history does not record what did not last.
func TestReservations(t *testing.T) {
	for name, again := range map[string]func(h *History, v *vault, key *kek.Key) (*Result, error){
		"put": func(h *History, v *vault, key *kek.Key) (*Result, error) {
			return Put(t.Context(), h, v, key, Options{})
		},
		"rotate": func(h *History, v *vault, _ *kek.Key) (*Result, error) { return Rotate(t.Context(), h, v, Options{}) },
	} {
		dir, v, key := t.TempDir(), newVault(0), kek.Generate()
		if name == "rotate" {
			v = newVault(1)
		}
		v.fail = func(s string) error {
			if s != "stored" {
				return nil
			}
			return &keystore.Error{URI: place, Kind: keystore.ErrRefused, Reason: "it will be deleted"}
		}
		for run := range 3 {
			h := open(t, dir)
			if _, err := again(h, v, key); !errors.Is(err, keystore.ErrRefused) {
				t.Errorf("%s, run %d: %v", name, run+1, err)
			}
			h.Close()
		}
		stored := v.current()
		v.fail = nil
		h := open(t, dir)
		if r, err := again(h, v, key); err != nil || r.New != stored || len(h.Unfinished()) != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		h.Close()
	}
}

// TestUnchangedFile: what a key file's folder does not let through leaves nothing
// begun behind, however often it is tried.
func TestUnchangedFile(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	src := keystore.File{Path: filepath.Join(dir, strings.Repeat("k", 250))} // no room for the id of a former key
	if err := keystore.WriteFile(src.Path, kek.Generate()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := rotate(t, state, src, Options{}); !errors.Is(err, keystore.ErrRefused) {
			t.Fatal(err)
		}
	}
	if h := read(t, state); len(h.Records())+len(h.Unfinished()) != 0 {
		t.Errorf("the history has %+v and %+v", h.Records(), h.Unfinished())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// TestCommand: what finishes a change is the command that began it, and makes no
// third key.
func TestCommand(t *testing.T) {
	dir, v, key := t.TempDir(), newVault(1), kek.Generate()
	old := v.current()
	v.fail = func(string) error { return errInjected }
	h := open(t, dir)
	if _, err := Put(t.Context(), h, v, key, Options{Replace: true}); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	if left := h.Unfinished(); len(left) != 1 || left[0].Command != CommandStore || left[0].Old != old {
		t.Errorf("left unfinished: %+v", left)
	}
	h.Close()
	v.fail = nil
	if r := mustPut(t, dir, v, key); r.New != key.ID() || len(v.keys) != 2 {
		t.Errorf("got %+v", r)
	}
	agrees(t, dir, v)
}
