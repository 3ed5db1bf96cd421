package named

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awskms"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
)

// Checked is a key or a recipient that was checked.
type Checked struct {
	ID       kek.ID   `json:"key_id"`
	Key      string   `json:"key"`
	OK       bool     `json:"ok"`
	Warnings []string `json:"warnings,omitempty"`
}

// Check checks the keys of a ring, of which those of its sources are loaded, and then the
// recipients that are not keys, and calls each with what it finds: what concerns former
// keys is among the warnings of the first. The error is of a key that is in or under
// c.Root, of a service that does not wrap and unwrap, or that of each.
func Check(ctx context.Context, c *history.Check, ring *keystore.Ring, loaded []*kek.Key, each func(Checked) error) error {
	for _, src := range ring.Places() {
		if err := keystore.CheckOutside(src, c.Root); err != nil {
			return fmt.Errorf("checking where the key is: %w", err)
		}
	}
	for i, src := range ring.Sources() {
		checked := Checked{ID: loaded[i].ID(), Key: src.String(), OK: true, Warnings: c.Warnings(ctx, src, loaded[i].ID())}
		if i == 0 {
			checked.Warnings = append(checked.Warnings, c.Missing(ctx, ring, loaded)...)
		}
		if err := each(checked); err != nil {
			return err
		}
	}
	recipients, err := ring.Recipients(ctx)
	if err != nil && !errors.Is(err, keystore.ErrNone) {
		return err
	}
	for _, r := range recipients {
		h, known := slot.HolderOf(r)
		if !known || h.Type == awskms.SlotType || h.Type == vault.TransitSlot { // unknown: a key of KMS that an alias names
			if h, err = Try(ctx, r); err != nil {
				return fmt.Errorf("trying the key: %w", err)
			}
		}
		if h.Type == kek.SlotType {
			continue
		}
		checked := Checked{ID: kek.ID(h.Name), Key: h.String(), OK: true}
		if w := c.Unused(time.Time{}, func(b *history.Backup) bool { return slices.Contains(b.Recipients, h) }); w != "" {
			checked.Warnings = []string{w}
		}
		if err := each(checked); err != nil {
			return err
		}
	}
	return nil
}
