package agekey

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"

	"filippo.io/age"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

// Recipient wraps data keys for the holder of an identity. It is public.
type Recipient struct {
	age  age.Recipient
	text string
}

// String returns the recipient's text; of an ssh key, without its comment.
func (r *Recipient) String() string { return r.text }

// Holder names the recipient's slots: "age" and its [Hint].
func (r *Recipient) Holder() slot.Holder { return holder(r.text) }

// Wrap encrypts id and data key as an age file for this recipient alone.
func (r *Recipient) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	if len(dataKey) != slot.DataKeySize {
		return slot.Slot{}, fmt.Errorf("a data key has %d bytes, not %d", slot.DataKeySize, len(dataKey))
	}
	to := r.age
	if p, ok := to.(plugged); ok {
		to = p.in(ctx)
	}
	var file bytes.Buffer
	plain := append(id[:], dataKey...)
	defer clear(plain)
	w, err := age.Encrypt(&file, to)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return slot.Slot{}, fmt.Errorf("encrypting for the recipient %s: %w", short(r.text), err)
	}
	return slot.Slot{Type: SlotType, Args: []string{r.Holder().Name, base64.StdEncoding.EncodeToString(file.Bytes())}}, nil
}

// short cuts a recipient for a message: a hybrid one has 2000 characters.
func short(recipient string) string {
	const most = 70
	if len(recipient) > most {
		return recipient[:most] + "…"
	}
	return recipient
}
