package shares_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
)

func split(t testing.TB, key *kek.Key, n, threshold int) []*paper.Block {
	t.Helper()
	blocks, err := shares.Split(key, n, threshold)
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// choose returns those of blocks whose bit is set.
func choose(blocks []*paper.Block, bits int) (chosen []*paper.Block) {
	for i, b := range blocks {
		if bits>>i&1 == 1 {
			chosen = append(chosen, b)
		}
	}
	return chosen
}

// forge returns a share with another label.
func forge(t testing.TB, b *paper.Block, change func(*paper.Label)) *paper.Block {
	t.Helper()
	l := b.Label
	change(&l)
	forged, err := paper.NewShare(l, b.Payload())
	if err != nil {
		t.Fatal(err)
	}
	return forged
}

// TestEveryCombination: of 5 shares with threshold 3, all 10 threes, 5 fours and
// the five restore the key; the 10 pairs and 5 singles do not, and neither do
// pairs that claim to be enough.
func TestEveryCombination(t *testing.T) {
	key := kek.Generate()
	var typed []*paper.Block // as they come back from paper
	for _, b := range split(t, key, 5, 3) {
		read, err := paper.Parse(b.Text())
		if err != nil {
			t.Fatal(err)
		}
		typed = append(typed, read...)
	}
	restored := map[int]int{}
	for bits := range 1 << 5 {
		chosen := choose(typed, bits)
		got, err := shares.Combine(chosen)
		switch {
		case len(chosen) < 3:
			if got != nil || !errors.Is(err, shares.ErrTooFew) {
				t.Errorf("%v: got %v, %v", chosen, got, err)
			}
		case err != nil || !bytes.Equal(got.Bytes(), key.Bytes()):
			t.Errorf("%v: got %v, %v", chosen, got, err)
		default:
			restored[len(chosen)]++
		}
		if len(chosen) == 2 {
			var lying []*paper.Block
			for _, b := range chosen {
				lying = append(lying, forge(t, b, func(l *paper.Label) { l.Threshold = 2 }))
			}
			if got, err := shares.Combine(lying); got != nil || !errors.Is(err, shares.ErrWrong) {
				t.Errorf("%v with threshold 2: got %v, %v", chosen, got, err)
			}
		}
	}
	if want := map[int]int{3: 10, 4: 5, 5: 1}; fmt.Sprint(restored) != fmt.Sprint(want) {
		t.Errorf("restored %v, want %v", restored, want)
	}
}

// The published shares, made once, for whoever reads them with another program.
func TestPublishedShares(t *testing.T) {
	text, err := os.ReadFile("../paper/testdata/shares.txt")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := paper.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	key, err := shares.Combine(blocks[2:])
	if err != nil || fmt.Sprintf("%x", key.Bytes()) != "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" {
		t.Errorf("got %v, %v", key, err)
	}
}

func TestSplitRefuses(t *testing.T) {
	key := kek.Generate()
	for _, c := range [][2]int{{0, 0}, {1, 1}, {2, 1}, {3, 4}, {256, 2}, {300, 256}, {-1, -1}} {
		if b, err := shares.Split(key, c[0], c[1]); b != nil || !errors.Is(err, shares.ErrLimits) {
			t.Errorf("%d of %d: got %v, %v", c[1], c[0], b, err)
		}
	}
}

// The key stays whole after its shares are wiped, and each split is another set.
func TestSplitIsFresh(t *testing.T) {
	key := kek.Generate()
	before := bytes.Clone(key.Bytes())
	a, b := split(t, key, 3, 2), split(t, key, 3, 2)
	if a[0].Set == b[0].Set || bytes.Equal(a[0].Payload()[:kek.Size], b[0].Payload()[:kek.Size]) {
		t.Error("two splits gave the same")
	}
	paper.Wipe(a)
	if !bytes.Equal(key.Bytes(), before) {
		t.Error("the key was changed")
	}
}

func TestCombineRefuses(t *testing.T) {
	key := kek.Generate()
	set, other := split(t, key, 5, 3), split(t, kek.Generate(), 5, 3)
	tampered, err := paper.NewShare(set[1].Label, other[1].Payload())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		blocks []*paper.Block
		kind   error
		says   string
	}{
		{"none", nil, shares.ErrTooFew, "there is none"},
		{"one", set[:1], shares.ErrTooFew, "there are 1 of 3, and 2 more shares are needed"},
		{"two", set[:2], shares.ErrTooFew, "there are 2 of 3, and 1 more share is needed"},
		{"another set", []*paper.Block{set[0], set[1], other[2]}, shares.ErrMixed, "share 3 of 5 of set " + other[2].Set},
		{"the same twice", []*paper.Block{set[0], set[1], set[1]}, shares.ErrDuplicate, "given twice: share 2 of 5"},
		{"two keys", append(slices.Clone(set), other...), shares.ErrMixed, "enough of key"},
		{"the same number", []*paper.Block{set[0], set[1], tampered}, shares.ErrDuplicate, "two versions of share 2 of 5"},
		{"a false one", []*paper.Block{set[0], tampered, set[2]}, shares.ErrWrong, string(key.ID())},
		{"another threshold", []*paper.Block{set[0], forge(t, set[1], func(l *paper.Label) { l.Threshold = 2 }), set[2]}, shares.ErrMixed,
			"by share 1 of set " + set[0].Set + " 3 of 5 are needed, and by share 2 2 of 5"},
		{"another total", []*paper.Block{set[0], forge(t, set[1], func(l *paper.Label) { l.Total = 6 }), set[2]}, shares.ErrMixed, "2 3 of 6"},
		{"another key", []*paper.Block{set[0], forge(t, set[1], func(l *paper.Label) { l.KeyID = other[0].KeyID }), set[2]}, shares.ErrMixed, "share 2 of key"},
		{"a share renumbered", []*paper.Block{set[0], forge(t, set[0], func(l *paper.Label) { l.Number = 2 }), set[2]}, shares.ErrWrong, ""},
		{"a whole key", []*paper.Block{set[0], paper.NewKey(key), set[2]}, shares.ErrNotShare, "key " + string(key.ID())},
		{"only a whole key", []*paper.Block{paper.NewKey(key)}, shares.ErrNotShare, ""},
	} {
		got, err := shares.Combine(c.blocks)
		if got != nil || !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: got %v, %v; want %v: %q", c.name, got, err, c.kind, c.says)
		}
	}
}

