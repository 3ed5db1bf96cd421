package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// transitMount is a transit engine of the fake, with the messages of Vault 1.19
// (builtin/logical/transit, sdk/helper/keysutil).
type transitMount struct{ keys map[string]*transitKey }

type transitKey struct {
	versions    []cipher.AEAD
	min         int
	derived     bool
	signingOnly bool
	rsa         bool
}

func (k *transitKey) rotate() {
	secret := make([]byte, 32)
	rand.Read(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	k.versions = append(k.versions, aead)
}

func (m *transitMount) serve(w http.ResponseWriter, path string, body map[string]any) {
	parts := strings.Split(path, "/")
	k := m.keys[parts[1]]
	if parts[0] == "keys" {
		switch {
		case len(parts) == 2:
			k = &transitKey{min: 1, derived: body["derived"] == true, rsa: body["type"] == "rsa-2048", signingOnly: body["type"] == "ed25519"}
			k.rotate()
			m.keys[parts[1]] = k
		case parts[2] == "rotate":
			k.rotate()
		case parts[2] == "config":
			k.min = number(body["min_decryption_version"])
		}
		reply(w, http.StatusNoContent, nil)
		return
	}
	bound, err := base64.StdEncoding.DecodeString(fmt.Sprint(body["associated_data"]))
	switch {
	case k == nil:
		problem(w, http.StatusBadRequest, "encryption key not found")
	case err != nil || len(bound) == 0:
		problem(w, http.StatusBadRequest, "no associated data")
	case k.rsa || k.signingOnly:
		problem(w, http.StatusBadRequest, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048")
	case k.derived:
		problem(w, http.StatusBadRequest, "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key")
	case parts[0] == "encrypt":
		plain, err := base64.StdEncoding.DecodeString(fmt.Sprint(body["plaintext"]))
		if err != nil {
			problem(w, http.StatusBadRequest, "illegal base64 data")
			return
		}
		newest := len(k.versions)
		sealed := k.versions[newest-1].Seal(nil, nil, plain, bound)
		reply(w, http.StatusOK, answer{"data": answer{"ciphertext": fmt.Sprintf("vault:v%d:%s", newest, base64.StdEncoding.EncodeToString(sealed)), "key_version": newest}})
	default:
		k.decrypt(w, fmt.Sprint(body["ciphertext"]), bound)
	}
}

func (k *transitKey) decrypt(w http.ResponseWriter, text string, bound []byte) {
	var version int
	var sealed []byte
	parts := strings.Split(text, ":")
	fmt.Sscanf(parts[1], "v%d", &version)
	sealed, err := base64.StdEncoding.DecodeString(parts[2])
	switch {
	case err != nil:
		problem(w, http.StatusBadRequest, "invalid ciphertext: could not decode base64")
	case version > len(k.versions):
		problem(w, http.StatusBadRequest, "invalid ciphertext: version is too new")
	case version < k.min:
		problem(w, http.StatusBadRequest, "ciphertext or signature version is disallowed by policy (too old)")
	default:
		plain, err := k.versions[version-1].Open(nil, nil, bytes.Clone(sealed), bound)
		if err != nil {
			problem(w, http.StatusBadRequest, "cipher: message authentication failed")
			return
		}
		reply(w, http.StatusOK, answer{"data": answer{"plaintext": base64.StdEncoding.EncodeToString(plain)}})
	}
}
