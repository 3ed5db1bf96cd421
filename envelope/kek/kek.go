// Package kek holds key-encryption keys: 32 uniformly random bytes that wrap the data keys
// of backups. A [Key] is a recipient and an identity of slots of type "key"
// (docs/FORMAT.md, "slot key"): [Key.Wrap] and [Key.Unwrap].
//
// A [Key] never prints: its String, GoString, Format, text, JSON and slog forms are
// "[redacted]". Only Bytes returns the material.
//
// Wipe clears the Key's own copy; copies that Go's garbage collector may have made remain.
package kek

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

const (
	// Size is the length of a key in bytes.
	Size = 32

	// idLabel is the HMAC message for a key id (docs/FORMAT.md, "slot key").
	idLabel = "takumi-backup/v1 key id"
	idSize  = 8

	redacted = "[redacted]"
)

var (
	// ErrSize is returned for material of another length than Size.
	ErrSize = errors.New("a key is exactly 32 bytes")

	// ErrUniform is returned for material whose bytes are all equal: a zeroed file or a
	// placeholder.
	ErrUniform = errors.New("all bytes of the key are equal, so it was never random")

	// ErrWiped is returned by a Key after Wipe.
	ErrWiped = errors.New("the key was wiped already")
)

// ID names a key: the first 8 bytes of HMAC-SHA-256 (RFC 2104) under the key over a fixed
// label, as 16 lower-case hex digits. It is public, finds a key and proves nothing.
type ID string

// Key is a key-encryption key. The zero Key is not usable; use Generate or New. A Key is
// safe for concurrent use, except during Wipe.
type Key struct {
	id ID
	// A closure, because fmt calls no methods on unexported fields: inside another struct
	// it would print an array, or one behind a pointer, but only the address of a function.
	material func() *[Size]byte
}

func newKey() *Key {
	var m [Size]byte
	return &Key{material: func() *[Size]byte { return &m }}
}

// Generate returns a fresh key from crypto/rand.
func Generate() *Key {
	k := newKey()
	random(k.material()[:])
	k.id = deriveID(k.material()[:])
	return k
}

// random fills p from the system's generator; crypto/rand stops the program when that
// fails. A variable for tests.
var random = func(p []byte) { rand.Read(p) }

// New copies material, which the caller wipes. It must be uniformly random, never a
// passphrase. The errors are ErrSize and ErrUniform.
func New(material []byte) (*Key, error) {
	if len(material) != Size {
		return nil, ErrSize
	}
	uniform := true
	for _, b := range material {
		uniform = uniform && b == material[0]
	}
	if uniform {
		return nil, ErrUniform
	}
	k := newKey()
	copy(k.material()[:], material)
	k.id = deriveID(k.material()[:])
	return k, nil
}

func deriveID(material []byte) ID {
	mac := hmac.New(sha256.New, material)
	mac.Write([]byte(idLabel))
	return ID(hex.EncodeToString(mac.Sum(nil)[:idSize]))
}

// ID returns the key's id.
func (k *Key) ID() ID { return k.id }

// Bytes returns the 32 bytes of the key, which alias it: do not keep, change or print them.
func (k *Key) Bytes() []byte { return k.material()[:] }

// Wipe overwrites the material. The Key cannot be used afterwards.
func (k *Key) Wipe() { clear(k.material()[:]) }

// wiped reports whether the key has no material: neither New nor Generate makes a key of
// zeros.
func (k *Key) wiped() bool {
	return k.material == nil || subtle.ConstantTimeCompare(k.Bytes(), make([]byte, Size)) == 1
}

// String and the methods below keep the material out of any output.
func (Key) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Key) GoString() string { return redacted }

// Format implements fmt.Formatter for every verb.
func (Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }
