package envelope

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/stream"
)

// ErrNoRoom is returned when new slots do not fit in the place of the old ones.
var ErrNoRoom = errors.New("the new key slots do not fit in the place of the old ones")

// RewrapOptions say what becomes of the slots that a backup has.
type RewrapOptions struct {
	// KeepOld keeps the slots of other keys; else they are dropped.
	KeepOld bool
	// DropOther drops the slots of types that this version does not know; else
	// they are kept.
	DropOther bool
	// Grow lets the new envelope be longer than the backup's own. It can then
	// stand beside the backup, and never over its own. Without Grow both have the
	// same length.
	Grow bool
}

// Rewrapped is a new envelope for a backup, and what it was made from.
type Rewrapped struct {
	// New is the new envelope. Everything that it has a slot for opens the backup.
	New *Envelope
	// Opened says how the backup opened: with the envelope that New is to follow.
	Opened
	// Own is the backup's own envelope, nil when it has no good form.
	Own *Envelope
	// Current says that the envelope that opened is for the very keys that New is
	// for, and each of them opens it: nothing would be gained by New.
	Current bool
}

// Rewrap opens a backup of size bytes, as [OpenAt] does, and makes a new envelope
// for it with a slot for each of the keys in to. Nothing is written. The keys
// that open come from Options.Find; Rescue has no place here.
//
// The new envelope has the preamble of the old one, and was proved: each of the
// keys has opened it, and found the data key of this payload. Besides those of
// OpenAt the errors are ErrNoKey, ErrSameKey, ErrTooLarge and ErrNoRoom. The data
// key is wiped before Rewrap returns.
func Rewrap(src io.ReaderAt, size int64, opts Options, how RewrapOptions, to ...*kek.Key) (*Rewrapped, error) {
	if opts.Rescue {
		return nil, fmt.Errorf("rewrapping: %w", ErrAltered)
	}
	var dataKey [dataKeySize]byte
	defer clear(dataKey[:])
	r, h, err := openAt(src, size, opts, nil, func(key []byte) { copy(dataKey[:], key) })
	if err != nil {
		return nil, err
	}
	w := &Rewrapped{Opened: r.Opened, Own: h.own}
	if w.New, err = w.Envelope.successor(dataKey[:], how, to); err != nil {
		return nil, err
	}
	if err := w.New.fitTo(int(h.size)); how.Grow && h.own != nil && errors.Is(err, ErrNoRoom) {
		err = w.New.fit(sealingPad)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if err := w.New.authenticate(dataKey[:]); err != nil {
		return nil, err
	}
	if err := w.New.prove(w.Envelope.preamble(), dataKey[:], to); err != nil {
		return nil, err
	}
	w.Current = w.Envelope.hasSlots(w.New) && w.Envelope.prove(w.Envelope.preamble(), dataKey[:], to) == nil
	return w, nil
}

// successor returns an envelope of the same backup with slots for the keys.
func (e *Envelope) successor(dataKey []byte, how RewrapOptions, to []*kek.Key) (*Envelope, error) {
	n := &Envelope{ID: e.ID, Label: e.Label}
	if err := n.wrap(dataKey, to); err != nil {
		return nil, err
	}
	has := func(id kek.ID) bool { return slices.Contains(n.KeyIDs(), id) }
	for _, s := range e.Slots {
		if isKey := s.Type == keySlotType; isKey && how.KeepOld && !has(s.keyID()) || !isKey && !how.DropOther {
			n.Slots = append(n.Slots, s)
		}
	}
	return n, nil
}

// hasSlots tells whether e has slots for the same holders as other, in any order.
func (e *Envelope) hasSlots(other *Envelope) bool {
	ours, theirs := e.KeyIDs(), other.KeyIDs()
	slices.Sort(ours)
	slices.Sort(theirs)
	return slices.Equal(ours, theirs) && slices.Equal(e.OtherSlots(), other.OtherSlots())
}

// prove reads the envelope as a reader does, and opens it with each of the keys.
func (e *Envelope) prove(preamble, dataKey []byte, keys []*kek.Key) error {
	again, err := Parse(bytes.NewReader(e.text))
	if err != nil {
		return fmt.Errorf("reading the new envelope back: %w", err)
	}
	if !bytes.Equal(again.preamble(), preamble) {
		return fmt.Errorf("reading the new envelope back: %w", ErrPreamble)
	}
	for _, k := range keys {
		_, err := again.open(false, []*kek.Key{k}, func(found, _ []byte) error {
			if subtle.ConstantTimeCompare(found, dataKey) != 1 {
				return stream.ErrCommitment
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("opening the new envelope with key %s: %w", k.ID(), err)
		}
	}
	return nil
}
