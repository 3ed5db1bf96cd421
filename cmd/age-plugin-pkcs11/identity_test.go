//go:build cgo

package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"strings"
	"testing"

	"filippo.io/age/plugin"
)

func TestIdentityText(t *testing.T) {
	for range 20 { // both signs of Y
		secret, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, prefix := range []string{"age1tag1", "age1tagpq1"} {
			i := &identity{public: secret.PublicKey()}
			if prefix == "age1tagpq1" {
				if err := i.addMLKEM(); err != nil {
					t.Fatal(err)
				}
			}
			name, data, err := plugin.ParseIdentity(i.String())
			if err != nil || name != "pkcs11" {
				t.Fatalf("%q, %v", name, err)
			}
			again, err := parseIdentity(data)
			if err != nil || !again.public.Equal(i.public) || string(again.seed) != string(i.seed) {
				t.Fatalf("it reads back as %v, %v", again, err)
			}
			r, err := again.recipient()
			if err != nil || !strings.HasPrefix(r.String(), prefix) {
				t.Errorf("the recipient is %v, %v", r, err)
			}
		}
	}
}

func TestIdentityRefused(t *testing.T) {
	secret, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := append([]byte{version}, compressed(secret.PublicKey())...)
	newer := append([]byte{version + 1}, good[1:]...)
	off := append([]byte{version, 2}, make([]byte, 32)...)
	off[33] = 7 // X with no point on the curve: X^3-3X+b is not a square
	for name, data := range map[string][]byte{
		"empty": nil, "short": good[:20], "a newer version": newer, "half a seed": append(good, make([]byte, 32)...),
		"a form of point that is not compressed": append([]byte{version, 4}, good[2:]...), "no point of the curve": off,
	} {
		if i, err := parseIdentity(data); err == nil {
			t.Errorf("%s is read as %v", name, i.public)
		}
	}
}
