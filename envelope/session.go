package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream"
)

// session is the opening of one backup: identities, and their answers to each slot, so that
// none is asked twice.
type session struct {
	ctx        context.Context
	identities []Identity
	// join joins a data key with the payload, and returns stream.ErrCommitment when they do
	// not fit.
	join   func(dataKey, preamble []byte) error
	joined bool // a data key fits the payload
	asked  map[question]answer
}

type question struct {
	identity int
	id       ID
	slot     string
}

type answer struct {
	dataKey []byte
	err     error
}

func (s *session) wipe() {
	for _, a := range s.asked {
		clear(a.dataKey)
	}
}

// openLazily opens the backup with the given identities, then with Find's, asking for no
// more than needed.
func (s *session) openLazily(opts Options, f *front) (Opened, error) {
	if opts.Find == nil {
		return s.open(opts, f)
	}
	var faults []error
	wanted := holders(f.own, f.rescue, opts.Detached)
	for {
		found, fault := opts.Find(s.ctx, wanted)
		if fault != nil {
			faults = append(faults, fault)
		}
		s.offer(found)
		if fault != nil && len(s.identities) == 0 {
			return Opened{}, fmt.Errorf("looking for a key: %w", fault)
		}
		o, err := s.open(opts, f)
		left := slices.DeleteFunc(slices.Clone(wanted), func(h slot.Holder) bool { return slices.Contains(s.offered(), h) })
		if s.joined || s.ctx.Err() != nil || len(left) == 0 || len(left) == len(wanted) {
			if len(faults) > 0 && errors.As(err, new(*WrongKeyError)) {
				err = fmt.Errorf("%w; and not all keys could be had: %w", err, errors.Join(faults...))
			}
			return o, err
		}
		wanted = left
	}
}

// offer adds identities that are not there yet.
func (s *session) offer(found []Identity) {
	s.identities = slices.Clip(s.identities)
	for _, f := range found {
		if !slices.ContainsFunc(s.identities, func(known Identity) bool { return same(known, f) }) {
			s.identities = append(s.identities, f)
		}
	}
}

