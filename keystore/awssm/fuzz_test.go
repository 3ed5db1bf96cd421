package awssm_test

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

// FuzzField puts a key in a JSON object of any form: it is either refused, or
// the key can be read, and all else means what it meant before.
func FuzzField(f *testing.F) {
	for _, text := range []string{`{}`, ` { "key" : "" } `, `{"a":1,"key":null,"b":[{"key":2}]}`, `{"key":1e5 ,"é":"\ud83d"}`, `{"key":1,"key":2}`, `[`, `{"a":1}{`, ``} {
		f.Add(text, "key")
	}
	f.Add(`{"\u0000\"":true}`, "\x00\"")
	key := kek.Generate()
	f.Fuzz(func(t *testing.T, text, field string) {
		if field == "" || !utf8.ValidString(field) {
			return // the one means that the value is not an object, the other is no URI
		}
		fresh, err := awssm.PutIn(text, false, field, key)
		if err != nil {
			return
		}
		var was, is map[string]any
		if text == "" {
			text = "{}"
		}
		if err := json.Unmarshal([]byte(text), &was); err != nil {
			t.Fatalf("%q was taken for an object: %v", text, err)
		}
		if err := json.Unmarshal([]byte(fresh), &is); err != nil {
			t.Fatalf("%q became %q: %v", text, fresh, err)
		}
		got, err := awssm.KeyIn(fresh, false, field)
		if err != nil || got.ID() != key.ID() {
			t.Fatalf("%q became %q: %v", text, fresh, err)
		}
		was[field] = hex.EncodeToString(key.Bytes())
		if !reflect.DeepEqual(was, is) {
			t.Fatalf("%q became %q", text, fresh)
		}
	})
}
