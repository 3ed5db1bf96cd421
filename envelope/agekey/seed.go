package agekey

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// SeedSize is the length in bytes of what a [Seed] is made of.
const SeedSize = 32

const (
	classic = "AGE-SECRET-KEY-"
	hybrid  = "AGE-SECRET-KEY-PQ-"
)

// Seed is the secret of an identity that needs no plugin: the 32 bytes of an X25519
// key or of the hybrid, post-quantum one (https://c2sp.org/age), which can be split,
// printed and locked as a key of this program can. It never prints.
type Seed struct {
	recipient *Recipient
	hrp       string         // classic or hybrid
	material  func() *[]byte // a closure, which fmt does not look into
}

// ErrNoSeed is returned for identities that are not bare 32 bytes: of plugins, ssh
// keys, several, or none.
var ErrNoSeed = errors.New("it is not one identity as age-keygen makes it (AGE-SECRET-KEY-…)")

// GenerateSeed draws a new identity: the hybrid of ML-KEM-768 and X25519, or X25519
// alone.
func GenerateSeed(postQuantum bool) *Seed {
	material := make([]byte, SeedSize)
	defer clear(material)
	rand.Read(material) // never fails: crypto/rand stops the program instead
	hrp := classic
	if postQuantum {
		hrp = hybrid
	}
	s, err := newSeed(hrp, material)
	if err != nil {
		panic("agekey: " + err.Error())
	}
	return s
}

// SeedOf returns the identity of these bytes whose recipient has this hint. The error
// is ErrNoSeed.
func SeedOf(material []byte, hint string) (*Seed, error) {
	for _, hrp := range []string{hybrid, classic} {
		s, err := newSeed(hrp, material)
		if err == nil && s.recipient.Holder().Name == hint {
			return s, nil
		}
	}
	return nil, ErrNoSeed
}

// ParseSeed reads a file of one identity. It returns ErrNoSeed for anything else, and
// repeats nothing of it. The text stays the caller's to wipe.
func ParseSeed(text []byte) (*Seed, error) {
	var found *Seed
	err := eachLine(bytes.NewReader(text), func(line string) error {
		hrp := classic
		if strings.HasPrefix(line, hybrid) {
			hrp = hybrid
		}
		data, ok := strings.CutPrefix(line, hrp+"1")
		if !ok || found != nil || len(data) < checkLetters {
			return ErrNoSeed
		}
		material, err := bech32.DecodeString(strings.ToLower(data[:len(data)-checkLetters]))
		defer clear(material)
		if err != nil {
			return ErrNoSeed
		}
		if found, err = newSeed(hrp, material); err == nil && found.Line() != line {
			err = ErrNoSeed // its checksum fails
		}
		return err
	})
	if err != nil || found == nil {
		return nil, ErrNoSeed
	}
	return found, nil
}

func newSeed(hrp string, material []byte) (*Seed, error) {
	if len(material) != SeedSize {
		return nil, ErrNoSeed
	}
	own := bytes.Clone(material)
	s := &Seed{hrp: hrp, material: func() *[]byte { return &own }}
	i, err := parseIdentity(s.Line(), Options{})
	if err != nil {
		return nil, ErrNoSeed
	}
	s.recipient = i.recipient
	return s, nil
}

// ID is the hint of the recipient, which finds the identity as a key's id finds a key.
func (s *Seed) ID() kek.ID { return kek.ID(s.recipient.Holder().Name) }

// Recipient returns whom to seal for, so that the identity opens.
func (s *Seed) Recipient() *Recipient { return s.recipient }

// PostQuantum reports whether it is the hybrid, which takes age 1.3 or later.
func (s *Seed) PostQuantum() bool { return s.hrp == hybrid }

// Bytes returns the secret, 32 bytes that alias the Seed: do not keep, change or
// print them.
func (s *Seed) Bytes() []byte { return *s.material() }

// Wipe overwrites the secret. The Seed must not be used afterwards.
func (s *Seed) Wipe() { clear(s.Bytes()) }

// Text returns the file of the identity, as age-keygen writes it. The caller wipes it.
func (s *Seed) Text(created time.Time) []byte {
	return fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", created.UTC().Format(time.RFC3339), s.recipient, s.Line())
}

// Format implements fmt.Formatter for every verb.
func (*Seed) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (*Seed) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// bech32 is the alphabet of BIP 173, whose bits run as those of RFC 4648 do.
var bech32 = base32.NewEncoding(letters).WithPadding(base32.NoPadding)

const (
	letters      = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	checkLetters = 6
)

// Line returns the identity alone, in Bech32 (BIP 173), without a line feed. It is the
// secret.
func (s *Seed) Line() string {
	data := bech32.EncodeToString(s.Bytes())
	return s.hrp + "1" + strings.ToUpper(data+checksum(strings.ToLower(s.hrp), data))
}

// checksum returns the letters that end a Bech32 text (BIP 173, "Checksum").
func checksum(hrp, data string) string {
	generator := []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	add := func(value uint32) {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ value
		for i, g := range generator {
			sum ^= g * (top >> i & 1)
		}
	}
	for _, c := range []byte(hrp) {
		add(uint32(c >> 5))
	}
	add(0)
	for _, c := range []byte(hrp) {
		add(uint32(c & 31))
	}
	for _, c := range []byte(data) {
		add(uint32(strings.IndexByte(letters, c)))
	}
	for range checkLetters {
		add(0)
	}
	sum ^= 1
	var out []byte
	for i := range checkLetters {
		out = append(out, letters[sum>>(5*(checkLetters-1-i))&31])
	}
	return string(out)
}
