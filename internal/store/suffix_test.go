package store_test

import (
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestSuffixes: a store knows the names of envelopes and signatures without
// knowing either.
func TestSuffixes(t *testing.T) {
	if store.SignatureSuffix != sign.Suffix {
		t.Errorf("%q, and signatures are named %q", store.SignatureSuffix, sign.Suffix)
	}
	if store.EnvelopeSuffix != envelope.DetachedSuffix {
		t.Errorf("%q, and envelopes are named %q", store.EnvelopeSuffix, envelope.DetachedSuffix)
	}
}
