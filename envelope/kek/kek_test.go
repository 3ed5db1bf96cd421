package kek_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

func sequence() []byte {
	b := make([]byte, kek.Size)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestNewCopiesAndNames(t *testing.T) {
	material := sequence()
	k, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	clear(material)
	if !bytes.Equal(k.Bytes(), sequence()) {
		t.Error("the key shares memory with the caller's slice")
	}
	// printf 'takumi-backup/v1 key id' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f
	if got, want := k.ID(), kek.ID("11d0ee5d8f5cfc5f"); got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
	k.Wipe()
	if !bytes.Equal(k.Bytes(), make([]byte, kek.Size)) {
		t.Error("Wipe left material behind")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		material []byte
		want     error
	}{
		"empty":     {nil, kek.ErrSize},
		"31 bytes":  {sequence()[:31], kek.ErrSize},
		"33 bytes":  {append(sequence(), 1), kek.ErrSize},
		"all zero":  {make([]byte, 32), kek.ErrUniform},
		"all equal": {bytes.Repeat([]byte{0xa5}, 32), kek.ErrUniform},
	} {
		if _, err := kek.New(tc.material); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

func TestGenerateDiffers(t *testing.T) {
	if a, b := kek.Generate(), kek.Generate(); bytes.Equal(a.Bytes(), b.Bytes()) || a.ID() == b.ID() {
		t.Error("two generated keys are equal")
	}
}

func TestNeverPrints(t *testing.T) {
	k, err := kek.New(sequence())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%b", "%T %p"} {
		fmt.Fprintf(&out, verb+"\n", k)
		fmt.Fprintf(&out, verb+"\n", *k)
		fmt.Fprintf(&out, verb+"\n", struct{ K *kek.Key }{k})
		fmt.Fprintf(&out, verb+"\n", struct{ K kek.Key }{*k})
		fmt.Fprintf(&out, verb+"\n", struct{ k kek.Key }{*k})
	}
	for _, v := range []any{k, *k, map[string]any{"k": k}, []kek.Key{*k}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", k, "v", *k)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "k", k, "v", *k)

	hexKey := hex.EncodeToString(sequence())
	for _, leak := range []string{
		hexKey[:16], strings.ToUpper(hexKey[20:36]), string(sequence()[:8]), "0 1 2 3 4", "0x0, 0x1, 0x2",
		base64.StdEncoding.EncodeToString(sequence())[:12],
	} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds key material as %q:\n%s", leak, out.String())
		}
	}
}

func TestWrap(t *testing.T) {
	k, other := kek.Generate(), kek.Generate()
	id, dataKey := slot.ID{1}, bytes.Repeat([]byte{7}, slot.DataKeySize)
	s, err := k.Wrap(t.Context(), id, dataKey)
	if err != nil || s.Check() != nil || s.Holder() != k.Holder() || len(s.Args) != 2 {
		t.Fatalf("%v, %v", s, err)
	}
	if got, err := k.Unwrap(t.Context(), id, s); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("%x, %v", got, err)
	}
	renamed := slot.Slot{Type: s.Type, Args: []string{string(other.ID()), s.Args[1]}}
	if got, err := k.Unwrap(t.Context(), id, renamed); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("under another name: %x, %v", got, err)
	}
	for name, tc := range map[string]struct {
		id   slot.ID
		slot slot.Slot
		key  *kek.Key
		want error
	}{
		"another's slot":        {id, s, other, slot.ErrNotMine},
		"its name, another key": {id, renamed, other, slot.ErrDamaged},
		"of another backup":     {slot.ID{2}, s, k, slot.ErrDamaged},
		"another type":          {id, slot.Slot{Type: "age", Args: s.Args}, k, slot.ErrNotMine},
		"one argument":          {id, slot.Slot{Type: "key", Args: s.Args[:1]}, k, slot.ErrNotMine},
		"no base64":             {id, slot.Slot{Type: "key", Args: []string{s.Args[0], "x"}}, k, slot.ErrDamaged},
	} {
		if got, err := tc.key.Unwrap(t.Context(), tc.id, tc.slot); !errors.Is(err, tc.want) || got != nil {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	if _, err := k.Wrap(t.Context(), id, dataKey[:31]); err == nil {
		t.Error("a data key of 31 bytes is wrapped")
	}
}

func TestWipedKeyRefuses(t *testing.T) {
	k := kek.Generate()
	id, dataKey := slot.ID{1}, make([]byte, slot.DataKeySize)
	s, err := k.Wrap(t.Context(), id, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	aliased := *k
	k.Wipe()
	for name, k := range map[string]*kek.Key{"wiped": k, "a copy of it": &aliased, "zero": new(kek.Key)} {
		if s, err := k.Wrap(t.Context(), id, dataKey); !errors.Is(err, kek.ErrWiped) || s.Args != nil {
			t.Errorf("%s: wraps: %v", name, err)
		}
		if _, err := k.Unwrap(t.Context(), id, s); !errors.Is(err, kek.ErrWiped) {
			t.Errorf("%s: unwraps: %v", name, err)
		}
	}
}