// TestOddShares: with enough good shares the others are named and do no harm,
// wherever they stand.
func TestOddShares(t *testing.T) {
	key := kek.Generate()
	set, again, other := split(t, key, 5, 3), split(t, key, 4, 3), split(t, kek.Generate(), 5, 3)
	tampered, err := paper.NewShare(set[1].Label, other[1].Payload())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		good []*paper.Block
		odd  []*paper.Block
		says string
	}{
		{"given twice", set[:3], set[1:2], "share 2 of 5 of set " + set[0].Set + ": it is given twice"},
		{"of another key", set[:3], other[3:4], "share 4 of 5 of set " + other[0].Set + ": it is of another set"},
		{"of another split", set[:3], again[:2], "of set " + again[0].Set + ": it is of another set"},
		{"false, to spare", []*paper.Block{set[0], set[2], set[3]}, []*paper.Block{tampered}, "share 2 of 5 of set " + set[0].Set + ": it is false"},
		{"false, of a number that is there", set[:4], []*paper.Block{tampered}, "share 2 of 5 of set " + set[0].Set + ": it is false"},
		{"several", set, []*paper.Block{set[4], other[0], tampered}, "it is of another set"},
		{"none", set[:4], nil, ""},
	} {
		for range 5 {
			blocks := append(slices.Clone(c.good), c.odd...)
			rand.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
			got, err := shares.Combine(blocks)
			if err != nil || !bytes.Equal(got.Bytes(), key.Bytes()) {
				t.Fatalf("%s: %v, %v", c.name, got, err)
			}
			odd := shares.Ignored(blocks)
			if len(odd) != len(c.odd) || !strings.Contains(strings.Join(odd, "\n"), c.says) {
				t.Errorf("%s: %q, want %d with %q", c.name, odd, len(c.odd), c.says)
			}
		}
	}
}
