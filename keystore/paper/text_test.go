package paper_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// testKey is the key of the published vectors: the bytes 00 to 1f.
func testKey(t testing.TB) *kek.Key {
	t.Helper()
	material := make([]byte, kek.Size)
	for i := range material {
		material[i] = byte(i)
	}
	key, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// vector reads a published text.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parseOne(t testing.TB, text []byte) *paper.Block {
	t.Helper()
	blocks, err := paper.Parse(text)
	if err != nil || len(blocks) != 1 {
		t.Fatalf("got %v, %v; want one block", blocks, err)
	}
	return blocks[0]
}

func TestPublishedKey(t *testing.T) {
	want := vector(t, "key.txt")
	if got := paper.NewKey(testKey(t)).Text(); !bytes.Equal(got, want) {
		t.Errorf("the written form has changed:\n%s", got)
	}
	key, err := parseOne(t, want).Secret()
	if err != nil || !bytes.Equal(key.Bytes(), testKey(t).Bytes()) {
		t.Errorf("got %v, %v", key, err)
	}
	page, err := os.ReadFile("../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(want) + string(vector(t, "share.txt"))) {
		if !strings.Contains(string(page), "    "+line) {
			t.Errorf("docs/FORMAT.md lacks the line %s", line)
		}
	}
}

func TestPublishedShares(t *testing.T) {
	text := vector(t, "shares.txt")
	blocks, err := paper.Parse(text)
	if err != nil || len(blocks) != 5 {
		t.Fatalf("got %v, %v", blocks, err)
	}
	var again []byte
	for i, b := range blocks {
		want := paper.Label{Kind: paper.KindShare, KeyID: testKey(t).ID(), Set: "4T9K7M2Q", Number: i + 1, Total: 5, Threshold: 3}
		if b.Label != want {
			t.Errorf("label %+v, want %+v", b.Label, want)
		}
		made, err := paper.NewShare(want, b.Payload())
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, made.Text()...)
	}
	if !bytes.Equal(again, text) {
		t.Error("the written form has changed")
	}
}

// Whatever a person does that does not change the letters, does no harm.
func TestLooseTyping(t *testing.T) {
	for _, name := range []string{"key.txt", "share.txt"} {
		text := string(vector(t, name))
		want := parseOne(t, []byte(text))
		for what, typed := range map[string]string{
			"lower case":        strings.ToLower(text),
			"no groups":         strings.ReplaceAll(text, " ", ""),
			"dashes":            strings.ReplaceAll(text, " ", "-"),
			"wide dashes":       strings.ReplaceAll(text, " ", "\u2013\u00a0\u2212\t"),
			"o, i and l":        strings.NewReplacer("0", "o", "1", "l").Replace(strings.Replace(text, "1", "I", 1)),
			"Windows":           strings.ReplaceAll(text, "\n", "\r\n"),
			"byte order mark":   "\ufeff" + text,
			"empty lines":       strings.ReplaceAll(text, "\n", "\n\n \n"),
			"no final newline":  strings.TrimSuffix(text, "\n"),
			"slashes":           strings.ReplaceAll(text, "\n", "/"),
			"words around":      "Page 1 of 1: takumi-backup key\n\nKey id, date, and/or more\n" + text + "Custodian\n1 signature\n",
			"compact":           string(want.Compact()),
			"the text as it is": text,
		} {
			b, err := paper.Parse([]byte(typed))
			if err != nil || len(b) != 1 {
				t.Errorf("%s, %s: %v, %v", name, what, b, err)
				continue
			}
			if b[0].Label != want.Label || !bytes.Equal(b[0].Payload(), want.Payload()) {
				t.Errorf("%s, %s: another block was read", name, what)
			}
		}
	}
}

func TestNewShareRefuses(t *testing.T) {
	good := paper.Label{Kind: paper.KindShare, KeyID: "11d0ee5d8f5cfc5f", Set: "4T9K7M2Q", Number: 2, Total: 5, Threshold: 3}
	payload := make([]byte, paper.ShareSize)
	payload[paper.ShareSize-1] = 1
	if _, err := paper.NewShare(good, payload); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*paper.Label){
		"kind":            func(l *paper.Label) { l.Kind = paper.KindKey },
		"key id":          func(l *paper.Label) { l.KeyID = "11D0EE5D8F5CFC5F" },
		"short set":       func(l *paper.Label) { l.Set = "4T9K7M2" },
		"set with U":      func(l *paper.Label) { l.Set = "4T9K7M2U" },
		"number 0":        func(l *paper.Label) { l.Number = 0 },
		"number 6 of 5":   func(l *paper.Label) { l.Number = 6 },
		"threshold 1":     func(l *paper.Label) { l.Threshold = 1 },
		"threshold 6 > 5": func(l *paper.Label) { l.Threshold = 6 },
		"total 256":       func(l *paper.Label) { l.Total = 256 },
	} {
		bad := good
		change(&bad)
		if b, err := paper.NewShare(bad, payload); err == nil {
			t.Errorf("%s: got %v", what, b)
		}
	}
	if _, err := paper.NewShare(good, payload[1:]); err == nil {
		t.Error("a short payload was accepted")
	}
	if _, err := paper.NewShare(good, make([]byte, paper.ShareSize)); err == nil {
		t.Error("a payload at x = 0, which is the secret, was accepted")
	}
}

// No output shows more than the label.
func TestNeverPrints(t *testing.T) {
	b := parseOne(t, vector(t, "share.txt"))
	holder := struct {
		Block *paper.Block
		Value paper.Block
		inner *paper.Block
	}{b, *b, b}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{b, *b, holder, []*paper.Block{b}} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
	}
	out, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	printed.Write(out)
	slog.New(slog.NewTextHandler(&printed, nil)).Info("", "block", b, "value", *b)
	payload := b.Payload()
	for _, secret := range []string{fmt.Sprintf("%x", payload[:8]), fmt.Sprintf("%X", payload[:8]), fmt.Sprint(payload[:8]), string(payload[:8]), string(b.Text()[99:113])} {
		if bytes.Contains(printed.Bytes(), []byte(strings.Trim(secret, "[]"))) {
			t.Errorf("%q was printed", secret)
		}
	}
	if !strings.Contains(printed.String(), "share 2 of 5 of set 4T9K7M2Q") {
		t.Error("not even the label was printed")
	}
	b.Wipe()
	if !bytes.Equal(b.Payload(), make([]byte, paper.ShareSize)) {
		t.Error("Wipe left something")
	}
}
