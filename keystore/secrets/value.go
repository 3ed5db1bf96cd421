// Package secrets is the secrets manager of Takumi's components: one way to the
// values that they need, wherever those live, and the rules for values that are made.
//
//	backend, err := secrets.Open("vault:secret/takumi/production", secrets.Options{Environment: "production"})
//	m := secrets.NewManager(backend)
//	jwt, err := m.Required(ctx, "JWT_SECRET")
//	sign(jwt.Reveal())
//
// Backends are named by [Open]; those that can be written as one, and so rotated, are
// a [Store]. Package keystore/secrets/rotation changes what they hold.
package secrets

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

const hidden = "[secret]"

// Value is a secret. However it is printed, logged or encoded, it reads [secret];
// Reveal alone gives it out. The zero Value is not set.
type Value struct{ text string }

// NewValue makes a Value.
func NewValue(text string) Value { return Value{text} }

// Reveal returns the secret itself.
func (v Value) Reveal() string { return v.text }

// IsSet reports whether there is a secret.
func (v Value) IsSet() bool { return v.text != "" }

// Format implements fmt.Formatter for every verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// MarshalText implements encoding.TextMarshaler.
func (v Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(hidden) }
