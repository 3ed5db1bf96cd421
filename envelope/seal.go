package envelope

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/stream"
)

var (
	// ErrNoKey is returned when there is no recipient.
	ErrNoKey = errors.New("no key to seal for")
	// ErrSameKey is returned for a repeated holder.
	ErrSameKey = fail.New(fail.Usage, "give every key once, and no more than 32", "the same key is given twice")
)

// Writer seals the packed stream that is written to it. As with a [stream.Writer], the
// backup is whole only after Close, and an abandoned Writer leaves nothing that opens.
type Writer struct {
	*stream.Writer
	envelope *Envelope
}

// NewWriter draws an id and a data key, has each recipient wrap the data key, and writes
// the envelope to dst, so that errors of dst show before any input is read. The label's
// Created is cut to seconds and taken to UTC. The errors are ErrNoKey, ErrSameKey,
// ErrTooLarge, one about the label, and those of the recipients and of dst. The context is
// for the recipients.
func NewWriter(ctx context.Context, dst io.Writer, label Label, recipients ...Recipient) (*Writer, error) {
	e := &Envelope{Label: label}
	e.Created = label.Created.UTC().Truncate(1e9)
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("labelling the backup: %w", err)
	}
	random(e.ID[:])
	var dataKey [slot.DataKeySize]byte
	random(dataKey[:])
	defer clear(dataKey[:])
	if err := e.wrap(ctx, dataKey[:], recipients); err != nil {
		return nil, err
	}
	if err := e.fit(sealingPad); err != nil {
		return nil, err
	}
	if err := e.authenticate(dataKey[:]); err != nil {
		return nil, err
	}
	w, err := stream.NewWriter(dst, dataKey[:], e.preamble())
	if err != nil {
		return nil, err
	}
	if _, err := parallel.WriteFull(dst, e.text); err != nil {
		return nil, err
	}
	return &Writer{w, e}, nil
}

// random fills p from the system's generator; crypto/rand stops the program when that
// fails. A variable for tests.
var random = func(p []byte) { rand.Read(p) }

// Envelope returns the head of the backup.
func (w *Writer) Envelope() *Envelope { return w.envelope }

func (e *Envelope) wrap(ctx context.Context, dataKey []byte, recipients []Recipient) error {
	if len(recipients) == 0 {
		return ErrNoKey
	}
	if len(recipients) > maxSlots {
		return ErrTooLarge
	}
	for i, r := range recipients {
		s, err := r.Wrap(ctx, e.ID, dataKey)
		if err == nil {
			err = checkSlot(s)
		}
		if err != nil {
			return fmt.Errorf("wrapping the data key for recipient %d: %w", i+1, err)
		}
		if slices.Contains(e.Holders(), s.Holder()) {
			return fmt.Errorf("%w: %v", ErrSameKey, s.Holder())
		}
		e.Slots = append(e.Slots, s)
	}
	return nil
}

func (e *Envelope) authenticate(dataKey []byte) error {
	sealed, err := stream.Seal(dataKey, append([]byte(authContext), e.beforeAuth()...), nil)
	if err != nil {
		return fmt.Errorf("authenticating the envelope: %w", err)
	}
	e.auth = [authSize]byte(sealed)
	e.text = e.encode()
	return nil
}
