package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

// plugin is a holder that is none of ours: it cannot know its slots by name, and
// shows how often it was asked.
type plugin struct {
	secret *kek.Key
	fault  error
	asked  *int
}

func (p plugin) Wrap(ctx context.Context, id envelope.ID, dataKey []byte) (envelope.Slot, error) {
	s, err := p.secret.Wrap(ctx, id, dataKey)
	s.Type = "plugin"
	return s, err
}

func (p plugin) Unwrap(ctx context.Context, id envelope.ID, s envelope.Slot) ([]byte, error) {
	if s.Type != "plugin" {
		return nil, slot.ErrNotMine
	}
	*p.asked++
	if p.fault != nil {
		return nil, p.fault
	}
	s.Type = kek.SlotType
	return p.secret.Unwrap(ctx, id, s)
}

// halving is a holder that gives half of a data key, and cannot be compared.
type halving struct {
	*kek.Key
	_ []byte
}

func (h halving) Unwrap(ctx context.Context, id envelope.ID, s envelope.Slot) ([]byte, error) {
	dataKey, err := h.Key.Unwrap(ctx, id, s)
	return dataKey[:len(dataKey)/2], err
}

// nameless has no name by which others could know it.
type nameless struct {
	envelope.Identity
	_ []byte
}

func sealFor(t *testing.T, to ...envelope.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &out, label, to...)
	if err == nil {
		_, err = w.Write([]byte("message"))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnyHolder(t *testing.T) {
	p := plugin{secret: kek.Generate(), asked: new(int)}
	q := plugin{secret: kek.Generate(), asked: new(int)}
	sealed := sealFor(t, keyA, p, q)
	down := errors.New("the token is not there")
	for name, tc := range map[string]struct {
		offered []envelope.Identity
		want    string
	}{
		"the plugin alone":                      {[]envelope.Identity{p}, "opens"},
		"after another":                         {[]envelope.Identity{keyB, plugin{kek.Generate(), nil, new(int)}, q}, "opens"},
		"one that fails, and a key":             {[]envelope.Identity{plugin{p.secret, down, new(int)}, keyA}, "opens"},
		"one that fails":                        {[]envelope.Identity{plugin{p.secret, down, new(int)}}, "unnamed: opening the slot for plugin"},
		"another":                               {[]envelope.Identity{plugin{kek.Generate(), nil, new(int)}}, "wrong key"},
		"a key that has a slot is not a plugin": {[]envelope.Identity{p.secret}, "wrong key"},
		"one that gives half a key":             {[]envelope.Identity{halving{Key: keyA}}, "damaged"},
		"two that cannot be compared":           {[]envelope.Identity{nameless{Identity: plugin{kek.Generate(), nil, new(int)}}, nameless{Identity: q}}, "opens"},
	} {
		got, r, err := open(sealed, envelope.Options{Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) { return tc.offered, nil }})
		if c := class(err); !strings.HasPrefix(c, tc.want) || err == nil && (got != "message" || r.Altered != nil) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	*p.asked = 0
	if _, _, err := open(sealed, envelope.Options{Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
		return []envelope.Identity{p, p}, nil
	}}); err != nil || *p.asked != 1 {
		t.Errorf("a plugin that is found twice is asked %d times: %v", *p.asked, err)
	}
	*p.asked = 0
	bad := bytes.Replace(sealed, []byte("...."), []byte("..,."), 1)
	if _, err := envelope.Open(t.Context(), bytes.NewReader(bad), envelope.Options{Rescue: true}, p); err != nil || *p.asked > 2 {
		t.Errorf("a rescue asks a plugin %d times about two slots: %v", *p.asked, err)
	}
}

// TestWriterHoldsRecipientsToTheFormat: what a recipient makes is checked before
// it is written.
func TestWriterHoldsRecipientsToTheFormat(t *testing.T) {
	for name, s := range map[string]envelope.Slot{
		"no type":     {Args: []string{"x"}},
		"no argument": {Type: "age"},
		"a space":     {Type: "age", Args: []string{"a b"}},
		"a line feed": {Type: "age", Args: []string{"a\npad ."}},
		"too long":    {Type: "age", Args: []string{strings.Repeat("x", slot.MaxLine)}},
		"a bad key":   {Type: "key", Args: []string{"x", "y"}},
	} {
		var out bytes.Buffer
		if _, err := envelope.NewWriter(t.Context(), &out, label, fixed(s)); err == nil || out.Len() > 0 {
			t.Errorf("%s: %d bytes, %v", name, out.Len(), err)
		}
	}
}

type fixed envelope.Slot

func (f fixed) Wrap(context.Context, envelope.ID, []byte) (envelope.Slot, error) {
	return envelope.Slot(f), nil
}

func TestWiped(t *testing.T) {
	k := kek.Generate()
	sealed := seal(t, label, "message", k)
	k.Wipe()
	var out bytes.Buffer
	if _, err := envelope.NewWriter(t.Context(), &out, label, k); !errors.Is(err, kek.ErrWiped) || out.Len() > 0 {
		t.Errorf("a wiped key seals: %v", err)
	}
	if _, _, err := open(sealed, envelope.Options{}, k); !errors.Is(err, kek.ErrWiped) {
		t.Errorf("a wiped key opens: %v", err)
	}
}

// TestEveryOfferedKeyIsTried: keys are found lazily, and the first that is wanted
// need not be the one that opens.
func TestEveryOfferedKeyIsTried(t *testing.T) {
	sealed := seal(t, label, "message", keyA, keyB, keyC)
	bad := bytes.Replace(sealed, []byte("\nslot key "+string(keyA.ID())), []byte("\nslot kex "+string(keyB.ID())), 1)
	for _, keys := range [][]*kek.Key{{keyA, keyB}, {keyB, keyA}} {
		if got, r, err := open(bad, envelope.Options{Rescue: true, Find: have(keys...)}); err != nil || got != "message" || r.Holder != keyB.Holder() {
			t.Errorf("%q, %v", got, err)
		}
	}
	// One that opens asks for no more.
	var asked [][]slot.Holder
	_, _, err := open(sealed, envelope.Options{Find: func(ctx context.Context, wanted []slot.Holder) ([]envelope.Identity, error) {
		asked = append(asked, slices.Clone(wanted))
		return have(keyB, keyC)(ctx, wanted)
	}})
	if err != nil || len(asked) != 1 {
		t.Errorf("asked for %v: %v", asked, err)
	}
}

// TestCancelled: whoever gives up while an identity is asked gets to know that.
func TestCancelled(t *testing.T) {
	sealed := sealFor(t, keyA)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := envelope.Open(ctx, bytes.NewReader(sealed), envelope.Options{}, keyB); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
