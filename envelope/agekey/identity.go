package agekey

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

// Identity opens the slots of a recipient. It never prints.
type Identity struct {
	age       age.Identity
	recipient *Recipient // nil when it is not known: a plugin's
	asks      bool       // somebody outside, so that more may fail than a slot
}

// String and the methods below keep the secret out of any output.
func (*Identity) String() string { return "[redacted]" }

// GoString implements fmt.GoStringer.
func (*Identity) GoString() string { return "[redacted]" }

// Format implements fmt.Formatter for every verb.
func (*Identity) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (*Identity) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Recipient returns whom to seal for, so that this identity opens. It is nil for
// a plugin's identity, which does not say.
func (i *Identity) Recipient() *Recipient { return i.recipient }

// Named returns the identity as one that knows its slots, if it does.
func (i *Identity) Named() slot.Identity {
	if i.recipient == nil {
		return i
	}
	return named{i}
}

// named is an Identity whose recipient is known.
type named struct{ *Identity }

// Holder names the identity's slots.
func (n named) Holder() slot.Holder { return n.recipient.Holder() }

// Wrap is that of the recipient, so that what is sealed for an identity can be
// proved to open.
func (n named) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	return n.recipient.Wrap(ctx, id, dataKey)
}

// Unwrap decrypts a slot of type age. The errors are [slot.ErrNotMine],
// [slot.ErrDamaged], also for a slot of another backup, and what kept the identity
// from being tried: a plugin that is missing, fails or takes too long, or a
// passphrase that is not to be had.
func (i *Identity) Unwrap(ctx context.Context, id slot.ID, s slot.Slot) ([]byte, error) {
	if s.Type != SlotType || len(s.Args) != 2 {
		return nil, slot.ErrNotMine
	}
	notOpen := slot.ErrNotMine
	if i.recipient != nil && s.Holder() == i.recipient.Holder() {
		notOpen = slot.ErrDamaged
	}
	file, err := base64.StdEncoding.Strict().DecodeString(s.Args[1])
	if err != nil || base64.StdEncoding.EncodeToString(file) != s.Args[1] {
		return nil, notOpen
	}
	observed := &observer{Identity: bounded(ctx, i.age)}
	plain, err := decrypt(file, observed, len(id)+slot.DataKeySize)
	defer clear(plain)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && i.asks && observed.fail != nil:
		return nil, err // what was asked did not answer
	case err != nil:
		return nil, notOpen
	case len(plain) != len(id)+slot.DataKeySize || !bytes.Equal(plain[:len(id)], id[:]):
		return nil, slot.ErrDamaged
	}
	return bytes.Clone(plain[len(id):]), nil
}

// decrypt reads the size bytes that an age file holds, and one more if it has more.
func decrypt(file []byte, with age.Identity, size int) ([]byte, error) {
	src, err := age.Decrypt(bytes.NewReader(file), with)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(src, int64(size+1)))
}

func bounded(ctx context.Context, i age.Identity) age.Identity {
	switch i := i.(type) {
	case plugged:
		return i.in(ctx)
	case unlocking:
		i.ctx = ctx
		return i
	}
	return i
}

// observer remembers what an identity said, which age.Decrypt mixes with what is
// wrong with the file.
type observer struct {
	age.Identity
	fail error
}

func (o *observer) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := o.Identity.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		o.fail = err
	}
	return key, err
}
