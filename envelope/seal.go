package envelope

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/stream"
)

var (
	// ErrNoKey is returned when a backup is to be sealed for nobody.
	ErrNoKey = errors.New("no key to seal for")
	// ErrSameKey is returned when a backup is to be sealed for a key twice.
	ErrSameKey = errors.New("the same key is given twice")
)

// Writer seals one backup. What is written to it is the packed stream. As with
// a [stream.Writer], the backup is whole only after Close, and a Writer that is
// abandoned leaves nothing that opens.
type Writer struct {
	*stream.Writer
	envelope *Envelope
}

// NewWriter draws an id and a data key, wraps the data key for each of the
// keys, and writes the envelope to dst, so that an envelope that cannot be
// written is known before any input is read. The label's Created is cut to
// seconds and taken to UTC. The errors are ErrNoKey, ErrSameKey, ErrTooLarge,
// one that says what is wrong with the label, and those of dst.
func NewWriter(dst io.Writer, label Label, keys ...*kek.Key) (*Writer, error) {
	e := &Envelope{Label: label}
	e.Created = label.Created.UTC().Truncate(1e9)
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("labelling the backup: %w", err)
	}
	rand.Read(e.ID[:])
	var dataKey [dataKeySize]byte
	rand.Read(dataKey[:])
	defer clear(dataKey[:])
	if err := e.wrap(dataKey[:], keys); err != nil {
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
	if _, err := dst.Write(e.text); err != nil {
		return nil, err
	}
	return &Writer{w, e}, nil
}

// Envelope returns what was written at the head of the backup.
func (w *Writer) Envelope() *Envelope { return w.envelope }

// wrap makes a slot for each key.
func (e *Envelope) wrap(dataKey []byte, keys []*kek.Key) error {
	if len(keys) == 0 {
		return ErrNoKey
	}
	seen := make(map[kek.ID]bool)
	for _, k := range keys {
		if seen[k.ID()] {
			return fmt.Errorf("%w: %s", ErrSameKey, k.ID())
		}
		seen[k.ID()] = true
		wrapped, err := stream.Seal(k.Bytes(), e.slotContext(), dataKey)
		if err != nil {
			return fmt.Errorf("wrapping the data key for key %s: %w", k.ID(), err)
		}
		e.Slots = append(e.Slots, Slot{keySlotType, []string{string(k.ID()), base64.StdEncoding.EncodeToString(wrapped)}})
	}
	return nil
}

// slotContext binds a key slot to its backup.
func (e *Envelope) slotContext() []byte { return append([]byte(keySlotLabel), e.ID[:]...) }

// authenticate computes the auth line and with it the envelope's text.
func (e *Envelope) authenticate(dataKey []byte) error {
	sealed, err := stream.Seal(dataKey, append([]byte(authContext), e.beforeAuth()...), nil)
	if err != nil {
		return fmt.Errorf("authenticating the envelope: %w", err)
	}
	e.auth = [authSize]byte(sealed)
	e.text = e.encode()
	return nil
}
