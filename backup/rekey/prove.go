package rekey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// CheckedRecipients returns the new holders, after it has checked, before any backup is touched, that
// a backup sealed for each available one opens again: a key is fetched twice, and opens
// with one what was sealed for the other. Recipients without their identity cannot be
// checked.
func CheckedRecipients(ctx context.Context, ring *keystore.Ring) ([]slot.Recipient, error) {
	keys, err := ring.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the new key: %w", err)
	}
	for i, src := range ring.Sources() {
		if err := proveKey(ctx, src, keys[i]); err != nil {
			return nil, fmt.Errorf("reading the new key back, before anything is changed: %w", err)
		}
	}
	all, err := ring.Recipients(ctx)
	if errors.Is(err, keystore.ErrNone) {
		return nil, fail.Usagef("--to: the identity does not say whom to seal for: name its recipient with -r")
	}
	if err != nil {
		return nil, err
	}
	for _, r := range all[len(keys):] {
		if i, ok := r.(slot.Identity); ok {
			if err := trial(ctx, r, i); err != nil {
				return nil, fmt.Errorf("trying the new identity, before anything is changed: %w", err)
			}
		}
	}
	return all, onlyOnce(all)
}

// onlyOnce refuses holders that are named twice.
func onlyOnce(all []slot.Recipient) error {
	seen := make(map[slot.Holder]bool)
	for _, r := range all {
		h, known := slot.HolderOf(r)
		if known && seen[h] {
			return fail.Usagef("--to: %w: %s", envelope.ErrSameKey, h)
		}
		seen[h] = true
	}
	return nil
}

// proveKey fetches a key again and opens with it what was sealed for the first.
func proveKey(ctx context.Context, src keystore.Source, first *kek.Key) error {
	again, err := src.Load(ctx)
	if err != nil {
		return err
	}
	defer again.Wipe()
	if again.ID() != first.ID() {
		return &keystore.Error{
			URI: src.String(), Kind: keystore.ErrConflict,
			Reason: fmt.Sprintf("it held key %s a moment ago and now holds key %s: somebody is changing it", first.ID(), again.ID()),
			Fix:    "try again when that is done",
		}
	}
	if err := trial(ctx, first, again); err != nil {
		return fmt.Errorf("key %s: %w", src, err)
	}
	return nil
}

func trial(ctx context.Context, to slot.Recipient, with slot.Identity) error {
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(ctx, &sealed, envelope.Label{Created: time.Now(), Kind: "stream", Name: "trial", Codec: "none"}, to)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	r, err := envelope.Open(ctx, &sealed, envelope.Options{}, with)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return fmt.Errorf("a trial seal does not open: %w", err)
	}
	return nil
}
