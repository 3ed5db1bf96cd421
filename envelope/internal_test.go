package envelope

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream"
)

// FuzzParse holds the one property that matters: what is accepted encodes to
// the same bytes again, so there is no second way to write an envelope.
func FuzzParse(f *testing.F) {
	var out bytes.Buffer
	label := Label{Created: time.Unix(1795399200, 0), Kind: "database", Name: "日本.sql", Codec: "zstd"}
	if _, err := NewWriter(f.Context(), &out, label, kek.Generate(), kek.Generate()); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add(bytes.Replace(out.Bytes(), []byte("slot key "), []byte("slot kms "), 1))
	f.Add([]byte("takumi-backup/v2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		src := bytes.NewReader(data)
		e, err := Parse(src)
		if err != nil {
			if e != nil {
				t.Fatal("an envelope comes with an error")
			}
			return
		}
		if got := e.encode(); !bytes.Equal(got, data[:len(data)-src.Len()]) {
			t.Fatalf("encodes differently:\n%q\n%q", got, data)
		}
		if len(e.text) > MaxSize || len(e.text)%Unit != 0 || len(e.Slots) > maxSlots || e.check() != nil {
			t.Fatalf("accepted beyond the limits: %+v", e.Label)
		}
	})
}

// TestUnknownSlotsAreCarriedAlong: a long slot of a future type survives, byte
// for byte, up to the limits.
func TestUnknownSlotsAreCarriedAlong(t *testing.T) {
	var out bytes.Buffer
	k := kek.Generate()
	w, err := NewWriter(t.Context(), &out, Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, k)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		length, count int
		fits          bool
	}{{slot.MaxLine, 1, true}, {slot.MaxLine + 1, 1, false}, {slot.MaxLine, 3, true}, {slot.MaxLine, 4, false}, {20, 31, true}, {20, 32, false}} {
		e := *w.Envelope()
		future := Slot{Type: "future", Args: []string{"a", strings.Repeat("~", tc.length-len("slot future a \n"))}}
		for range tc.count {
			e.Slots = append(e.Slots[:len(e.Slots):len(e.Slots)], future)
		}
		if err := e.fit(1); err != nil {
			if tc.fits {
				t.Errorf("%+v: %v", tc, err)
			}
			continue
		}
		back, err := Parse(bytes.NewReader(e.encode()))
		if (err == nil) != tc.fits || err == nil && !bytes.Equal(back.encode(), e.encode()) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// TestLargest: an envelope may have MaxSize bytes, and not one more.
func TestLargest(t *testing.T) {
	e := &Envelope{Label: Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}}
	room := MaxSize - e.bare() - len("slot x \n")
	for minPad, fits := range map[int]bool{0: true, 1: false} {
		e.Slots = []Slot{{Type: "x", Args: []string{strings.Repeat("A", room)}}}
		if err := e.fit(minPad); (err == nil) != fits || fits && e.pad != 0 {
			t.Errorf("with %d of padding: %v, %d", minPad, err, e.pad)
		}
	}
	for more, fits := range map[int]bool{0: false, 1: true} { // one dot at least
		if err := e.fitTo(e.bare() + more); (err == nil) != fits {
			t.Errorf("with room for %d of padding: %v", more, err)
		}
	}
}

// TestMarshalledForm is the envelope of docs/FORMAT.md, letter by letter.
func TestMarshalledForm(t *testing.T) {
	e := &Envelope{ID: ID{0x5f, 0x0c}, Label: Label{Created: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), Kind: "database", Name: "a b.sql", Codec: "zstd"},
		Slots: []Slot{{Type: "key", Args: []string{"9f86d081884c7d65", "QUJD"}}, {Type: "kms", Args: []string{"x", "y"}}}, pad: 3}
	want := "takumi-backup/v1\nid 5f0c0000000000000000000000000000\ncreated 2026-11-23T02:00:00Z\nkind database\nname a%20b.sql\ncodec zstd\n" +
		"slot key 9f86d081884c7d65 QUJD\nslot kms x y\npad ...\nauth " + strings.Repeat("A", 96) + "\n---\n"
	if got := string(e.encode()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// WithSlot returns a backup with one more slot, of a type that is not known,
// authenticated like the others. It is for the tests of package envelope_test.
func WithSlot(sealed []byte, s Slot, key *kek.Key) ([]byte, error) {
	src, size := bytes.NewReader(sealed), int64(len(sealed))
	f, err := readFront(src, Options{})
	if err != nil {
		return nil, err
	}
	var dataKey []byte
	r, err := f.openAt(context.Background(), src, size, Options{}, []Identity{key}, func(k []byte) { dataKey = bytes.Clone(k) })
	if err != nil {
		return nil, err
	}
	e := *r.Envelope
	e.Slots = append(e.Slots[:len(e.Slots):len(e.Slots)], s)
	if err := e.fitTo(int(r.Start)); err != nil {
		return nil, err
	}
	if err := e.authenticate(dataKey); err != nil {
		return nil, err
	}
	return append(bytes.Clone(e.text), sealed[r.Start:]...), nil
}

// TestRandomSource: id and data key of each backup are what the random source
// gave, and it is this data key that the slots hold and the payload is sealed
// under.
func TestRandomSource(t *testing.T) {
	var drawn [][]byte
	system := random
	t.Cleanup(func() { random = system })
	random = func(p []byte) {
		system(p)
		drawn = append(drawn, bytes.Clone(p))
	}
	a, b := kek.Generate(), kek.Generate()
	for i := range 2 {
		var out bytes.Buffer
		w, err := NewWriter(t.Context(), &out, Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, a, b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("message")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		e := w.Envelope()
		if len(drawn) != 2*(i+1) || !bytes.Equal(e.ID[:], drawn[2*i]) {
			t.Fatalf("the id is %v, and %x was drawn", e.ID, drawn)
		}
		dataKey := drawn[2*i+1]
		for j, k := range []*kek.Key{a, b} {
			if held, err := k.Unwrap(t.Context(), e.ID, e.Slots[j]); err != nil || !bytes.Equal(held, dataKey) {
				t.Errorf("slot %d holds %x, and %x was drawn: %v", j, held, dataKey, err)
			}
		}
		if got, err := stream.Open(dataKey, e.preamble(), out.Bytes()[len(e.text):]); err != nil || string(got) != "message" {
			t.Errorf("the payload is sealed under another key: %v", err)
		}
		if !e.authentic(dataKey) {
			t.Error("the envelope is authenticated under another key")
		}
	}
	for i, d := range drawn {
		if bytes.Equal(d, make([]byte, len(d))) || i >= 2 && bytes.Equal(d, drawn[i-2]) {
			t.Errorf("not fresh: %x", drawn)
		}
	}
}
