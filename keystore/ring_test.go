package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// place is a Keeper in memory that counts what it is asked.
type place struct {
	name           string
	keys           []*kek.Key // the current one first
	err            error      // of Load
	listErr        error      // of Versions
	gone           error      // of a former key, if set
	loads, lists   int
	formerLoads    int
	lastlyReturned *kek.Key
}

func newPlace(name string, former int) *place {
	p := &place{name: "test:" + name}
	for range 1 + former {
		p.keys = append(p.keys, kek.Generate())
	}
	return p
}

func (p *place) String() string { return p.name }

func (p *place) Load(ctx context.Context) (*kek.Key, error) {
	p.loads++
	if err := errors.Join(ctx.Err(), p.err); err != nil {
		return nil, err
	}
	return p.copy(0)
}

func (p *place) copy(n int) (*kek.Key, error) {
	key, err := kek.New(p.keys[n].Bytes())
	p.lastlyReturned = key
	return key, err
}

func (p *place) Versions(ctx context.Context) ([]Version, error) {
	p.lists++
	if err := errors.Join(ctx.Err(), p.listErr); err != nil {
		return nil, err
	}
	all := []Version{{Source: p, Current: true}}
	for n := range p.keys[1:] {
		all = append(all, Version{Source: formerKey{p, n + 1}, Gone: p.gone})
	}
	return all, nil
}

func (p *place) id(n int) kek.ID { return p.keys[n].ID() }

type formerKey struct {
	p *place
	n int
}

func (f formerKey) String() string { return fmt.Sprint(f.p.name, "@", f.n) }

func (f formerKey) Load(context.Context) (*kek.Key, error) {
	f.p.formerLoads++
	return f.p.copy(f.n)
}

func ids(keys []*kek.Key) []kek.ID {
	var all []kek.ID
	for _, k := range keys {
		all = append(all, k.ID())
	}
	return all
}

// finds checks which keys the ring has for a backup.
func finds(t *testing.T, r *Ring, wanted kek.ID, want ...kek.ID) {
	t.Helper()
	keys, err := r.Find(t.Context(), []kek.ID{wanted})
	if got := ids(keys); err != nil || !slices.Equal(got, want) {
		t.Errorf("found %v, %v; want %v", got, err, want)
	}
}

const nobodys = kek.ID("0000000000000000")

func TestRingOrder(t *testing.T) {
	a, b := newPlace("a", 2), newPlace("b", 1)
	r := NewRing(a, b)
	defer r.Close()
	if got := r.Sources(); !slices.Equal(got, []Source{a, b}) {
		t.Errorf("sources: %v", got)
	}
	keys, err := r.Current(t.Context())
	if got := ids(keys); err != nil || !slices.Equal(got, []kek.ID{a.id(0), b.id(0)}) {
		t.Errorf("current: %v, %v", got, err)
	}
	finds(t, r, b.id(0), b.id(0))
	finds(t, r, a.id(0), a.id(0))
	if a.lists+b.lists+a.formerLoads+b.formerLoads != 0 {
		t.Error("former keys were asked for although a current one does")
	}
	finds(t, r, a.id(1), a.id(1))
	if b.lists != 0 || a.formerLoads != 1 {
		t.Error("more former keys were asked for than were wanted")
	}
	finds(t, r, b.id(1), b.id(1))
	// All there are, for a backup whose ids say nothing.
	finds(t, r, nobodys, a.id(0), b.id(0), a.id(1), a.id(2), b.id(1))
}

func TestRingAsksOnce(t *testing.T) {
	a, b := newPlace("a", 1), newPlace("b", 1)
	r := NewRing(a, b)
	defer r.Close()
	clock := time.Now()
	r.now = func() time.Time { return clock }
	all := func(times int) {
		t.Helper()
		for range 100 {
			for _, id := range []kek.ID{a.id(0), a.id(1), b.id(0), b.id(1), nobodys} {
				if keys, err := r.Find(t.Context(), []kek.ID{id}); err != nil || len(keys) == 0 {
					t.Fatalf("%v, %v", keys, err)
				}
			}
			clock = clock.Add(time.Second) // well within the five minutes
		}
		for _, p := range []*place{a, b} {
			if p.loads != times || p.lists != times || p.formerLoads != times {
				t.Errorf("%s: %d requests for the current key, %d lists, %d for the former; want %d each", p, p.loads, p.lists, p.formerLoads, times)
			}
		}
	}
	all(1)
	clock = clock.Add(5 * time.Minute)
	all(2)
}

func TestRingSeesARotation(t *testing.T) {
	a := newPlace("a", 0)
	r := NewRing(a)
	defer r.Close()
	clock := time.Now()
	r.now = func() time.Time { return clock }
	finds(t, r, a.id(0), a.id(0))
	former, fresh := a.id(0), kek.Generate()
	a.keys = append([]*kek.Key{fresh}, a.keys...)
	clock = clock.Add(5*time.Minute - 1)
	finds(t, r, former, former)
	clock = clock.Add(1)
	finds(t, r, fresh.ID(), fresh.ID())
	finds(t, r, former, former)
}