func same(a, b Identity) bool {
	nameA, knownA := slot.HolderOf(a)
	nameB, knownB := slot.HolderOf(b)
	if knownA || knownB {
		return nameA == nameB
	}
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

func holders(envelopes ...*Envelope) []slot.Holder {
	var all []slot.Holder
	for _, e := range envelopes {
		if e == nil {
			continue
		}
		for _, h := range e.Holders() {
			if !slices.Contains(all, h) {
				all = append(all, h)
			}
		}
	}
	return all
}

func (s *session) offered() []slot.Holder {
	var all []slot.Holder
	for _, identity := range s.identities {
		if h, known := slot.HolderOf(identity); known && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// open tries the detached envelope, then the embedded one, and then both for a rescue if
// asked. When neither opens, the error has both reasons.
func (s *session) open(opts Options, f *front) (Opened, error) {
	o, err := s.openEither(opts.Detached, f, false)
	if err == nil || !opts.Rescue {
		return o, err
	}
	return s.openEither(opts.Detached, f, true)
}

func (s *session) openEither(detached *Envelope, f *front, rescue bool) (Opened, error) {
	embedded := f.own
	if rescue {
		embedded = f.rescue
	}
	switch {
	case detached == nil && embedded == nil: // there is only something to rescue
		return Opened{}, &WrongKeyError{Wanted: f.rescue.Holders(), Offered: s.offered()}
	case detached == nil:
		return s.openOne(embedded, rescue)
	case embedded == nil:
		return s.openOne(detached, rescue)
	}
	passedOver := ErrPreamble
	if rescue || embedded.samePreamble(detached) { // in a rescue the payload's commitment judges the preamble
		var o Opened
		if o, passedOver = s.openOne(detached, rescue); passedOver == nil {
			return o, nil
		}
	}
	o, err := s.openOne(embedded, rescue)
	if err != nil {
		return Opened{}, bothFail(err, passedOver)
	}
	o.Detached = passedOver
	return o, nil
}

// bothFail joins the errors of the two envelopes. The embedded one's decides, since it
// always exists, unless only the detached one is for an offered key.
func bothFail(embedded, detached error) error {
	var ofEmbedded, ofDetached *WrongKeyError
	ownKey, besideKey := !errors.As(embedded, &ofEmbedded), !errors.As(detached, &ofDetached)
	switch {
	case embedded.Error() == detached.Error():
		return embedded
	case !ownKey && !besideKey:
		all := *ofDetached
		for _, h := range ofEmbedded.Wanted {
			if !slices.Contains(all.Wanted, h) {
				all.Wanted = append(all.Wanted, h)
			}
		}
		return &all
	case !ownKey && !errors.Is(detached, ErrPreamble):
		return fmt.Errorf("with the envelope next to it: %w; and with its own: %v", detached, embedded)
	}
	return fmt.Errorf("%w; and the envelope next to it was passed over: %v", embedded, detached)
}

func (s *session) openOne(e *Envelope, rescue bool) (Opened, error) {
	var fault error // the best explanation so far
	for _, c := range s.candidates(e) {
		dataKey, err := s.unwrap(e.ID, c)
		if s.ctx.Err() != nil {
			return Opened{}, context.Cause(s.ctx)
		}
		if errors.Is(err, slot.ErrNotMine) {
			continue
		}
		if err != nil {
			if !errors.Is(err, slot.ErrDamaged) {
				err = fmt.Errorf("opening the slot for %v: %w", c.slot.Holder(), err)
			}
			if fault == nil {
				fault = err
			}
			continue
		}
		if err := s.join(dataKey, e.preamble()); errors.Is(err, stream.ErrCommitment) {
			fault = ErrDamagedHead
			continue
		} else if s.joined = true; err != nil {
			return Opened{}, err
		}
		o := Opened{Envelope: e, Holder: c.slot.Holder()}
		if c.misnamed || !e.authentic(dataKey) {
			if !rescue {
				return Opened{}, ErrAltered
			}
			o.Altered = ErrAltered
		}
		return o, nil
	}
	if fault != nil {
		return Opened{}, fault
	}
	return Opened{}, &WrongKeyError{Wanted: e.Holders(), Offered: s.offered()}
}

// candidate is a slot and an identity to try on it. Misnamed: the slot names another
// holder.
type candidate struct {
	slot     Slot
	identity int
	misnamed bool
}

// candidates lists, in file order, the slots that name an identity, then every other
// combination that may open.
func (s *session) candidates(e *Envelope) []candidate {
	var named, others []candidate
	for _, sl := range e.Slots {
		for i, identity := range s.identities {
			holder, known := slot.HolderOf(identity)
			switch {
			case !known:
				others = append(others, candidate{slot: sl, identity: i})
			case holder == sl.Holder():
				named = append(named, candidate{slot: sl, identity: i})
			case holder.Type == sl.Type:
				others = append(others, candidate{slot: sl, identity: i, misnamed: true})
			}
		}
	}
	return append(named, others...)
}

func (s *session) unwrap(id ID, c candidate) ([]byte, error) {
	q := question{c.identity, id, c.slot.Line()}
	if a, ok := s.asked[q]; ok {
		return a.dataKey, a.err
	}
	dataKey, err := s.identities[c.identity].Unwrap(s.ctx, id, c.slot)
	if err == nil && len(dataKey) != slot.DataKeySize {
		clear(dataKey)
		dataKey, err = nil, slot.ErrDamaged
		if c.misnamed {
			err = slot.ErrNotMine
		}
	}
	if s.asked == nil {
		s.asked = make(map[question]answer)
	}
	s.asked[q] = answer{dataKey, err}
	return dataKey, err
}

func (e *Envelope) authentic(dataKey []byte) bool {
	message, err := stream.Open(dataKey, append([]byte(authContext), e.beforeAuth()...), e.auth[:])
	return err == nil && len(message) == 0
}

func (e *Envelope) samePreamble(other *Envelope) bool {
	return bytes.Equal(e.preamble(), other.preamble())
}
