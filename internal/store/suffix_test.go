package store_test

import (
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestEnvelopeSuffix: a store knows the names of envelopes without knowing
// envelopes.
func TestEnvelopeSuffix(t *testing.T) {
	if store.EnvelopeSuffix != envelope.DetachedSuffix {
		t.Errorf("%q, and envelopes are named %q", store.EnvelopeSuffix, envelope.DetachedSuffix)
	}
}
