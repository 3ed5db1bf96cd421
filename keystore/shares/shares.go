// Package shares splits a key, or an age identity, into shares, and combines them.
//
// [Split] a key, check the result with [Verify], and write each share down as its Text
// (package paper). To restore the key, read the shares with paper.Parse and [Combine] them.
//
// The shares are those of Adi Shamir's "How to share a secret" (Communications of the ACM
// 22, 1979), over GF(2^8), by github.com/hashicorp/vault/shamir. Fewer than the threshold
// reveal nothing. A holder can replace a share by a false one: the result then does not
// have the key's id. With spare shares Combine finds the false one; without, nothing shows
// whose it is.
package shares

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/shamir"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// Why Combine refuses shares, for errors.Is.
var (
	// ErrLimits is returned by Split for numbers that make no sense.
	ErrLimits = errors.New("a key has 2 to 255 shares, and 2 up to all of them restore it")

	// ErrNotShare means that a whole key is among the shares.
	ErrNotShare = errors.New("a whole key is not a share")

	// ErrMixed means that shares are of different sets, or disagree about the set.
	ErrMixed = errors.New("the shares are not of one set")

	// ErrDuplicate means that a share was given twice.
	ErrDuplicate = errors.New("a share is given twice")

	// ErrTooFew means that more shares are needed.
	ErrTooFew = errors.New("too few shares")

	// ErrWrong means that the shares match but do not give the key: at least one is false.
	ErrWrong = errors.New("the shares do not give the key that they name")
)

// Split makes n shares of key, of which any threshold restore it, with a random set id. The
// error is ErrLimits. The caller wipes the shares.
func Split(key paper.Secret, n, threshold int) ([]*paper.Block, error) {
	if threshold < 2 || threshold > n || n > paper.MaxShares {
		return nil, fmt.Errorf("%w: not %d of %d", ErrLimits, threshold, n)
	}
	parts, err := shamir.Split(key.Bytes(), n, threshold)
	if err != nil {
		return nil, err
	}
	set := newSet()
	var blocks []*paper.Block
	for i, part := range parts {
		block, err := paper.NewShare(paper.Label{
			Kind: paper.KindShare, KeyID: key.ID(),
			Set: set, Number: i + 1, Total: n, Threshold: threshold,
		}, part)
		clear(part)
		if err != nil {
			panic("shares: " + err.Error())
		}
		blocks = append(blocks, block)
	}
	return blocks, nil
}

// newSet draws the id of a set: 40 bits, as 8 letters of the written form.
func newSet() string {
	var random [5]byte
	rand.Read(random[:]) // never fails: crypto/rand stops the program instead
	return base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(random[:])
}

// Combine restores the key of the shares, checked by its id. Spare shares may be of another
// set, repeated, or false; [Ignored] names them. When the others do not suffice the error names
// shares and wraps one of the errors above. The caller wipes the key and the shares.
func Combine(blocks []*paper.Block) (paper.Secret, error) {
	key, _, err := combine(blocks)
	return key, err
}

// Ignored names each share that Combine ignored, and why. It returns nothing for shares that
// give no key.
func Ignored(blocks []*paper.Block) (odd []string) {
	key, chosen, err := combine(blocks)
	if err != nil {
		return nil
	}
	key.Wipe()
	for i, b := range blocks {
		if why := whyIgnored(b, blocks[:i], chosen); why != "" {
			odd = append(odd, fmt.Sprintf("%v: %s", b.Label, why))
		}
	}
	return odd
}

func combine(blocks []*paper.Block) (key paper.Secret, chosen []*paper.Block, err error) {
	for i, b := range blocks {
		if b.Kind != paper.KindShare {
			return nil, nil, fmt.Errorf("%w: %v", ErrNotShare, b.Label)
		}
		set := setOf(b.Label, blocks[i:])
		if setOf(b.Label, blocks[:i]) != nil || distinct(set) < b.Threshold {
			continue
		}
		other, good := search(set)
		if other == nil || key == nil {
			if other != nil {
				key, chosen = other, good
			}
			continue
		}
		same := other.ID() == key.ID()
		other.Wipe()
		if !same {
			key.Wipe()
			return nil, nil, fmt.Errorf("%w: there are enough of key %s and of key %s; give those of one", ErrMixed, key.ID(), other.ID())
		}
	}
	if key == nil {
		return nil, nil, whyNot(blocks)
	}
	return key, chosen, nil
}

