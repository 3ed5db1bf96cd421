package keystore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

var keyText = regexp.MustCompile(`\A\x{FEFF}?[ \t\r\n]*([0-9A-Fa-f]{64})[ \t\r\n]*\z`)

// FuzzKeyFile holds the parser against the rule in one line, and its errors
// against the text that they must not repeat.
func FuzzKeyFile(f *testing.F) {
	digits := "0f2a83d1c46b97e5fe1db8473c605a922d7b14f9a05ce8634b91d7f20e8a36c5"
	for _, seed := range []string{
		digits, digits + "\n", strings.ToUpper(digits) + "\n", digits[1:], digits + "0", digits + "\n\n", digits + "\r\n",
		" " + digits, "\xef\xbb\xbf" + digits, strings.Repeat("00", 32), "", "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		key, err := ParseText(text)
		if !bytes.Equal(text, before) {
			t.Fatal("the text was changed")
		}
		if (key == nil) == (err == nil) {
			t.Fatalf("got both or neither of a key and an error: %v, %v", key, err)
		}
		if !keyText.Match(text) {
			if err == nil {
				t.Fatalf("accepted %q", text)
			}
			for i := 0; i+12 <= len(text); i++ {
				if piece := text[i : i+12]; bytes.ContainsAny(piece, "0123456789") && strings.Contains(err.Error(), string(piece)) {
					t.Fatalf("the error repeats %q: %v", piece, err)
				}
			}
			return
		}
		want, _ := hex.DecodeString(string(keyText.FindSubmatch(text)[1]))
		if bytes.Count(want, want[:1]) == len(want) {
			if !errors.Is(err, kek.ErrUniform) {
				t.Fatalf("got %v for equal bytes, want kek.ErrUniform", err)
			}
			return
		}
		if errors.Is(err, ErrWeak) && weakness(want) != "" {
			return
		}
		if err != nil || !bytes.Equal(key.Bytes(), want) {
			t.Fatalf("%q: got %v", text, err)
		}
	})
}
