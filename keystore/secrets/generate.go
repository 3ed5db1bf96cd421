package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/sha3"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// The forms that [Generate] makes.
const (
	JWT      = "jwt"      // 64 bytes (512 bits) in base64
	APIKey   = "api-key"  // 32 bytes in hex
	Webhook  = "webhook"  // 32 bytes in hex
	Password = "password" // 24 bytes in base64
	Hex      = "hex"      // 32 bytes, or as many as are asked for
	Base64   = "base64"   // the same
	Ethereum = "ethereum" // a private key of secp256k1, 0x and hex
)

// Forms are the forms in the order that help lists them.
var Forms = []string{JWT, APIKey, Password, Webhook, Hex, Base64, Ethereum}

var usualBytes = map[string]int{JWT: 64, APIKey: 32, Webhook: 32, Password: 24, Hex: 32, Base64: 32, Ethereum: 32}

// Generate makes a secret from crypto/rand. Size is its number of random bytes, 0 for
// the handbook's; fewer than that are refused, but for what is longer than 32 bytes
// by default, which may have 32. The error is of class fail.Usage.
func Generate(form string, size int) (Value, error) {
	usual, known := usualBytes[form]
	switch {
	case !known:
		return Value{}, fail.Usagef("%q is not a kind of secret: %s are", form, strings.Join(Forms, ", "))
	case size == 0:
		size = usual
	case form == Ethereum && size != usual:
		return Value{}, fail.Usagef("a private key of Ethereum has 32 bytes")
	case size < min(usual, 32) || size > 1024:
		return Value{}, fail.Usagef("a %s secret has %d to 1024 bytes, and %d are asked for", form, min(usual, 32), size)
	}
	if form == Ethereum {
		key, err := secp256k1.GeneratePrivateKeyFromRand(rand.Reader)
		if err != nil {
			return Value{}, fmt.Errorf("making a private key: %w", err)
		}
		defer key.Zero()
		return NewValue("0x" + hex.EncodeToString(key.Serialize())), nil
	}
	material := make([]byte, size)
	defer clear(material)
	rand.Read(material) // never fails: crypto/rand stops the program instead
	if slices.Contains([]string{JWT, Password, Base64}, form) {
		return NewValue(base64.StdEncoding.EncodeToString(material)), nil
	}
	return NewValue(hex.EncodeToString(material)), nil
}

// EthereumAddress is the address of a private key as Generate makes it, with the
// checksum of EIP-55: the last 20 bytes of the Keccak-256 of the public key.
func EthereumAddress(key Value) (string, error) {
	material, err := hex.DecodeString(strings.TrimPrefix(key.Reveal(), "0x"))
	var scalar secp256k1.ModNScalar
	if err != nil || len(material) != 32 || scalar.SetByteSlice(material) || scalar.IsZero() {
		return "", fail.Usagef("what is given is not a private key of Ethereum")
	}
	defer clear(material)
	public := secp256k1.NewPrivateKey(&scalar).PubKey().SerializeUncompressed()
	h := sha3.NewLegacyKeccak256()
	h.Write(public[1:])
	digits := []byte(hex.EncodeToString(h.Sum(nil)[12:]))
	h.Reset()
	h.Write(digits)
	sum := hex.EncodeToString(h.Sum(nil))
	for i, d := range digits {
		if d >= 'a' && sum[i] >= '8' {
			digits[i] = d - 'a' + 'A'
		}
	}
	return "0x" + string(digits), nil
}
