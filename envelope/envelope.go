// Package envelope writes and reads sealed backups: a readable head that names
// the backup and holds its data key, wrapped once for each holder, and the
// payload that the data key seals (docs/FORMAT.md).
//
// [NewWriter] seals and [Open] opens; both join a key with a [stream]. [Parse]
// reads an envelope without any key, and what it returns is then a claim: only
// opening authenticates it.
//
// Every backup has a fresh 32-byte data key from crypto/rand. It is wrapped
// under each key-encryption key as a Cobblestone-256 message whose context
// binds it to the backup's id, and the whole envelope is authenticated under
// the data key.
package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

const (
	magicPrefix = "takumi-backup/v"
	magic       = magicPrefix + "1"
	terminator  = "---\n"

	// DetachedSuffix is appended to a backup's file name to name the envelope
	// that may stand beside it.
	DetachedSuffix = ".envelope"

	// MaxSize bounds an envelope in bytes, and Unit divides its length.
	MaxSize = 65536
	Unit    = 4096

	maxSlots      = 32
	maxSlotLine   = 16384
	maxName       = 255
	sealingPad    = 512 // dots that sealing leaves for slots to change in place
	authSize      = 72
	authLineSize  = len("auth ") + authSize/3*4 + 1
	timeLayout    = "2006-01-02T15:04:05Z"
	authContext   = "takumi-backup/v1 envelope\x00"
	keySlotType   = "key"
	dataKeySize   = 32
	wrappedSize   = 104
	keySlotLabel  = "takumi-backup/v1 slot " + keySlotType + "\x00"
	idSize        = 16
	maxDecimalLen = 20
)

// ID is a backup's id: 16 random bytes, new with every data key.
type ID [idSize]byte

// String returns the 32 lower-case hex digits that the envelope shows.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Label is what a backup says of itself. It is public, and authenticated with
// the payload.
type Label struct {
	Created time.Time // UTC, whole seconds
	Kind    string    // "database", "contracts", "uploads" or "stream"; a letter, then letters, digits and "-", at most 32
	Name    string    // 1 to 255 bytes of UTF-8 without "/" and control characters; never used as a path unasked
	Codec   string    // "none", "gzip" or "zstd": how the payload is packed
}

// Slot is the data key, wrapped for one holder. Types that this version does
// not know are kept as they are.
type Slot struct {
	Type string
	Args []string
}

// keyID returns the key id of a slot of type key.
func (s Slot) keyID() kek.ID { return kek.ID(s.Args[0]) }

// Envelope is the head of a sealed backup. Its preamble (ID and Label) never
// changes after sealing; its slots may, by rewrapping.
type Envelope struct {
	ID ID
	Label
	Slots []Slot

	text []byte // the whole envelope
	pad  int    // dots
	auth [authSize]byte
}

// Bytes returns the envelope as it stands in the file. Do not change them.
func (e *Envelope) Bytes() []byte { return e.text }

// KeyIDs returns the ids of the keys that have a slot, in file order.
func (e *Envelope) KeyIDs() []kek.ID {
	var ids []kek.ID
	for _, s := range e.Slots {
		if s.Type == keySlotType {
			ids = append(ids, s.keyID())
		}
	}
	return ids
}

// OtherSlots returns the types of the slots that are not for a key, in file
// order.
func (e *Envelope) OtherSlots() []string {
	var types []string
	for _, s := range e.Slots {
		if s.Type != keySlotType {
			types = append(types, s.Type)
		}
	}
	return types
}

// check applies the limits of docs/FORMAT.md to a label.
func (l Label) check() error {
	if l.Created.Location() != time.UTC || l.Created.Nanosecond() != 0 || l.Created.Year() < 0 || l.Created.Year() > 9999 {
		return errors.New("the time is not in UTC and whole seconds")
	}
	if err := CheckKind(l.Kind); err != nil {
		return err
	}
	if err := CheckName(l.Name); err != nil {
		return err
	}
	if !slices.Contains([]string{"none", "gzip", "zstd"}, l.Codec) {
		return fmt.Errorf("the codec %q is none of none, gzip and zstd", l.Codec)
	}
	return nil
}

// preamble returns the first six lines: what the payload is bound to.
func (e *Envelope) preamble() []byte {
	return fmt.Appendf(nil, "%s\nid %s\ncreated %s\nkind %s\nname %s\ncodec %s\n",
		magic, e.ID, e.Created.Format(timeLayout), e.Kind, encodeName(e.Name), e.Codec)
}

// head returns every line before the padding.
func (e *Envelope) head() []byte {
	b := e.preamble()
	for _, s := range e.Slots {
		b = fmt.Appendf(b, "slot %s %s\n", s.Type, strings.Join(s.Args, " "))
	}
	return b
}

// beforeAuth returns what the auth line authenticates.
func (e *Envelope) beforeAuth() []byte {
	return fmt.Appendf(e.head(), "pad %s\n", strings.Repeat(".", e.pad))
}

// encode returns the whole envelope.
func (e *Envelope) encode() []byte {
	return fmt.Appendf(e.beforeAuth(), "auth %s\n%s", base64.StdEncoding.EncodeToString(e.auth[:]), terminator)
}

// ErrTooLarge is returned when the slots do not fit an envelope.
var ErrTooLarge = errors.New("the key slots do not fit an envelope: at most 32 slots and 64 KiB")

// fit chooses the padding: at least minPad dots, and a multiple of Unit in all.
func (e *Envelope) fit(minPad int) error {
	bare := e.bare()
	total := (bare + minPad + Unit - 1) / Unit * Unit
	if len(e.Slots) > maxSlots || total > MaxSize {
		return ErrTooLarge
	}
	e.pad = total - bare
	return nil
}

// bare is the length without any padding.
func (e *Envelope) bare() int {
	return len(e.head()) + len("pad \n") + authLineSize + len(terminator)
}

// fitTo pads to a length that a good envelope has had.
func (e *Envelope) fitTo(size int) error {
	if e.pad = size - e.bare(); e.pad < 1 || len(e.Slots) > maxSlots {
		return ErrNoRoom
	}
	return nil
}

// CheckKind tells whether kind can be a backup's kind: a lower-case letter, then
// lower-case letters, digits and "-", at most 32 characters.
func CheckKind(kind string) error {
	if !isWord(kind) {
		return fmt.Errorf("the kind %q is not a lower-case word of at most 32 characters", kind)
	}
	return nil
}

func isWord(s string) bool {
	return len(s) >= 1 && len(s) <= 32 && s[0] >= 'a' && s[0] <= 'z' && onlyIn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")
}

func onlyIn(s, set string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(set, r) }) < 0
}

// samePreamble tells whether a detached envelope belongs to this one's backup.
func (e *Envelope) samePreamble(other *Envelope) bool {
	return bytes.Equal(e.preamble(), other.preamble())
}
