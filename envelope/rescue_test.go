package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

// have is a Find that knows the keys and, as a ring does, gives the first that is
// wanted alone, and all when none is.
func have(keys ...*kek.Key) func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
	return func(_ context.Context, wanted []slot.Holder) ([]envelope.Identity, error) {
		for _, k := range keys {
			if slices.Contains(wanted, k.Holder()) {
				return []envelope.Identity{k}, nil
			}
		}
		return slot.Identities(keys...), nil
	}
}

// preambleSize is the length of the first six lines.
func preambleSize(sealed []byte) int {
	n := 0
	for range 6 {
		n += bytes.IndexByte(sealed[n:], '\n') + 1
	}
	return n
}

// TestRescueOfEveryBit flips each bit of an envelope with two slots. Whatever it
// hits, a rescue opens the backup, but for the preamble, to which the payload is
// bound; and what it opens can be healed.
func TestRescueOfEveryBit(t *testing.T) {
	t.Parallel()
	const message = "the message"
	good := seal(t, label, message, keyA, keyB)
	preamble := preambleSize(good)
	opened, lost := 0, map[string]int{}
	bad := bytes.Clone(good)
	for bit := 0; bit < envelope.Unit*8; bit++ {
		bad[bit/8] ^= 1 << (bit % 8)
		opts := envelope.Options{Rescue: true, Find: have(keyA, keyB)}
		got := make([]byte, len(message))
		r, err := envelope.OpenAt(t.Context(), bytes.NewReader(bad), int64(len(bad)), opts)
		if err == nil {
			_, err = r.ReadAt(got, 0)
		}
		switch {
		case err == nil && string(got) == message && r.Envelope.Label == label:
			opened++
			if bit/8 < preamble {
				t.Errorf("bit %d of byte %d of the preamble is not bound to the payload", bit%8, bit/8)
			}
			if bit%37 == 0 {
				checkHealed(t, bad, opts)
			}
		case r != nil || bit/8 >= preamble:
			t.Errorf("bit %d of byte %d: %q, %v", bit%8, bit/8, got, err)
		default:
			lost[class(err)]++
		}
		bad[bit/8] ^= 1 << (bit % 8)
	}
	if opened+sum(lost) != envelope.Unit*8 || sum(lost) != preamble*8 {
		t.Errorf("of %d flipped bits %d open and %v do not; the preamble has %d", envelope.Unit*8, opened, lost, preamble*8)
	}
	t.Logf("%d flips: %d open, %d do not, all of them in the %d bytes of the preamble: %v", opened+sum(lost), opened, sum(lost), preamble, lost)
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

// checkHealed writes a whole envelope before the payload of a damaged backup, and
// opens the result with no rescue.
func checkHealed(t *testing.T, bad []byte, opts envelope.Options) *envelope.Rewrapped {
	t.Helper()
	w, err := envelope.Rewrap(t.Context(), bytes.NewReader(bad), int64(len(bad)), opts, envelope.RewrapOptions{KeepOld: true, Grow: true}, keyC)
	if err != nil {
		t.Fatalf("healing: %v", err)
	}
	healed := append(bytes.Clone(w.New.Bytes()), bad[w.Start:]...)
	for _, k := range []*kek.Key{keyA, keyB, keyC} {
		got, r, err := open(healed, envelope.Options{}, k)
		if slices.Contains(w.New.Holders(), k.Holder()) != (err == nil && got == "the message") {
			t.Fatalf("healed for %v, and key %s says %v", w.New.Holders(), k.ID(), err)
		}
		if err == nil && r.Envelope.Label != label {
			t.Fatalf("the label became %+v", r.Envelope.Label)
		}
	}
	return w
}

func TestRescue(t *testing.T) {
	const message = "the message"
	good := seal(t, label, message, keyA, keyB)
	line := func(i int) string { return strings.SplitAfter(string(good), "\n")[i] }
	slotA, slotB := line(6), line(7)
	edit := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	flip := func(what string, at int) []byte {
		b := bytes.Clone(good)
		b[bytes.Index(b, []byte(what))+at] ^= 1
		return b
	}
	// other is a slot of the right form that is another one.
	other := func(slot string) []byte {
		c := "A"
		if slot[50] == 'A' {
			c = "B"
		}
		return edit(slot, slot[:50]+c+slot[51:])
	}
	foreign := seal(t, label, message, keyA, keyB)
	end := bytes.Index(good, []byte("\n---\n"))
	for name, tc := range map[string]struct {
		sealed  []byte
		keys    []*kek.Key
		dropped []*kek.Key
	}{
		"pad":                               {flip("....", 2), []*kek.Key{keyA}, []*kek.Key{keyB}},
		"auth":                              {flip("\nauth ", 30), []*kek.Key{keyA, keyB}, nil},
		"the slot of the first key":         {other(slotA), []*kek.Key{keyA, keyB}, []*kek.Key{keyA}},
		"the same, keys in the other order": {other(slotA), []*kek.Key{keyB, keyA}, []*kek.Key{keyA}},
		"the second slot":                   {other(slotB), []*kek.Key{keyB, keyA}, []*kek.Key{keyB}},
		"the form of a slot":                {edit(slotA, slotA[:len(slotA)-3]+"!!\n"), []*kek.Key{keyA, keyB}, nil},
		"the line feed between slots":       {edit(slotA, slotA[:len(slotA)-1]+"\x0b"), []*kek.Key{keyA, keyB}, nil},
		"the last line":                     {edit("\n---\n", "\n-x-\n"), []*kek.Key{keyA, keyB}, nil},
		"all after the slots":               {append(append(bytes.Clone(good[:bytes.Index(good, []byte("pad "))]), bytes.Repeat([]byte{0xa5}, end-bytes.Index(good, []byte("pad "))+5)...), good[envelope.Unit:]...), []*kek.Key{keyB}, []*kek.Key{keyA}},
		"another's slot":                    {edit(slotA, strings.SplitAfter(string(foreign), "\n")[6]), []*kek.Key{keyA, keyB}, []*kek.Key{keyA}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := envelope.Options{Find: have(tc.keys...)}
			if got, _, err := open(tc.sealed, opts); err == nil || got != "" {
				t.Fatalf("opens without a rescue: %q, %v", got, err)
			}
			opts.Rescue = true
			got, r, err := open(tc.sealed, opts)
			if err != nil || got != message || !errors.Is(r.Altered, envelope.ErrAltered) || r.Envelope.Label != label {
				t.Fatalf("%q, %v", got, err)
			}
			w := checkHealed(t, tc.sealed, opts)
			if want := holdersOf(tc.dropped); !slices.Equal(w.Dropped, want) {
				t.Errorf("dropped %v, want %v", w.Dropped, want)
			}
		})
	}
}