// setOf returns the shares that belong to a label, its own included.
func setOf(l paper.Label, blocks []*paper.Block) (set []*paper.Block) {
	for _, b := range blocks {
		if other := b.Label; other.Set == l.Set && other.KeyID == l.KeyID && other.Total == l.Total && other.Threshold == l.Threshold {
			set = append(set, b)
		}
	}
	return set
}

func distinct(set []*paper.Block) int {
	numbers := make(map[int]bool)
	for _, b := range set {
		numbers[b.Number] = true
	}
	return len(numbers)
}

// search tries combinations of a set until one gives the key that they name.
func search(set []*paper.Block) (paper.Secret, []*paper.Block) {
	k := set[0].Threshold
	chosen := make([]*paper.Block, k)
	tried := 0
	for indices := range every(len(set), k) {
		for i, at := range indices {
			chosen[i] = set[at]
		}
		if distinct(chosen) < k {
			continue
		}
		if key, err := restore(chosen); err == nil {
			return key, chosen
		}
		if tried++; tried >= limit(k) {
			break
		}
	}
	return nil, nil
}

func whyNot(blocks []*paper.Block) error {
	if err := Check(blocks); err != nil {
		return err
	}
	if len(blocks) == 0 {
		return fmt.Errorf("%w: there is none", ErrTooFew)
	}
	l := blocks[0].Label
	missing := l.Threshold - len(blocks)
	switch {
	case missing <= 0:
		return fmt.Errorf("%w: key %s", ErrWrong, l.KeyID)
	case missing == 1:
		return fmt.Errorf("%w: of set %s there are %d of %d, and 1 more share is needed", ErrTooFew, l.Set, len(blocks), l.Threshold)
	}
	return fmt.Errorf("%w: of set %s there are %d of %d, and %d more shares are needed", ErrTooFew, l.Set, len(blocks), l.Threshold, missing)
}

// whyIgnored is why a share was ignored, or "". before are the earlier shares, and chosen some
// that gave the key.
func whyIgnored(b *paper.Block, before, chosen []*paper.Block) string {
	if setOf(b.Label, chosen) == nil {
		return "it is of another set"
	}
	for _, twin := range before {
		if setOf(b.Label, []*paper.Block{twin}) != nil && twin.Number == b.Number && bytes.Equal(twin.Payload(), b.Payload()) {
			return "it is given twice"
		}
	}
	// A good share gives the key in place of another, too.
	others := []*paper.Block{b}
	for _, c := range chosen {
		if c.Number != b.Number && len(others) < len(chosen) {
			others = append(others, c)
		}
	}
	key, err := restore(others)
	if err != nil {
		return "it is false: it does not fit the others"
	}
	key.Wipe()
	return ""
}

// Check checks that shares, however many, are of one set, each once. Its errors are those
// of Combine.
func Check(blocks []*paper.Block) error {
	seen := make(map[int]*paper.Block)
	for _, b := range blocks {
		if b.Kind != paper.KindShare {
			return fmt.Errorf("%w: %v", ErrNotShare, b.Label)
		}
		first := blocks[0].Label
		switch {
		case b.Set != first.Set:
			return fmt.Errorf("%w: %v, and %v", ErrMixed, first, b.Label)
		case b.KeyID != first.KeyID:
			return fmt.Errorf("%w: %v is of key %s, and share %d of key %s", ErrMixed, first, first.KeyID, b.Number, b.KeyID)
		case b.Total != first.Total, b.Threshold != first.Threshold:
			return fmt.Errorf("%w: by share %d of set %s %d of %d are needed, and by share %d %d of %d",
				ErrMixed, first.Number, first.Set, first.Threshold, first.Total, b.Number, b.Threshold, b.Total)
		}
		if twin := seen[b.Number]; twin != nil {
			if string(twin.Payload()) != string(b.Payload()) {
				return fmt.Errorf("%w: there are two versions of %v that differ, so one of them is false", ErrDuplicate, b.Label)
			}
			return fmt.Errorf("%w: %v", ErrDuplicate, b.Label)
		}
		seen[b.Number] = b
	}
	return nil
}

func restore(blocks []*paper.Block) (paper.Secret, error) {
	parts := make([][]byte, len(blocks))
	for i, b := range blocks {
		parts[i] = b.Payload()
	}
	id := blocks[0].KeyID
	// fails for two shares of one point, which no split makes
	material, err := shamir.Combine(parts)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: %w", ErrWrong, id, err)
	}
	defer clear(material)
	key, err := paper.SecretOf(material, id)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s", ErrWrong, id)
	}
	return key, nil
}
