package paper_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// same reports whether two typed lines differ in nothing that matters. A slash
// ends a line, so that one at either end does not matter.
func same(a, b string) bool {
	fold := strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1")
	return strings.Trim(fold.Replace(strings.ToUpper(a)), "/") == strings.Trim(fold.Replace(strings.ToUpper(b)), "/")
}

// pointed returns the line that the first error points at, or -1.
func pointed(err error) int {
	var at *paper.LineError
	if !errors.As(err, &at) {
		return -1
	}
	return at.Line
}

// TestTypingErrors: a thousand single mistakes of each kind, of which every one
// is pointed at by its line, and none gives a key.
func TestTypingErrors(t *testing.T) {
	const keyboard = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz.,;:/?!#é "
	chars := []rune(keyboard)
	mistakes := map[string]func(r *rand.Rand, line []rune, at int) string{
		"another letter": func(r *rand.Rand, line []rune, at int) string {
			return string(line[:at]) + string(chars[r.IntN(len(chars))]) + string(line[at+1:])
		},
		"a letter too many": func(r *rand.Rand, line []rune, at int) string {
			return string(line[:at]) + string(chars[r.IntN(len(chars))]) + string(line[at:])
		},
		"a letter left out": func(r *rand.Rand, line []rune, at int) string {
			return string(line[:at]) + string(line[at+1:])
		},
		"two letters swapped": func(r *rand.Rand, line []rune, at int) string {
			to := (at + 1) % len(line)
			line[at], line[to] = line[to], line[at]
			return string(line)
		},
	}
	for what, mistake := range mistakes {
		t.Run(what, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			for made := 0; made < 1000; {
				text := string(vector(t, []string{"key.txt", "share.txt"}[made%2]))
				lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
				n := r.IntN(len(lines))
				line := []rune(lines[n])
				typed := mistake(r, line, r.IntN(len(line)))
				if same(typed, lines[n]) {
					continue
				}
				made++
				lines[n] = typed
				blocks, err := paper.Parse([]byte(strings.Join(lines, "\n")))
				if err == nil {
					t.Errorf("line %d typed as %q passed: %v", n, typed, blocks)
				} else if pointed(err) != n {
					t.Errorf("line %d typed as %q: %v", n, typed, err)
				}
			}
		})
	}
}

func TestBadTexts(t *testing.T) {
	key, share := string(vector(t, "key.txt")), string(vector(t, "share.txt"))
	line := func(text string, n int) string { return strings.Split(text, "\n")[n] + "\n" }
	swap := func(text string, a, b int) string {
		lines := strings.Split(text, "\n")
		lines[a], lines[b] = lines[b], lines[a]
		return strings.Join(lines, "\n")
	}
	other := strings.Split(string(vector(t, "shares.txt")), "\n")[3*7:] // from share 4 on
	for _, c := range []struct{ name, text, want string }{
		{"a line left out", strings.Replace(key, line(key, 3), "", 1), "key 11d0ee5d8f5cfc5f, line 3 (line 4 of the text): it is missing"},
		{"two lines left out", strings.Replace(key, line(key, 2)+line(key, 3), "", 1), "line 2 (line 3 of the text): it is missing\nkey 11d0ee5d8f5cfc5f, line 3"},
		{"the end left out", strings.Replace(key, line(key, 4)+line(key, 5), "", 1), "line 4 (line 4 of the text): it is missing"},
		{"only the title", line(key, 0), "key, line 1 (line 1 of the text): it is missing"},
		{"the first line left out", strings.Replace(share, line(share, 1), "", 1), "share, line 1 (line 2 of the text)"},
		{"the title left out", strings.Replace(share, line(share, 0), "", 1), "block, the line before line 1 (line 1 of the text): it is missing"},
		{"lines exchanged", swap(key, 2, 4), "line 2 (line 3 of the text)"},
		{"a line of another share", strings.Replace(share, line(share, 3), other[3]+"\n", 1), "share 2 of 5 of set 4T9K7M2Q, line 3 (line 4 of the text): it does not fit"},
		{"an error in a second block", share + strings.Replace(key, "\n4 ", "\n4 X", 1), "key 11d0ee5d8f5cfc5f, line 4 (line 12 of the text)"},
		{"a newer version", strings.Replace(key, "V1", "V2", 1), "version 2"},
		{"nothing", "", paper.ErrNone.Error()},
		{"words", "the quick brown fox\n", paper.ErrNone.Error()},
		{"too much", strings.Repeat("\n", paper.MaxText+1), paper.ErrTooLong.Error()},
	} {
		blocks, err := paper.Parse([]byte(c.text))
		if blocks != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want %q", c.name, blocks, err, c.want)
		}
	}
}

// Errors say where, and do not repeat what was typed.
func TestErrorsAreQuiet(t *testing.T) {
	text := vector(t, "key.txt")
	for at, c := range text {
		if c == '\n' || c == ' ' {
			continue
		}
		typed := bytes.Clone(text)
		typed[at] = '?'
		_, err := paper.Parse(typed)
		for i := 60; err != nil && i+9 < len(text); i++ { // the lines with the key
			if strings.Contains(err.Error(), string(text[i:i+9])) {
				t.Fatalf("%v repeats %q", err, text[i:i+9])
			}
		}
	}
}

func TestTypist(t *testing.T) {
	for name, kind := range map[string]paper.Kind{"key.txt": paper.KindKey, "share.txt": paper.KindShare} {
		text := vector(t, name)
		want := parseOne(t, text)
		typist := paper.NewTypist(kind)
		var got *paper.Block
		for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if number, form := typist.Next(); i > 0 && (number != i || !strings.HasPrefix(form, line[:1])) {
				t.Errorf("%s: line %d, %q comes next", name, number, form)
			}
			if i > 0 {
				if b, err := typist.Line([]byte(line[:len(line)-1])); b != nil || pointed(err) != i {
					t.Errorf("%s, line %d cut short: %v, %v", name, i, b, err)
				}
			}
			if i > 1 {
				line = line[1:] // without its number
			}
			var err error
			if got, err = typist.Line([]byte(line)); err != nil {
				t.Fatalf("%s, line %d: %v", name, i, err)
			}
		}
		if got == nil || got.Label != want.Label || !bytes.Equal(got.Payload(), want.Payload()) {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// FuzzParse: what is accepted is, letter for letter, what Text writes again.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"key.txt", "share.txt", "shares.txt"} {
		f.Add(vector(f, name))
	}
	f.Add(paper.NewKey(testKey(f)).Compact())
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		blocks, err := paper.Parse(text)
		if !bytes.Equal(text, before) {
			t.Fatal("the text was changed")
		}
		if (len(blocks) == 0) == (err == nil) {
			t.Fatalf("got both or neither of blocks and an error: %v, %v", blocks, err)
		}
		fold := func(s []byte) string {
			return strings.Map(func(r rune) rune {
				switch {
				case r == 'O':
					return '0'
				case r == 'I', r == 'L':
					return '1'
				case r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
					return r
				}
				return -1
			}, strings.Map(func(r rune) rune {
				if 'a' <= r && r <= 'z' {
					return r - 'a' + 'A'
				}
				return r
			}, string(s)))
		}
		typed := fold(text)
		for _, b := range blocks {
			canonical := b.Text()
			if !strings.Contains(typed, fold(canonical)) {
				t.Fatalf("%q was read as\n%s", text, canonical)
			}
			again, err := paper.Parse(canonical)
			if err != nil || len(again) != 1 || !bytes.Equal(again[0].Text(), canonical) {
				t.Fatalf("the canonical text is read as %v, %v", again, err)
			}
		}
	})
}