func holdersOf(keys []*kek.Key) []slot.Holder {
	var all []slot.Holder
	for _, k := range keys {
		all = append(all, k.Holder())
	}
	return all
}

// TestRescueFindsThePayload: without a good last line a payload may begin after
// any unit, in order and at random.
func TestRescueFindsThePayload(t *testing.T) {
	many := someKeys(32)
	for _, n := range []int{1, 20, 32} {
		sealed := seal(t, label, "the message", many[:n]...)
		e, err := envelope.Parse(bytes.NewReader(sealed))
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Replace(sealed, []byte("\n---\n"), []byte("\n--.\n"), 1)
		opts := envelope.Options{Rescue: true, Find: have(many[n-1])}
		got, r, err := open(bad, opts)
		if err != nil || got != "the message" || r.Start != int64(len(e.Bytes())) {
			t.Errorf("%d slots: %q, %v", n, got, err)
		}
		at, err := envelope.OpenAt(t.Context(), bytes.NewReader(bad), int64(len(bad)), opts)
		if err != nil || at.Size() != int64(len("the message")) || at.Start != int64(len(e.Bytes())) {
			t.Errorf("%d slots, at random: %v", n, err)
		}
	}
}

// TestRescueWithDetached: either envelope may be the damaged one; with a good one
// next to it even the backup's own preamble may be.
func TestRescueWithDetached(t *testing.T) {
	sealed := seal(t, label, "the message", keyA)
	w, err := rewrap(t, sealed, nil, envelope.RewrapOptions{}, keyA, keyB)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte, what string) []byte {
		b = bytes.Clone(b)
		b[bytes.Index(b, []byte(what))+len(what)] ^= 1
		return b
	}
	for name, tc := range map[string]struct{ own, detached []byte }{
		"own preamble":             {flip(sealed, "\nname "), w.New.Bytes()},
		"own version":              {flip(sealed, "takumi-backup/v"), w.New.Bytes()},
		"own preamble, no name":    {flip(sealed, "\nnam"), w.New.Bytes()},
		"detached padding":         {sealed, flip(w.New.Bytes(), "\npad ")},
		"both":                     {flip(sealed, "\npad "), flip(w.New.Bytes(), "\nauth ")},
		"own slot, detached end":   {flip(sealed, "\nslot key "), flip(w.New.Bytes(), "\n--")},
		"own terminator, both pad": {flip(flip(sealed, "\n--"), "\npad "), flip(w.New.Bytes(), "\npad ")},
	} {
		detached, err := envelope.ParseRescue(bytes.NewReader(tc.detached))
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := open(tc.own, envelope.Options{Rescue: true, Detached: detached}, keyB)
		if err != nil || got != "the message" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestRescueRefuses: a rescue opens nothing that the key or the payload is against.
func TestRescueRefuses(t *testing.T) {
	good := seal(t, label, "the message", keyA)
	pad := bytes.Replace(good, []byte("...."), []byte("..,."), 1)
	noPreamble := bytes.Replace(good, []byte("\nkind "), []byte("\nkinx "), 1)
	for name, tc := range map[string]struct {
		sealed []byte
		key    *kek.Key
		want   string
	}{
		"a wrong key":                  {good, keyB, "wrong key"},
		"a wrong key, and bad padding": {pad, keyB, "malformed"},
		"another payload":              {append(bytes.Clone(pad[:envelope.Unit]), seal(t, label, "other", keyA)[envelope.Unit:]...), keyA, "malformed"},
		"a chunk":                      {append(bytes.Clone(pad[:len(pad)-1]), pad[len(pad)-1]^1), keyA, "chunk 0"},
		"no payload":                   {pad[:envelope.Unit], keyA, "malformed"},
		"no preamble":                  {noPreamble, keyA, "malformed"},
	} {
		got, _, err := open(tc.sealed, envelope.Options{Rescue: true}, tc.key)
		if c := class(err); c != tc.want || got != "" {
			t.Errorf("%s: %q, %s (%v), want %s", name, got, c, err, tc.want)
		}
	}
	if e, err := envelope.ParseRescue(bytes.NewReader(noPreamble)); class(err) != "malformed" {
		t.Errorf("of what has no preamble: %v, %v", e, err)
	}
	cut := append(bytes.Clone(pad[:len(pad)-1]), pad[len(pad)-1]^1)
	if _, err := envelope.OpenAt(t.Context(), bytes.NewReader(cut), int64(len(cut)), envelope.Options{Rescue: true}, keyA); class(err) != "chunk 0" {
		t.Errorf("the last chunk, at random: %v", err)
	}
	if e, err := envelope.ParseRescue(strings.NewReader("hello")); !errors.Is(err, envelope.ErrNotSealed) {
		t.Errorf("of what is no envelope: %v, %v", e, err)
	}
	if _, err := envelope.Rewrap(t.Context(), bytes.NewReader(pad), int64(len(pad)), envelope.Options{Rescue: true, Find: have(keyB)}, envelope.RewrapOptions{}, keyC); err == nil {
		t.Error("a wrong key heals")
	}
}

// TestWhyARescueFails: where the envelope has no good form, the error names what a rescue
// found, and not only the form.
func TestWhyARescueFails(t *testing.T) {
	good := seal(t, label, "the message", keyA)
	bad := bytes.Replace(good, []byte("...."), []byte("..,."), 1)
	at := bytes.Index(bad, []byte("\nslot key ")) + 40
	bad[at] = map[bool]byte{true: 'B', false: 'A'}[bad[at] == 'A']
	if _, _, err := open(bad, envelope.Options{Rescue: true}, keyA); err == nil || !strings.Contains(err.Error(), envelope.ErrDamagedSlot.Error()) {
		t.Error(err)
	}
}

// sealOnly is a recipient that cannot open, as one of age.
type sealOnly struct{ envelope.Recipient }

// TestAlteredIsNotCurrent: an envelope that only a rescue opens is to be written anew, though
// it is for the right holders; a longer one takes the place of one without a good form.
func TestAlteredIsNotCurrent(t *testing.T) {
	good := seal(t, label, "the message", keyA)
	altered := bytes.Clone(good)
	at := bytes.Index(altered, []byte("\nauth ")) + 30
	altered[at] = map[bool]byte{true: 'B', false: 'A'}[altered[at] == 'A']
	opts := envelope.Options{Rescue: true, Find: have(keyA)}
	for sealed, current := range map[*[]byte]bool{&good: true, &altered: false} {
		for _, to := range []envelope.Recipient{keyA, sealOnly{keyA}} {
			w, err := envelope.Rewrap(t.Context(), bytes.NewReader(*sealed), int64(len(*sealed)), opts, envelope.RewrapOptions{}, to)
			if err != nil || w.Current != current {
				t.Errorf("for %T: current %v, want %v, error %v", to, err == nil && w.Current, current, err)
			}
		}
	}

	bad := bytes.Replace(good, []byte("...."), []byte("..,."), 1)
	many := make([]*kek.Key, 32)
	for i := range many {
		many[i] = kek.Generate()
	}
	w, err := envelope.Rewrap(t.Context(), bytes.NewReader(bad), int64(len(bad)), opts, envelope.RewrapOptions{Grow: true}, slot.Recipients(many...)...)
	if err != nil || len(w.New.Bytes()) <= envelope.Unit {
		t.Errorf("a longer one for one without a good form: %v", err)
	}
}

func ExampleRewrap_rescue() {
	ctx := context.Background()
	atHome := kek.Generate()
	var file bytes.Buffer
	w, _ := envelope.NewWriter(ctx, &file, label, atHome)
	w.Write([]byte("what was noted"))
	w.Close()
	damaged := bytes.Replace(file.Bytes(), []byte("...."), []byte("..?."), 1)

	healed, err := envelope.Rewrap(ctx, bytes.NewReader(damaged), int64(len(damaged)),
		envelope.Options{Rescue: true, Find: have(atHome)}, envelope.RewrapOptions{Grow: true}, atHome)
	if err != nil {
		fmt.Println(err)
		return
	}
	whole := append(healed.New.Bytes(), damaged[healed.Start:]...)
	_, r, err := open(whole, envelope.Options{}, atHome)
	fmt.Println(r.Envelope.Name, err)
	// Output: takumi_db_20261123_020000.sql <nil>
}
