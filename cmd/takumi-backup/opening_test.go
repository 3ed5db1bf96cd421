package main

import (
	"errors"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestPinned: what restore --latest verified is what it opens.
func TestPinned(t *testing.T) {
	one, other := envelope.ID{1}, envelope.ID{2}
	for _, tc := range []struct {
		pinned, id envelope.ID
		changed    bool
	}{{envelope.ID{}, one, false}, {one, one, false}, {one, other, true}} {
		o := &opening{pinned: tc.pinned}
		if err := o.unpinned("x.enc", tc.id); errors.Is(err, store.ErrChanged) != tc.changed || (err == nil) == tc.changed {
			t.Errorf("%v, %v: %v", tc.pinned, tc.id, err)
		}
	}
}
