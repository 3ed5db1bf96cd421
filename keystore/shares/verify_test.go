package shares

import (
	"errors"
	"fmt"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

func TestVerify(t *testing.T) {
	key := kek.Generate()
	for _, c := range []struct {
		n, k int
		want string
	}{
		{2, 2, "all 1"}, {5, 3, "all 10"}, {10, 5, "all 252"}, {60, 60, "all 1"},
		{40, 3, "a random sample of 5000 of 9880"},
	} {
		blocks, err := Split(key, c.n, c.k)
		if err != nil {
			t.Fatal(err)
		}
		if proof, err := Verify(blocks); err != nil || proof.String() != c.want {
			t.Errorf("%d of %d: %v, %v; want %s", c.k, c.n, proof, err, c.want)
		}
	}
}

func TestLimit(t *testing.T) {
	for threshold, want := range map[int]int{2: 5000, 8: 5000, 9: 4938, 58: 118, 200: 20, 255: 20} {
		if got := limit(threshold); got != want {
			t.Errorf("%d combinations of %d, want %d", got, threshold, want)
		}
	}
}

// A share that is false is found, whichever it is.
func TestVerifyFindsAFalseShare(t *testing.T) {
	for at := range 5 {
		blocks, err := Split(kek.Generate(), 5, 3)
		if err != nil {
			t.Fatal(err)
		}
		blocks[at].Payload()[7] ^= 1
		if _, err := Verify(blocks); !errors.Is(err, ErrWrong) {
			t.Errorf("share %d: got %v", at+1, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	blocks, err := Split(kek.Generate(), 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(blocks[:4]); !errors.Is(err, ErrTooFew) {
		t.Errorf("4 of 5: %v", err)
	}
	if _, err := Verify(nil); !errors.Is(err, ErrTooFew) {
		t.Errorf("none: %v", err)
	}
	if _, err := Verify([]*paper.Block{paper.NewKey(kek.Generate())}); !errors.Is(err, ErrNotShare) {
		t.Errorf("a key: %v", err)
	}
}

// What is tried is all different, in order, and covers every share.
func TestChoices(t *testing.T) {
	for _, c := range []struct{ n, k, size, want int }{
		{5, 3, 0, 10}, {7, 7, 0, 1}, {9, 2, 0, 36}, {20, 10, 50, 50}, {255, 2, 5000, 5000}, {6, 4, 14, 14},
	} {
		choose := every(c.n, c.k)
		if c.size > 0 {
			choose = sample(c.n, c.k, c.size)
		}
		seen, used := map[string]bool{}, map[int]bool{}
		for choice := range choose {
			seen[fmt.Sprint(choice)] = true
			for i, at := range choice {
				used[at] = true
				if at < 0 || at >= c.n || i > 0 && at <= choice[i-1] {
					t.Fatalf("%v is not a choice of %d of %d", choice, c.k, c.n)
				}
			}
		}
		if len(seen) != c.want || len(used) != c.n {
			t.Errorf("%v: %d choices of %d shares", c, len(seen), len(used))
		}
	}
}
