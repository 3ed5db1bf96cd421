// Package envelope writes and reads sealed backups: a readable head that names the backup
// and holds its data key, wrapped for each holder, and the payload under the data key
// (docs/FORMAT.md).
//
// [NewWriter] seals and [Open] opens; both join a key with a [stream]. [Parse] reads an
// envelope without a key; its result is a claim until opening authenticates it.
//
// Every backup has a fresh 32-byte data key from crypto/rand. Each [Recipient] wraps it in
// a [Slot], bound to the backup's id, and the whole envelope is authenticated under the
// data key. A [kek.Key] is both a Recipient and the [Identity] that opens its slots.
package envelope

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const (
	magicPrefix = "takumi-backup/v"
	magic       = magicPrefix + "1"
	terminator  = "---\n"

	// DetachedSuffix ends the name of an envelope next to a backup.
	DetachedSuffix = ".envelope"

	// MaxSize bounds an envelope in bytes; Unit divides its length.
	MaxSize = 65536
	Unit    = 4096

	maxSlots      = 32
	maxName       = 255
	sealingPad    = 512 // dots that sealing leaves for later slots
	authSize      = 72
	authLineSize  = len("auth ") + authSize/3*4 + 1
	timeLayout    = "2006-01-02T15:04:05Z"
	authContext   = "takumi-backup/v1 envelope\x00"
	idSize        = len(ID{})
	maxDecimalLen = 20
)

// from package slot, for signatures here
type (
	ID        = slot.ID
	Slot      = slot.Slot
	Recipient = slot.Recipient
	Identity  = slot.Identity
)

// Label is a backup's claim about itself. It is public, and authenticated with the payload.
type Label struct {
	Created time.Time // UTC, whole seconds
	Kind    string    // "database", "contracts", "uploads" or "stream"; a letter, then letters, digits and "-", at most 32
	Name    string    // 1 to 255 bytes of UTF-8 without "/" and control characters; not a path
	Codec   string    // "none", "gzip" or "zstd": how the payload is packed
}

// Envelope is the head of a sealed backup. Its preamble (ID and Label) never changes after
// sealing; rewrapping changes its slots.
type Envelope struct {
	ID ID
	Label
	Slots []Slot

	text []byte // the whole envelope
	pad  int    // dots
	auth [authSize]byte
}

// Bytes returns the envelope as in the file. Do not change them.
func (e *Envelope) Bytes() []byte { return e.text }

// Preamble returns the first six lines, which never change and bind the payload.
func (e *Envelope) Preamble() []byte { return e.preamble() }

// Holders returns the holders of the slots, in file order.
func (e *Envelope) Holders() []slot.Holder {
	holders := make([]slot.Holder, len(e.Slots))
	for i, s := range e.Slots {
		holders[i] = s.Holder()
	}
	return holders
}

// KeyIDs returns the ids of the keys with a slot, in file order.
func (e *Envelope) KeyIDs() []kek.ID {
	var ids []kek.ID
	for _, h := range e.Holders() {
		if h.Type == kek.SlotType {
			ids = append(ids, kek.ID(h.Name))
		}
	}
	return ids
}

// Recipients returns the holders that are not keys, in file order.
func (e *Envelope) Recipients() []slot.Holder {
	return slices.DeleteFunc(e.Holders(), func(h slot.Holder) bool { return h.Type == kek.SlotType })
}

func (l Label) check() error {
	if year := l.Created.Year(); year < 0 || year > 9999 {
		return errors.New("the year of the time does not have four digits")
	}
	if err := CheckKind(l.Kind); err != nil {
		return err
	}
	if err := CheckName(l.Name); err != nil {
		return err
	}
	if !slices.Contains([]string{"none", "gzip", "zstd"}, l.Codec) {
		return fmt.Errorf("the codec %q is not none, gzip or zstd", l.Codec)
	}
	return nil
}

// preamble returns the first six lines, which bind the payload.
func (e *Envelope) preamble() []byte {
	return fmt.Appendf(nil, "%s\nid %s\ncreated %s\nkind %s\nname %s\ncodec %s\n",
		magic, e.ID, e.Created.Format(timeLayout), e.Kind, EncodeName(e.Name), e.Codec)
}

// head returns every line before the padding.
func (e *Envelope) head() []byte {
	b := e.preamble()
	for _, s := range e.Slots {
		b = append(b, s.Line()+"\n"...)
	}
	return b
}

// beforeAuth returns what the auth line authenticates.
func (e *Envelope) beforeAuth() []byte {
	return fmt.Appendf(e.head(), "pad %s\n", strings.Repeat(".", e.pad))
}

func (e *Envelope) encode() []byte {
	return fmt.Appendf(e.beforeAuth(), "auth %s\n%s", base64.StdEncoding.EncodeToString(e.auth[:]), terminator)
}

// ErrTooLarge is returned when the slots do not fit an envelope.
var ErrTooLarge = fail.New(fail.Usage, "give every key once, and no more than 32", "the key slots do not fit an envelope: at most 32 slots and 64 KiB")

// fit chooses the padding: at least minPad dots, to a multiple of Unit.
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

func (e *Envelope) fitTo(size int) error {
	if e.pad = size - e.bare(); e.pad < 1 || len(e.Slots) > maxSlots {
		return ErrNoRoom
	}
	return nil
}

// CheckKind checks a backup's kind: a lower-case letter, then lower-case letters, digits
// and "-", at most 32 characters.
func CheckKind(kind string) error {
	if !slot.IsWord(kind) {
		return fmt.Errorf("the kind %q is not a lower-case word of at most 32 characters", kind)
	}
	return nil
}

func onlyIn(s, set string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(set, r) }) < 0
}
