package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// vault is a Storer in memory. Keys are kept for good, the last is current.
type vault struct {
	keys []*kek.Key
	step func(string) // called at every step that a kill may come at
	fail func(string) error
}

// kept is one of its keys.
type kept struct {
	v *vault
	n int
}

const place = "fake:place"

func (v *vault) String() string { return place }

func (v *vault) Load(ctx context.Context) (*kek.Key, error) {
	return kept{v, len(v.keys) - 1}.Load(ctx)
}

func (v kept) String() string { return fmt.Sprint(place, "@", v.n) }

func (v kept) Load(context.Context) (*kek.Key, error) {
	if v.n < 0 {
		return nil, &keystore.Error{URI: v.String(), Kind: keystore.ErrNotFound, Reason: "nothing is there"}
	}
	return kek.New(v.v.keys[v.n].Bytes())
}

var made = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (v *vault) Versions(context.Context) ([]keystore.Version, error) {
	var all []keystore.Version
	for n := len(v.keys) - 1; n >= 0; n-- {
		all = append(all, keystore.Version{Source: kept{v, n}, Current: n == len(v.keys)-1, Created: made})
	}
	return all, nil
}

func (v *vault) Store(ctx context.Context, key *kek.Key, before kek.ID) error {
	if err := v.event("store"); err != nil {
		return err
	}
	if current := v.current(); current == key.ID() {
		return v.event("stored")
	} else if current != before {
		return &keystore.Error{URI: place, Kind: keystore.ErrConflict, Reason: "another key is there"}
	}
	v.put(key)
	return v.event("stored")
}

func (v *vault) event(name string) error {
	if v.step != nil {
		v.step(name)
	}
	if v.fail != nil {
		return v.fail(name)
	}
	return nil
}

func (v *vault) put(key *kek.Key) {
	kept, err := kek.New(key.Bytes())
	if err != nil {
		panic(err)
	}
	v.keys = append(v.keys, kept)
}

func (v *vault) current() kek.ID {
	if len(v.keys) == 0 {
		return ""
	}
	return v.keys[len(v.keys)-1].ID()
}

func newVault(n int) *vault {
	v := new(vault)
	for range n {
		v.put(kek.Generate())
	}
	return v
}

var today = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *History {
	t.Helper()
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func read(t *testing.T, dir string) *History {
	t.Helper()
	h, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// rotate rotates in a history of its own, as a run of the program does.
func rotate(t *testing.T, dir string, v keystore.Storer, o Options) (*Result, error) {
	t.Helper()
	h := open(t, dir)
	defer h.Close()
	if o.Now.IsZero() {
		o.Now = today
	}
	return Rotate(t.Context(), h, v, o)
}

func mustRotate(t *testing.T, dir string, v keystore.Storer, o Options) *Result {
	t.Helper()
	r, err := rotate(t, dir, v, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// agrees checks that the history says of the place what is true: one current
// key, which is the one that is there, every other key retired, and no rotation
// left unfinished.
func agrees(t *testing.T, dir string, v *vault) {
	t.Helper()
	h := read(t, dir)
	if left := h.Unfinished(); len(left) != 0 {
		t.Errorf("left unfinished: %+v", left)
	}
	var live, all []kek.ID
	for _, r := range h.Records() {
		all = append(all, r.ID)
		if r.Live() {
			live = append(live, r.ID)
		}
	}
	if !slices.Equal(live, []kek.ID{v.current()}) {
		t.Errorf("current by the history: %v, in truth: %s", live, v.current())
	}
	for _, k := range v.keys {
		if !slices.Contains(all, k.ID()) {
			t.Errorf("key %s is missing from the history", k.ID())
		}
	}
	if len(all) != len(v.keys) {
		t.Errorf("the history has %d keys, the place %d", len(all), len(v.keys))
	}
}

var errInjected = errors.New("injected")
