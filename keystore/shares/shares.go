// Package shares splits a key into shares, of which some restore it and fewer
// say nothing about it, and puts them together again.
//
// Call [Split], prove the result with [Verify], and write each share down as its
// Text (package paper). To restore the key, read the shares with paper.Parse and
// call [Combine].
//
// The shares are those of Adi Shamir's "How to share a secret" (Communications
// of the ACM 22, 1979), over GF(2^8), made by github.com/hashicorp/vault/shamir.
// Who holds fewer than the threshold learns nothing. Who holds a share can put a
// false one in its place: then Combine fails, because what comes out does not
// have the id of the key, and nothing tells whose share was false.
package shares

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/shamir"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// Why Combine refuses shares, for errors.Is.
var (
	// ErrLimits is returned by Split for numbers that make no sense.
	ErrLimits = errors.New("a key has 2 to 255 shares, and 2 up to all of them restore it")

	// ErrNotShare means that a whole key stands among the shares.
	ErrNotShare = errors.New("a whole key is no share")

	// ErrMixed means that shares belong to different sets, or do not agree on
	// what set it is.
	ErrMixed = errors.New("the shares are not of one set")

	// ErrDuplicate means that a share was given twice.
	ErrDuplicate = errors.New("a share is given twice")

	// ErrTooFew means that more shares are needed.
	ErrTooFew = errors.New("too few shares")

	// ErrWrong means that the shares go together and do not give the key: one
	// of them at least is false.
	ErrWrong = errors.New("the shares do not give the key that they name")
)

// Split makes n shares of key, any threshold of which restore it, and gives them
// a random set id. The error is ErrLimits. The caller wipes the shares.
func Split(key *kek.Key, n, threshold int) ([]*paper.Block, error) {
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

// Combine restores the key of the shares, proved by its id. More shares than
// are needed have to agree too. The error says what is wrong with which share,
// and wraps one of the errors above. The caller wipes the key; the shares stay
// its own.
func Combine(blocks []*paper.Block) (*kek.Key, error) {
	if err := Check(blocks); err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrTooFew)
	}
	l := blocks[0].Label
	if missing := l.Threshold - len(blocks); missing > 0 {
		more := fmt.Sprintf("%d more shares are needed", missing)
		if missing == 1 {
			more = "1 more share is needed"
		}
		return nil, fmt.Errorf("%w: of set %s there are %d of %d, and %s", ErrTooFew, l.Set, len(blocks), l.Threshold, more)
	}
	return restore(blocks)
}

// Check looks whether shares go together, however many there are: of one set,
// each once. Its errors are those of Combine.
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

// restore interpolates, and proves the result.
func restore(blocks []*paper.Block) (*kek.Key, error) {
	parts := make([][]byte, len(blocks))
	for i, b := range blocks {
		parts[i] = b.Payload()
	}
	id := blocks[0].KeyID
	// It fails when two shares were taken at one point, as no split makes them.
	material, err := shamir.Combine(parts)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: %w", ErrWrong, id, err)
	}
	defer clear(material)
	key, err := kek.New(material)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s", ErrWrong, id)
	}
	if key.ID() != id {
		key.Wipe()
		return nil, fmt.Errorf("%w: key %s", ErrWrong, id)
	}
	return key, nil
}
