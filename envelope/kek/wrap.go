package kek

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream"
)

const (
	// SlotType is the type of a key's slots.
	SlotType = "key"

	// WrappedSize is the length of a wrapped data key in bytes: a Cobblestone-256 message.
	WrappedSize = stream.HeaderSize + slot.DataKeySize + stream.TagSize
)

// Holder names the slots of the key: "key" and its id.
func (k *Key) Holder() slot.Holder { return slot.Holder{Type: SlotType, Name: string(k.id)} }

// Wrap seals a data key under the key, bound to the backup's id. The error is ErrWiped, or
// about the data key's size.
func (k *Key) Wrap(_ context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	if k.wiped() {
		return slot.Slot{}, ErrWiped
	}
	if len(dataKey) != slot.DataKeySize {
		return slot.Slot{}, fmt.Errorf("a data key has %d bytes, not %d", slot.DataKeySize, len(dataKey))
	}
	wrapped, err := stream.Seal(k.Bytes(), slot.Label(SlotType, id), dataKey)
	if err != nil {
		return slot.Slot{}, err
	}
	return slot.Slot{Type: SlotType, Args: []string{string(k.id), base64.StdEncoding.EncodeToString(wrapped)}}, nil
}

// Unwrap opens a slot of type key, even one with the id of another key. The errors are
// ErrWiped, [slot.ErrNotMine] and [slot.ErrDamaged].
func (k *Key) Unwrap(_ context.Context, id slot.ID, s slot.Slot) ([]byte, error) {
	if k.wiped() {
		return nil, ErrWiped
	}
	if s.Type != SlotType || len(s.Args) != 2 {
		return nil, slot.ErrNotMine
	}
	wrapped, err := slot.DecodeBase64(s.Args[1], WrappedSize)
	if err == nil {
		var dataKey []byte
		if dataKey, err = stream.Open(k.Bytes(), slot.Label(SlotType, id), wrapped); err == nil {
			return dataKey, nil
		}
	}
	if s.Holder() == k.Holder() {
		return nil, slot.ErrDamaged
	}
	return nil, slot.ErrNotMine
}
