//go:build cgo

package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"
)

const (
	version   = 1
	pointSize = 33 // of a compressed P-256 point
	wrapSize  = 32 // of a file key, with its tag
)

// identity names a key in a token by its public half, and may hold the seed of an
// ML-KEM key that goes with it. As text it is
//
//	version (1 byte) || P-256 point, compressed (33) [ || ML-KEM-768 seed (64) ]
//
// in the encoding of age's plugins. Which token has the key is looked for: a copy of
// the token opens too.
type identity struct {
	public *ecdh.PublicKey
	seed   []byte // none, or mlkem.SeedSize bytes; secret
	module string
	pin    pin
}

var errIdentity = errors.New("the identity is not one of age-plugin-pkcs11, or a newer version made it")

func parseIdentity(data []byte) (*identity, error) {
	if len(data) != 1+pointSize && len(data) != 1+pointSize+mlkem.SeedSize || data[0] != version {
		return nil, errIdentity
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), data[1:1+pointSize])
	if x == nil {
		return nil, errIdentity
	}
	point := make([]byte, 65) // 4 || X || Y
	point[0] = 4
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	public, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, errIdentity
	}
	return &identity{public: public, seed: bytes.Clone(data[1+pointSize:])}, nil
}

func compressed(public *ecdh.PublicKey) []byte {
	p := public.Bytes() // 4 || X || Y
	return append([]byte{2 + p[len(p)-1]&1}, p[1:pointSize]...)
}

// String is the secret text of the identity, for its file.
func (i *identity) String() string {
	return plugin.EncodeIdentity("pkcs11", append(append([]byte{version}, compressed(i.public)...), i.seed...))
}

func (i *identity) addMLKEM() error {
	k, err := mlkem.GenerateKey768()
	if err != nil {
		return fmt.Errorf("making the ML-KEM key: %w", err)
	}
	i.seed = k.Bytes()
	return nil
}

func (i *identity) recipient() (*tag.Recipient, error) {
	if len(i.seed) == 0 {
		return tag.NewClassicRecipient(compressed(i.public))
	}
	k, err := mlkem.NewDecapsulationKey768(i.seed)
	if err != nil {
		return nil, errIdentity
	}
	return tag.NewHybridRecipient(append(k.EncapsulationKey().Bytes(), i.public.Bytes()...))
}

// form is how a kind of recipient writes its stanzas (C2SP age-tagged).
type form struct {
	stanza, label string
	encSize       int
}

func (i *identity) form() form {
	if len(i.seed) == 0 {
		return form{"p256tag", "age-encryption.org/p256tag", 65}
	}
	return form{"mlkem768p256tag", "age-encryption.org/mlkem768p256tag", mlkem.CiphertextSize768 + 65}
}

// Unwrap implements age.Identity. A stanza for another key is known by its tag,
// before the token is looked for and before anybody is asked for a PIN.
func (i *identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	r, err := i.recipient()
	if err != nil {
		return nil, err
	}
	var private hpke.PrivateKey
	for _, s := range stanzas {
		enc, err := i.ours(s, r)
		if err != nil {
			return nil, err
		}
		if enc == nil {
			continue
		}
		if private == nil {
			k, err := i.login()
			if err != nil {
				return nil, err
			}
			defer k.close()
			if private, err = i.private(k); err != nil {
				return nil, err
			}
		}
		opener, err := hpke.NewRecipient(enc, private, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(i.form().label))
		if err != nil {
			return nil, fmt.Errorf("deriving with the token: %w", err)
		}
		if fileKey, err := opener.Open(nil, s.Body); err == nil {
			return fileKey, nil
		} // a tag has 4 bytes, and may be another key's
	}
	return nil, age.ErrIncorrectIdentity
}

// ours returns the encapsulated key of a stanza that has our tag, and nil for
// another's.
func (i *identity) ours(s *age.Stanza, r *tag.Recipient) ([]byte, error) {
	f := i.form()
	if s.Type != f.stanza {
		return nil, nil
	}
	malformed := fmt.Errorf("the %s stanza is malformed", f.stanza)
	if len(s.Args) != 2 || len(s.Body) != wrapSize {
		return nil, malformed
	}
	has, err := base64.RawStdEncoding.Strict().DecodeString(s.Args[0])
	if err != nil {
		return nil, malformed
	}
	enc, err := base64.RawStdEncoding.Strict().DecodeString(s.Args[1])
	if err != nil || len(enc) != f.encSize {
		return nil, malformed
	}
	want, err := r.Tag(enc)
	if err != nil {
		return nil, malformed
	}
	if subtle.ConstantTimeCompare(has, want) != 1 {
		return nil, nil
	}
	return enc, nil
}

// private joins the token's key, and the ML-KEM one, to what HPKE opens with
// (RFC 9180, draft-ietf-hpke-pq).
func (i *identity) private(k ecdh.KeyExchanger) (hpke.PrivateKey, error) {
	if len(i.seed) == 0 {
		return hpke.NewDHKEMPrivateKey(k)
	}
	pq, err := mlkem.NewDecapsulationKey768(i.seed)
	if err != nil {
		return nil, errIdentity
	}
	return hpke.NewHybridPrivateKey(pq, k)
}

// login looks for the key in the tokens that are there, and opens it with the PIN.
func (i *identity) login() (*opened, error) {
	m, err := openModule(i.module)
	if err != nil {
		return nil, err
	}
	k, err := m.open(i.public, i.pin)
	if err != nil {
		m.close()
		return nil, err
	}
	return k, nil
}
