package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

func rewrap(t testing.TB, sealed []byte, beside *envelope.Envelope, how envelope.RewrapOptions, from *kek.Key, to ...*kek.Key) (*envelope.Rewrapped, error) {
	t.Helper()
	opts := envelope.Options{Detached: beside, Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
		return []envelope.Identity{from}, nil
	}}
	return envelope.Rewrap(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), opts, how, slot.Recipients(to...)...)
}

func TestRewrap(t *testing.T) {
	sealed := seal(t, label, "message", keyA, keyB)
	future, err := envelope.WithSlot(sealed, envelope.Slot{Type: "future", Args: []string{"x"}}, keyA)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		sealed  []byte
		how     envelope.RewrapOptions
		to      []*kek.Key
		want    []*kek.Key
		other   int
		current bool
	}{
		"for another key":             {sealed, envelope.RewrapOptions{}, []*kek.Key{keyC}, []*kek.Key{keyC}, 0, false},
		"keeping the old":             {sealed, envelope.RewrapOptions{KeepOld: true}, []*kek.Key{keyC}, []*kek.Key{keyC, keyA, keyB}, 0, false},
		"keeping, of which one again": {sealed, envelope.RewrapOptions{KeepOld: true}, []*kek.Key{keyB}, []*kek.Key{keyB, keyA}, 0, true},
		"for fewer":                   {sealed, envelope.RewrapOptions{}, []*kek.Key{keyB}, []*kek.Key{keyB}, 0, false},
		"for the same":                {sealed, envelope.RewrapOptions{}, []*kek.Key{keyB, keyA}, []*kek.Key{keyB, keyA}, 0, true},
		"a slot of an unknown type":   {future, envelope.RewrapOptions{}, []*kek.Key{keyC}, []*kek.Key{keyC}, 1, false},
		"dropping that":               {future, envelope.RewrapOptions{DropOther: true}, []*kek.Key{keyA}, []*kek.Key{keyA}, 0, false},
	} {
		w, err := rewrap(t, tc.sealed, nil, tc.how, keyA, tc.to...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want []kek.ID
		for _, k := range tc.want {
			want = append(want, k.ID())
		}
		if got := w.New.KeyIDs(); !slices.Equal(got, want) || len(w.New.Recipients()) != tc.other || w.Current != tc.current {
			t.Errorf("%s: slots for %v and %v, current %v", name, got, w.New.Recipients(), w.Current)
		}
		rewrapped := append(bytes.Clone(w.New.Bytes()), tc.sealed[len(w.New.Bytes()):]...)
		for _, k := range []*kek.Key{keyA, keyB, keyC} {
			got, _, err := open(rewrapped, envelope.Options{}, k)
			if slices.Contains(want, k.ID()) != (err == nil && got == "message") {
				t.Errorf("%s: with key %s: %q, %v", name, k.ID(), got, err)
			}
		}
	}
}

