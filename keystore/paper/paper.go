// Package paper is the written form of a key, an age identity, or a share of one: text to
// print, lock away, and type again.
//
// A block looks like this (docs/FORMAT.md, section 16, is exact):
//
//	TAKUMI-BACKUP SHARE V1
//	1 SET 4T9K 7M2Q SHARE 2 OF 5 NEED 3  PMA1
//	2 KEY 11D0 EE5D 8F5C FC5F  W484
//	3 BTVC NFB6 VWGW X4R1  8AC0
//	4 17V8 968C WJBE R4E6  P8DY
//	5 KYDB YH55 47ZG Y30V  YPEK
//	6 45AH Z6Z4 DND3 8A8N  BD7X
//
// [NewKey] and [Block.Text] write a key down. [Parse] reads a whole text, a [Typist] line
// by line. Package shares splits and combines keys; package kit makes pages and QR codes.
//
// Every line has a checksum of 20 bits, and the block one of at least 56, so that a typing
// error is located by its line and never makes a wrong key. Letter case, blanks and dashes
// do not matter, nor does O for 0, and I or L for 1.
//
// # Secrets
//
// A Block never prints its payload: every fmt verb, JSON and slog show only its label.
// Text, Compact and Payload return the material. Errors name lines without repeating them.
package paper

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// Kind says what a Block holds.
type Kind string

// The kinds of Block.
const (
	KindKey   Kind = "KEY"   // a key itself
	KindShare Kind = "SHARE" // one of several shares of a key
)

// ShareSize is the length of a share's payload: a byte for each of the key's, and the
// share's point.
const ShareSize = kek.Size + 1

// MaxShares is how many shares a key can have.
const MaxShares = 255

// Label is the readable part of a block. None of it is secret.
type Label struct {
	Kind  Kind
	KeyID kek.ID // of the key itself, also on a share

	// Set and the following are for shares. Set is 8 letters, unique to one split.
	Set       string
	Number    int // from 1 to Total
	Total     int
	Threshold int // how many restore the key
}

// String names the key or share for messages.
func (l Label) String() string {
	if l.Kind == KindShare {
		return fmt.Sprintf("share %d of %d of set %s", l.Number, l.Total, l.Set)
	}
	return "key " + string(l.KeyID)
}

var (
	goodSet = regexp.MustCompile(`^[` + alphabet + `]{8}$`)
	goodID  = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

func (l Label) check() string {
	switch {
	case l.Total < 2 || l.Total > MaxShares:
		return fmt.Sprintf("there are 2 to %d shares of a key, not %d", MaxShares, l.Total)
	case l.Threshold < 2 || l.Threshold > l.Total:
		return fmt.Sprintf("of %d shares 2 to %d can be needed, not %d", l.Total, l.Total, l.Threshold)
	case l.Number < 1 || l.Number > l.Total:
		return fmt.Sprintf("there is no share %d of %d", l.Number, l.Total)
	}
	return ""
}

// Block is a key or a share in written form. Only Wipe changes it.
type Block struct {
	Label
	// A closure hides the material from fmt, as that of kek.Key does.
	payload func() []byte
}

func newBlock(l Label, payload []byte) *Block {
	own := make([]byte, len(payload))
	copy(own, payload)
	return &Block{Label: l, payload: func() []byte { return own }}
}

// Secret is a *kek.Key, or an *agekey.Seed, whose id is its recipient's hint.
type Secret interface {
	ID() kek.ID
	Bytes() []byte // 32 bytes that alias the Secret
	Wipe()
}

// SecretOf returns the secret of these bytes if it has this id. The caller wipes it.
func SecretOf(material []byte, id kek.ID) (Secret, error) {
	if key, err := kek.New(material); err == nil {
		if key.ID() == id {
			return key, nil
		}
		key.Wipe()
	}
	if seed, err := agekey.SeedOf(material, string(id)); err == nil {
		return seed, nil
	}
	return nil, errors.New("it holds another key than it names")
}

// NewKey returns the written form of a key or an identity, whose material it copies. It is
// deterministic.
func NewKey(secret Secret) *Block {
	return newBlock(Label{Kind: KindKey, KeyID: secret.ID()}, secret.Bytes())
}

// NewShare returns the written form of a share, whose payload of ShareSize bytes it copies.
// It fails for an invalid label, and for a payload at x = 0, which is no share but the
// secret itself.
func NewShare(l Label, payload []byte) (*Block, error) {
	switch fault := l.check(); {
	case l.Kind != KindShare || !goodSet.MatchString(l.Set) || !goodID.MatchString(string(l.KeyID)):
		return nil, fmt.Errorf("%q is not a label of a share", l)
	case fault != "":
		return nil, fmt.Errorf("%v: %s", l, fault)
	case len(payload) != ShareSize:
		return nil, fmt.Errorf("a share has %d bytes, not %d", ShareSize, len(payload))
	}
	b := newBlock(l, payload)
	if fault := b.fault(); fault != "" {
		b.Wipe()
		return nil, fmt.Errorf("%v: %s", l, fault)
	}
	return b, nil
}

// Payload returns the key, 32 bytes, or the share, 33 bytes as of
// github.com/hashicorp/vault/shamir. They alias the Block: do not keep, change or print
// them.
func (b *Block) Payload() []byte { return b.payload() }

// Secret returns the key or the identity of a key block, checked by its id. The caller
// wipes it.
func (b *Block) Secret() (Secret, error) {
	if b.Kind != KindKey {
		return nil, fmt.Errorf("%v is not a whole key", b.Label)
	}
	secret, err := SecretOf(b.payload(), b.KeyID)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", b.Label, err)
	}
	return secret, nil
}

// Wipe overwrites the payload. The Block must not be used afterwards.
func (b *Block) Wipe() { clear(b.payload()) }

// Wipe wipes every one of blocks.
func Wipe(blocks []*Block) {
	for _, b := range blocks {
		b.Wipe()
	}
}

// Format and the methods below keep the payload out of any output.
func (b Block) Format(f fmt.State, _ rune) { fmt.Fprint(f, b.Label.String()) }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (b Block) MarshalText() ([]byte, error) { return []byte(b.Label.String()), nil }

// LogValue implements slog.LogValuer.
func (b Block) LogValue() slog.Value { return slog.StringValue(b.Label.String()) }