func TestRingFaults(t *testing.T) {
	broken, good := newPlace("broken", 0), newPlace("good", 1)
	broken.err = &Error{URI: broken.String(), Kind: ErrUnreachable, Reason: "no answer"}
	r := NewRing(broken, good)
	defer r.Close()
	clock := time.Now()
	r.now = func() time.Time { return clock }

	if keys, err := r.Current(t.Context()); keys != nil || !errors.Is(err, ErrUnreachable) {
		t.Errorf("current: %v, %v", keys, err)
	}
	finds(t, r, good.id(0), good.id(0))
	finds(t, r, good.id(1), good.id(1))
	keys, err := r.Find(t.Context(), []kek.ID{nobodys})
	if len(keys) != 2 || !errors.Is(err, ErrUnreachable) {
		t.Errorf("nothing fits: %v, %v", keys, err)
	}
	if broken.loads+broken.lists != 1 {
		t.Errorf("a source that fails was asked %d and %d times in a row", broken.loads, broken.lists)
	}
	broken.err = nil
	clock = clock.Add(ringPause)
	finds(t, r, broken.id(0), broken.id(0))

	deleted := newPlace("deleted", 1)
	deleted.gone = &Error{URI: deleted.String(), Kind: ErrNotFound, Reason: "it was deleted; restore-secret brings it back"}
	if keys, err := NewRing(deleted).Find(t.Context(), []kek.ID{deleted.id(1)}); len(keys) != 1 || !errors.Is(err, deleted.gone) || deleted.formerLoads != 0 {
		t.Errorf("a deleted key: %v, %v", keys, err)
	}

	good.listErr = &Error{URI: good.String(), Kind: ErrRefused, Reason: "listing is not allowed"}
	r = NewRing(good)
	defer r.Close()
	for range 3 {
		if keys, err := r.Find(t.Context(), []kek.ID{good.id(1)}); len(keys) != 1 || !errors.Is(err, ErrRefused) {
			t.Errorf("without a list: %v, %v", keys, err)
		}
	}
	if good.lists != 2 {
		t.Errorf("a list that fails was asked for %d times in all", good.lists)
	}
}

func TestRingCancelled(t *testing.T) {
	a := newPlace("a", 1)
	r := NewRing(a)
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Current(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	finds(t, r, a.id(0), a.id(0)) // that is not remembered as the source's fault
	if _, err := r.Find(ctx, []kek.ID{a.id(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	finds(t, r, a.id(1), a.id(1)) // nor is this
}

func TestRingEmpty(t *testing.T) {
	r := NewRing()
	defer r.Close()
	if _, err := r.Current(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("current: %v", err)
	}
	if _, err := r.Find(t.Context(), nil); !errors.Is(err, ErrNone) {
		t.Errorf("find: %v", err)
	}
}

func TestRingCloseWipes(t *testing.T) {
	a := newPlace("a", 1)
	r := NewRing(a)
	clock := time.Now()
	r.now = func() time.Time { return clock }
	var given []*kek.Key
	for range 2 { // the second time it is a new copy, and the first is still out
		for _, id := range []kek.ID{a.id(0), a.id(1)} {
			keys, err := r.Find(t.Context(), []kek.ID{id})
			if err != nil {
				t.Fatal(err)
			}
			given = append(given, keys...)
		}
		clock = clock.Add(ringTTL)
	}
	for _, k := range given {
		if bytes.Equal(k.Bytes(), make([]byte, kek.Size)) {
			t.Error("a key was wiped while it was in use")
		}
	}
	r.Close()
	r.Close()
	for _, k := range append(given, a.lastlyReturned) {
		if !bytes.Equal(k.Bytes(), make([]byte, kek.Size)) {
			t.Error("a key was not wiped")
		}
	}
	finds(t, r, a.id(1), a.id(1)) // and is had anew
	r.Close()
}

func TestRingIsConcurrent(t *testing.T) {
	a, b := newPlace("a", 1), newPlace("b", 1)
	r := NewRing(a, b)
	defer r.Close()
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			id := []kek.ID{a.id(0), a.id(1), b.id(0), b.id(1)}[n%4]
			for range 20 {
				keys, err := r.Find(t.Context(), []kek.ID{id})
				if err != nil || len(keys) != 1 || keys[0].ID() != id {
					t.Errorf("found %v, %v", keys, err)
				}
				if keys, err := r.Current(t.Context()); err != nil || len(keys) != 2 {
					t.Errorf("current: %v, %v", keys, err)
				}
			}
		})
	}
	wg.Wait()
	if a.loads != 1 || b.loads != 1 {
		t.Errorf("%d and %d requests", a.loads, b.loads)
	}
}
