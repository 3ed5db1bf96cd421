// Package slot defines how the data key of a backup is wrapped for a holder, and unwrapped
// (docs/FORMAT.md, section 2).
//
// A [Recipient] makes a [Slot] and an [Identity] opens it, as in age. A [kek.Key] is both;
// with public-key schemes they are two. Package envelope trusts neither: it checks a slot's
// form before writing it, and the data key against the payload's commitment before using
// it.
//
// [kek.Key]: https://pkg.go.dev/github.com/takumi-backup/takumi-backup/envelope/kek#Key
package slot

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const (
	// DataKeySize is in bytes.
	DataKeySize = 32

	// MaxLine bounds a slot's line in an envelope, with "slot " and its LF.
	MaxLine = 16384

	idSize  = 16
	maxWord = 32
)

// ID is a backup's id: 16 random bytes, new with every data key.
type ID [idSize]byte

// String returns 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Slot is the data key, wrapped for one holder. Unknown types are kept as they are.
type Slot struct {
	Type string   // a lower-case word
	Args []string // at least one, of printable ASCII without spaces; the first is the holder's name
}

// Holder returns the slot's holder, a claim until the envelope is authenticated.
func (s Slot) Holder() Holder { return Holder{Type: s.Type, Name: s.Args[0]} }

// Line returns the slot's line without its LF.
func (s Slot) Line() string { return "slot " + s.Type + " " + strings.Join(s.Args, " ") }

// Check returns nil when the slot can be written as a line of an envelope and read back.
func (s Slot) Check() error {
	if !IsWord(s.Type) {
		return errors.New("the slot's type is not a lower-case word of at most 32 characters")
	}
	if len(s.Args) == 0 {
		return errors.New("the slot is empty")
	}
	for _, arg := range s.Args {
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
			return errors.New("the slot has an empty or unprintable argument")
		}
	}
	if len(s.Line())+1 > MaxLine {
		return fmt.Errorf("the slot is longer than %d bytes", MaxLine)
	}
	return nil
}

// IsWord reports whether s is a word of the format: a lower-case letter, then lower-case
// letters, digits and "-", at most 32 characters.
func IsWord(s string) bool {
	return len(s) >= 1 && len(s) <= maxWord && s[0] >= 'a' && s[0] <= 'z' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Label is the associated data that binds a slot of a type to a backup.
func Label(slotType string, id ID) []byte {
	return append([]byte("takumi-backup/v1 slot "+slotType+"\x00"), id[:]...)
}

// DecodeBase64 accepts only the standard, padded encoding of exactly size bytes.
func DecodeBase64(text string, size int) ([]byte, error) {
	if len(text) == base64.StdEncoding.EncodedLen(size) {
		if b, err := base64.StdEncoding.Strict().DecodeString(text); err == nil && len(b) == size {
			return b, nil
		}
	}
	return nil, fmt.Errorf("not %d bytes in strict base64", size)
}

// Holder is a slot's type and first argument, as in "key 9f86d081884c7d65". It finds a slot
// and proves nothing.
type Holder struct {
	Type string
	Name string
}

// String returns the two words.
func (h Holder) String() string { return h.Type + " " + h.Name }

// MarshalText is String, for JSON.
func (h Holder) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// Recipient wraps data keys for one holder.
type Recipient interface {
	// Wrap returns a slot with the data key, bound to the backup's id. It does not keep the
	// data key. Two recipients for one holder have the same [Holder].
	Wrap(ctx context.Context, id ID, dataKey []byte) (Slot, error)
}

// Rotating is a Recipient whose key has versions; it wraps with the newest.
type Rotating interface {
	Recipient
	// Outdated reports whether a slot of this holder was wrapped with an older version than
	// another.
	Outdated(s, than Slot) bool
}

// Identity unwraps the data keys of a holder's slots.
type Identity interface {
	// Unwrap returns the data key, which the caller wipes. The error is ErrNotMine for a
	// slot of another holder or type, and ErrDamaged for one that names this holder and
	// does not open; any other means that it could not be tried.
	Unwrap(ctx context.Context, id ID, s Slot) ([]byte, error)
}

// Named is an Identity that knows its own slots. Those are tried first, and a slot that
// opens under another name is an altered one. Others, such as plugins, are tried on every
// slot.
type Named interface {
	Identity
	Holder() Holder
}

// HolderOf returns the name of a Recipient or an Identity, if known.
func HolderOf(of any) (h Holder, known bool) {
	named, known := of.(interface{ Holder() Holder })
	if known {
		h = named.Holder()
	}
	return h, known
}

var (
	// ErrNotMine is returned by Unwrap for a slot of another holder.
	ErrNotMine = errors.New("the slot is another holder's")
	// ErrDamaged is returned by Unwrap when a slot of its holder does not open.
	ErrDamaged = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the slot of the offered key does not open: the slot or the id line is damaged, or the slot is another backup's")
)

// Recipients converts a slice of keys.
func Recipients[T Recipient](all ...T) []Recipient {
	out := make([]Recipient, len(all))
	for i, r := range all {
		out[i] = r
	}
	return out
}

// Identities converts a slice of keys.
func Identities[T Identity](all ...T) []Identity {
	out := make([]Identity, len(all))
	for i, identity := range all {
		out[i] = identity
	}
	return out
}
