package envelope

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/stream"
)

// ErrNoRoom is returned when new slots do not fit in place of the old ones.
var ErrNoRoom = fail.New(fail.Failed, "give --detached, or fewer keys", "the new key slots do not fit in the place of the old ones")

// RewrapOptions are what happens to the old slots.
type RewrapOptions struct {
	// KeepOld keeps the slots of other keys, which are dropped otherwise, and of other
	// holders of the new holders' types.
	KeepOld bool
	// DropOther drops all slots that are not for keys. Otherwise those stay whose type no
	// new holder has.
	DropOther bool
	// Grow lets the new envelope be longer than the backup's own: it is then for next to
	// the backup or before a copy of its payload. Without Grow both have the same length.
	Grow bool
}

// Rewrapped is a new envelope for a backup.
type Rewrapped struct {
	// New is the new envelope. All its slots open the backup.
	New *Envelope
	// Opened is how the backup opened: with the envelope that New replaces. The payload
	// begins at Opened.Start.
	Opened
	// Own is the backup's own envelope, nil when it is malformed.
	Own *Envelope
	// Current means that New would gain nothing: the envelope that opened is for the same
	// holders, each of them that can be tried opens it, and none of their keys was rotated
	// since.
	Current bool
	// Dropped are the holders that lost their slots without being asked for: other keys
	// and, after a rescue, those whose slots no identity opens.
	Dropped []slot.Holder
}

// Rewrap opens a backup of size bytes, as [OpenAt] does with the identities of
// Options.Find, and makes a new envelope with a slot for each of the recipients. Nothing is
// written.
//
// With Options.Rescue a damaged envelope is repaired: the new one is whole and has the
// preamble of the old, and keeps only slots that were opened and hold the data key.
//
// The new envelope has the old preamble and was checked: each recipient that is also an
// Identity has opened it and found the data key of this payload. Besides those of OpenAt
// the errors are ErrNoKey, ErrSameKey, ErrTooLarge and ErrNoRoom. The data key is wiped
// before Rewrap returns.
func Rewrap(ctx context.Context, src io.ReaderAt, size int64, opts Options, how RewrapOptions, to ...Recipient) (*Rewrapped, error) {
	var dataKey [slot.DataKeySize]byte
	defer clear(dataKey[:])
	f, err := readFront(io.NewSectionReader(src, 0, size), opts)
	if err != nil {
		return nil, err
	}
	r, err := f.openAt(ctx, src, size, opts, nil, func(key []byte) { copy(dataKey[:], key) })
	if err != nil {
		return nil, err
	}
	w := &Rewrapped{Opened: r.Opened, Own: f.own}
	old := w.Envelope
	if opts.Rescue && (w.Altered != nil || f.own == nil) {
		if old, err = old.opening(ctx, opts, dataKey[:]); err != nil {
			return nil, err
		}
	}
	if w.New, err = old.successor(ctx, dataKey[:], how, to); err != nil {
		return nil, err
	}
	if err := w.New.fitInto(w.Start, how.Grow && (f.own != nil || opts.Rescue)); err != nil {
		return nil, err
	}
	if err := w.New.authenticate(dataKey[:]); err != nil {
		return nil, err
	}
	if err := w.New.prove(ctx, w.Envelope.preamble(), dataKey[:], to); err != nil {
		return nil, err
	}
	w.Current = w.Altered == nil && w.Envelope.hasSlots(w.New) && !w.Envelope.outdated(w.New, to) && w.Envelope.prove(ctx, w.Envelope.preamble(), dataKey[:], to) == nil
	w.Dropped = slices.DeleteFunc(holders(f.own, f.rescue, w.Envelope), func(h slot.Holder) bool { return slices.Contains(w.New.Holders(), h) })
	return w, nil
}

// opening returns the envelope with only the slots that Find's identities open to the data
// key.
func (e *Envelope) opening(ctx context.Context, opts Options, dataKey []byte) (*Envelope, error) {
	good := &Envelope{ID: e.ID, Label: e.Label}
	for _, sl := range e.Slots {
		found, _ := opts.Find(ctx, []slot.Holder{sl.Holder()}) // one that opens is known already
		for _, identity := range found {
			key, err := identity.Unwrap(ctx, e.ID, sl)
			same := err == nil && subtle.ConstantTimeCompare(key, dataKey) == 1
			clear(key)
			if same && !slices.Contains(good.Holders(), sl.Holder()) {
				good.Slots = append(good.Slots, sl)
				break
			}
		}
	}
	return good, context.Cause(ctx)
}

// successor returns an envelope of the same backup with slots for the recipients.
func (e *Envelope) successor(ctx context.Context, dataKey []byte, how RewrapOptions, to []Recipient) (*Envelope, error) {
	n := &Envelope{ID: e.ID, Label: e.Label}
	if err := n.wrap(ctx, dataKey, to); err != nil {
		return nil, err
	}
	asked := n.Holders()
	renewed := func(slotType string) bool {
		return slices.ContainsFunc(asked, func(h slot.Holder) bool { return h.Type == slotType })
	}
	for _, s := range e.Slots {
		keep := how.KeepOld
		if s.Type != kek.SlotType {
			keep = !how.DropOther && (how.KeepOld || !renewed(s.Type))
		}
		if keep && !slices.Contains(asked, s.Holder()) {
			n.Slots = append(n.Slots, s)
		}
	}
	return n, nil
}

// fitInto pads the envelope to size, or with grow, where that has no room, to what it
// needs.
func (e *Envelope) fitInto(size int64, grow bool) error {
	err := e.fitTo(int(size))
	if errors.Is(err, ErrNoRoom) && grow {
		return e.fit(sealingPad)
	}
	return err
}

// hasSlots reports whether both have slots for the same holders, in any order.
func (e *Envelope) hasSlots(other *Envelope) bool {
	ours, theirs := e.Holders(), other.Holders()
	return len(ours) == len(theirs) && !slices.ContainsFunc(ours, func(h slot.Holder) bool { return !slices.Contains(theirs, h) })
}

// outdated reports whether a slot was wrapped with an older version of a key than in the
// envelope made for to.
func (e *Envelope) outdated(than *Envelope, to []Recipient) bool {
	for i, r := range to { // whose slots come first, in this order
		rotating, ok := r.(slot.Rotating)
		if !ok {
			continue
		}
		for _, s := range e.Slots {
			if s.Holder() == than.Slots[i].Holder() && rotating.Outdated(s, than.Slots[i]) {
				return true
			}
		}
	}
	return false
}

// prove parses the envelope and opens it with each recipient that can.
func (e *Envelope) prove(ctx context.Context, preamble, dataKey []byte, to []Recipient) error {
	again, err := Parse(bytes.NewReader(e.text))
	if err != nil {
		return fmt.Errorf("reading the new envelope back: %w", err)
	}
	if !bytes.Equal(again.preamble(), preamble) {
		return fmt.Errorf("reading the new envelope back: %w", ErrPreamble)
	}
	for _, r := range to {
		identity, ok := r.(Identity)
		if !ok {
			continue
		}
		s := &session{ctx: ctx, identities: []Identity{identity}, join: func(found, _ []byte) error {
			if subtle.ConstantTimeCompare(found, dataKey) != 1 {
				return stream.ErrCommitment
			}
			return nil
		}}
		_, err := s.openOne(again, false)
		s.wipe()
		if err != nil {
			return fmt.Errorf("opening the new envelope: %w", err)
		}
	}
	return nil
}
