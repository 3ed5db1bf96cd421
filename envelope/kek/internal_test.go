package kek

import (
	"bytes"
	"testing"
)

// TestGenerateDraws: a key is what the random source gave, and all of it.
func TestGenerateDraws(t *testing.T) {
	var drawn [][]byte
	system := random
	t.Cleanup(func() { random = system })
	random = func(p []byte) {
		system(p)
		drawn = append(drawn, bytes.Clone(p))
	}
	a, b := Generate(), Generate()
	if len(drawn) != 2 || !bytes.Equal(a.Bytes(), drawn[0]) || !bytes.Equal(b.Bytes(), drawn[1]) || len(drawn[0]) != Size {
		t.Errorf("keys %x and %x, and %x were drawn", a.Bytes(), b.Bytes(), drawn)
	}
	if a.ID() != deriveID(drawn[0]) || bytes.Equal(drawn[0], drawn[1]) || a.wiped() {
		t.Error("the keys are equal, or their ids are others'")
	}
}