// TestRewrapKeepsWhatItCannotOpen: next to a backup whose own envelope is torn, the slots of
// other holders are authentic, and stay without a rescue.
func TestRewrapKeepsWhatItCannotOpen(t *testing.T) {
	sealed := seal(t, label, "message", keyA, keyB)
	beside, err := envelope.Parse(bytes.NewReader(sealed))
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Replace(sealed, []byte("...."), []byte("..,."), 1)
	w, err := rewrap(t, torn, beside, envelope.RewrapOptions{KeepOld: true, Grow: true}, keyA, keyC)
	if err != nil || len(w.Dropped) > 0 || !slices.Equal(w.New.KeyIDs(), []kek.ID{keyC.ID(), keyA.ID(), keyB.ID()}) {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestRewrapRefuses(t *testing.T) {
	sealed := seal(t, label, "message", keyA)
	altered := bytes.Replace(sealed, []byte(keyA.ID()), []byte("0123456789abcdef"), 1)
	many := make([]*kek.Key, 32)
	for i := range many {
		many[i] = kek.Generate()
	}
	for name, tc := range map[string]struct {
		sealed []byte
		from   *kek.Key
		to     []*kek.Key
		want   error
	}{
		"no key":               {sealed, keyA, nil, envelope.ErrNoKey},
		"a key twice":          {sealed, keyA, []*kek.Key{keyB, keyB}, envelope.ErrSameKey},
		"no room":              {sealed, keyA, many, envelope.ErrNoRoom},
		"an altered backup":    {altered, keyA, []*kek.Key{keyB}, envelope.ErrAltered},
		"another's payload":    {append(bytes.Clone(sealed[:4096]), seal(t, label, "x", keyA)[4096:]...), keyA, []*kek.Key{keyB}, envelope.ErrDamagedHead},
		"what is not a backup": {[]byte("hello"), keyA, []*kek.Key{keyB}, envelope.ErrNotSealed},
		"no more than a key":   {sealed[:4096], keyA, []*kek.Key{keyB}, nil},
	} {
		if w, err := rewrap(t, tc.sealed, nil, envelope.RewrapOptions{}, tc.from, tc.to...); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
	if _, err := rewrap(t, sealed, nil, envelope.RewrapOptions{}, keyB, keyC); !errors.As(err, new(*envelope.WrongKeyError)) {
		t.Errorf("with a wrong key: %v", err)
	}
	if _, err := rewrap(t, sealed, nil, envelope.RewrapOptions{}, keyA, append(many, keyA)...); !errors.Is(err, envelope.ErrTooLarge) {
		t.Errorf("for 33 keys: %v", err)
	}
	full := seal(t, label, "message", many...)
	for grow, want := range map[bool]error{false: envelope.ErrNoRoom, true: envelope.ErrTooLarge} {
		if _, err := rewrap(t, full, nil, envelope.RewrapOptions{KeepOld: true, Grow: grow}, many[0], keyA); !errors.Is(err, want) {
			t.Errorf("for one key more than 32: %v, want %v", err, want)
		}
	}
	if _, err := envelope.Rewrap(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{Find: have(keyA)}, envelope.RewrapOptions{}, mistaken{keyB}); err == nil || !strings.HasPrefix(err.Error(), "opening the new envelope") {
		t.Errorf("for one that would not open it: %v", err)
	}
	w, err := rewrap(t, sealed, nil, envelope.RewrapOptions{Grow: true}, keyA, many...)
	if err != nil || len(w.New.Bytes()) <= envelope.Unit {
		t.Fatalf("with Grow: %v", err)
	}
	if _, r, err := open(sealed, envelope.Options{Detached: w.New}, many[31]); err != nil || r.Envelope != w.New {
		t.Errorf("beside the backup it does not open it: %v", err)
	}
}

// mistaken is a recipient that wraps something else.
type mistaken struct{ *kek.Key }

func (m mistaken) Wrap(ctx context.Context, id envelope.ID, dataKey []byte) (envelope.Slot, error) {
	return m.Key.Wrap(ctx, id, bytes.Repeat([]byte{7}, len(dataKey)))
}

// rotated is a recipient whose key has a newer version.
type rotated struct {
	*kek.Key
	since bool
}

func (r rotated) Outdated(_, _ envelope.Slot) bool { return r.since }

// TestCurrent: an envelope is written anew for a key that was rotated, and for one that does
// not open it, however authentic that is.
func TestCurrent(t *testing.T) {
	sealed := seal(t, label, "message", keyA)
	useless, err := keyB.Wrap(t.Context(), envelope.ID{1}, make([]byte, slot.DataKeySize))
	if err != nil {
		t.Fatal(err)
	}
	both, err := envelope.WithSlot(sealed, useless, keyA)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		sealed  []byte
		to      []envelope.Recipient
		current bool
	}{
		"as it was":         {sealed, []envelope.Recipient{rotated{keyA, false}}, true},
		"rotated":           {sealed, []envelope.Recipient{rotated{keyA, true}}, false},
		"a slot of no use":  {both, []envelope.Recipient{keyA, keyB}, false},
		"rotated, at place": {both, []envelope.Recipient{keyB, rotated{keyA, true}}, false},
	} {
		w, err := envelope.Rewrap(t.Context(), bytes.NewReader(tc.sealed), int64(len(tc.sealed)), envelope.Options{Find: have(keyA)}, envelope.RewrapOptions{}, tc.to...)
		if err != nil || w.Current != tc.current {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
}

// TestTorn: wherever the writing of a new envelope over the old one stops, and
// whichever of its sectors had come to the disk, the copy next to it opens the
// backup, in order and at random, and can be rewrapped again.
func TestTorn(t *testing.T) {
	sealed := seal(t, label, "message", keyA)
	w, err := rewrap(t, sealed, nil, envelope.RewrapOptions{}, keyA, keyB)
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.New.Bytes()
	noise := func(p []byte) []byte { return bytes.Repeat([]byte{0xa5}, len(p)) }
	check := func(what string, torn []byte) {
		opts := envelope.Options{Detached: w.New}
		r, err := envelope.Open(t.Context(), iotest.OneByteReader(bytes.NewReader(torn)), opts, keyB)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got, err := io.ReadAll(r); string(got) != "message" || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		at, err := envelope.OpenAt(t.Context(), bytes.NewReader(torn), int64(len(torn)), opts, keyB)
		if err != nil || at.Size() != int64(len("message")) {
			t.Errorf("%s: at random: %v", what, err)
		}
		if again, err := rewrap(t, torn, w.New, envelope.RewrapOptions{Grow: true}, keyB, keyC); err != nil || len(again.New.Bytes()) != len(fresh) {
			t.Errorf("%s: rewrapping: %v", what, err)
		}
	}
	for cut := 0; cut <= len(fresh); cut += 61 {
		check(fmt.Sprintf("the first %d bytes are new", cut), append(bytes.Clone(fresh[:cut]), sealed[cut:]...))
		check(fmt.Sprintf("the first %d bytes are noise", cut), append(noise(fresh[:cut]), sealed[cut:]...))
	}
	for sectors := range 1 << (len(fresh) / 512) { // a disk writes them in any order
		torn := bytes.Clone(sealed)
		for s := range len(fresh) / 512 {
			if sectors>>s&1 == 1 {
				copy(torn[s*512:], fresh[s*512:(s+1)*512])
			}
		}
		check(fmt.Sprintf("sectors %b are new", sectors), torn)
	}

	// When it does not open with that either, what is wrong is its own envelope.
	torn := append(noise(sealed[:4096]), sealed[4096:]...)
	foreign, err := envelope.Parse(bytes.NewReader(seal(t, label, "message", keyA)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		src    []byte
		beside *envelope.Envelope
		key    *kek.Key
	}{{torn, w.New, keyC}, {torn, foreign, keyA}, {torn[:4096], w.New, keyB}, {torn[:100], w.New, keyB}, {torn, nil, keyB}} {
		_, _, err := open(tc.src, envelope.Options{Detached: tc.beside}, tc.key)
		_, errAt := envelope.OpenAt(t.Context(), bytes.NewReader(tc.src), int64(len(tc.src)), envelope.Options{Detached: tc.beside}, tc.key)
		if !errors.Is(err, envelope.ErrNotSealed) || !errors.Is(errAt, envelope.ErrNotSealed) {
			t.Errorf("%v and %v, want that it is not a sealed backup", err, errAt)
		}
	}
	// But a payload that was found and is damaged is told as that.
	bad := bytes.Clone(torn)
	bad[len(bad)-1] ^= 1
	if _, _, err := open(bad, envelope.Options{Detached: w.New}, keyB); err == nil || !strings.Contains(err.Error(), "chunk 0") {
		t.Errorf("a damaged chunk: %v", err)
	}
	if _, err := envelope.OpenAt(t.Context(), bytes.NewReader(bad), int64(len(bad)), envelope.Options{Detached: w.New}, keyB); err == nil || !strings.Contains(err.Error(), "chunk 0") {
		t.Errorf("a damaged chunk: %v", err)
	}
}

// keeping is an identity that keeps what it has unwrapped.
type keeping struct {
	*kek.Key
	kept *[][]byte
}

func (k keeping) Unwrap(ctx context.Context, id envelope.ID, s slot.Slot) ([]byte, error) {
	dataKey, err := k.Key.Unwrap(ctx, id, s)
	*k.kept = append(*k.kept, dataKey)
	return dataKey, err
}

// TestRewrapWipes: of an altered envelope too, no data key that was unwrapped is left in
// memory.
func TestRewrapWipes(t *testing.T) {
	sealed := seal(t, label, "message", keyA, keyB)
	at := bytes.LastIndex(sealed[:envelope.Unit], []byte("auth ")) + len("auth ")
	sealed[at] = map[bool]byte{true: 'B', false: 'A'}[sealed[at] == 'A']
	var kept [][]byte
	find := func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
		return []envelope.Identity{keeping{keyA, &kept}, keeping{keyB, &kept}}, nil
	}
	w, err := envelope.Rewrap(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{Rescue: true, Find: find}, envelope.RewrapOptions{}, keyA)
	if err != nil || w.Altered == nil || len(kept) < 3 {
		t.Fatalf("%v, %d keys", err, len(kept))
	}
	for i, dataKey := range kept {
		if !bytes.Equal(dataKey, make([]byte, len(dataKey))) {
			t.Errorf("key %d of %d is left", i, len(kept))
		}
	}
}
