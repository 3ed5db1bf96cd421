package contracts

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/sha3"
)

// ErrAddress is what every error of ParseAddress wraps.
var ErrAddress = errors.New("not an address")

// Hash is 32 bytes of the chain: a hash, a storage slot or a slot's value. As
// text it is 0x and 64 lower-case digits.
type Hash [32]byte

// Address is where an account stands. As text it carries the checksum of
// EIP-55 in the case of its letters.
type Address [20]byte

// Bytes is data of any length, as text 0x and hexadecimal digits.
type Bytes []byte

// Keccak returns the hash that Ethereum uses, which is not the SHA-3 of the
// standard.
func Keccak(data ...[]byte) (sum Hash) {
	h := sha3.NewLegacyKeccak256()
	for _, d := range data {
		h.Write(d)
	}
	h.Sum(sum[:0])
	return sum
}

// String returns h as text.
func (h Hash) String() string { return "0x" + hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText accepts exactly 32 bytes.
func (h *Hash) UnmarshalText(text []byte) error { return exactly(h[:], text) }

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte("0x" + hex.EncodeToString(b)), nil }

// UnmarshalText accepts 0x and an even number of digits.
func (b *Bytes) UnmarshalText(text []byte) error {
	data, err := digits(string(text))
	*b = data
	return err
}

// String returns a with its checksum.
func (a Address) String() string {
	text := []byte(hex.EncodeToString(a[:]))
	sum := Keccak(text)
	for i, c := range text {
		nibble := sum[i/2] >> 4
		if i%2 == 1 {
			nibble = sum[i/2] & 15
		}
		if c >= 'a' && nibble >= 8 {
			text[i] -= 'a' - 'A'
		}
	}
	return "0x" + string(text)
}

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAddress.
func (a *Address) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddress(string(text))
	return err
}

// ParseAddress reads 0x and 40 digits. Letters of both cases are a checksum,
// which must be right; of one case alone they are none. Errors wrap ErrAddress.
func ParseAddress(text string) (Address, error) {
	var a Address
	if err := exactly(a[:], []byte(text)); err != nil {
		return Address{}, fmt.Errorf("%q is %w: %w", clip(text), ErrAddress, err)
	}
	letters := text[2:]
	mixed := letters != strings.ToLower(letters) && letters != strings.ToUpper(letters)
	if mixed && text != a.String() {
		return Address{}, fmt.Errorf("%q is %w: its checksum is wrong, so some digit of it is (%s has the right one)", text, ErrAddress, a)
	}
	return a, nil
}

func exactly(dst, text []byte) error {
	// Before decoding: what is far too long is not worth the memory.
	if len(text) != 2+2*len(dst) {
		return fmt.Errorf("not 0x and %d hexadecimal digits", 2*len(dst))
	}
	data, err := digits(string(text))
	copy(dst, data)
	return err
}

func digits(text string) ([]byte, error) {
	rest, found := strings.CutPrefix(text, "0x")
	if !found {
		return nil, errors.New("it lacks its 0x")
	}
	data, err := hex.DecodeString(rest)
	if err != nil {
		return nil, errors.New("not pairs of hexadecimal digits")
	}
	return data, nil
}

// Quantity is a number as nodes write it: 0x and digits without leading zeros.
type Quantity struct{ n big.Int } // not embedded: its JSON is another one

// String returns q in decimal.
func (q Quantity) String() string { return q.n.String() }

// UnmarshalText accepts at most 256 bits.
func (q *Quantity) UnmarshalText(text []byte) error {
	rest, found := strings.CutPrefix(string(text), "0x")
	// Leading zeros are forgiven: some nodes pad the values of slots.
	if !found || rest == "" || len(rest) > 64 || strings.Trim(rest, "0123456789abcdefABCDEF") != "" {
		return fmt.Errorf("%q is not a number of at most 256 bits", clip(string(text)))
	}
	q.n.SetString(rest, 16)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (q Quantity) MarshalText() ([]byte, error) { return []byte("0x" + q.n.Text(16)), nil }

// hash returns q as 32 bytes.
func (q *Quantity) hash() (h Hash) {
	q.n.FillBytes(h[:])
	return h
}

func clip(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func parseSlotNumber(text string) (Hash, error) {
	var q Quantity
	if err := q.UnmarshalText([]byte(text)); err == nil {
		return q.hash(), nil
	}
	if text == "" || len(text) > 78 || strings.Trim(text, "0123456789") != "" {
		return Hash{}, fmt.Errorf("%q is not the number of a storage slot", clip(text))
	}
	if q.n.SetString(text, 10); q.n.BitLen() > 256 {
		return Hash{}, fmt.Errorf("%q is beyond the last storage slot", text)
	}
	return q.hash(), nil
}
