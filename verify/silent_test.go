package verify

import (
	"context"
	"testing"
)

// TestRestoreOptional: without what restores, backups are proved up to their content, and
// without what chooses, each is restored.
func TestRestoreOptional(t *testing.T) {
	t.Parallel()
	o := Options{Level: Restore}
	if got := o.reach(new(Backup)); got != Content {
		t.Error(got)
	}
	o.Restore = func(context.Context, *Backup) []Finding { return nil }
	if got := o.reach(new(Backup)); got != Restore {
		t.Error(got)
	}
}
