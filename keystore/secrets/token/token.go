// Package token makes the API keys that a service gives to its users, and verifies
// them against hashes:
//
//	t, err := token.New(token.Argon2id)            // t.Key is shown once, t.Prefix and t.Hash are stored
//	row, found := lookup(token.Prefix(presented))  // one row by its prefix, and not all of them
//	if !found {
//		token.VerifyNone(presented)            // as slow as the next line
//		return refused
//	}
//	ok, rehash := token.Verify(presented, row.Hash)
//
// The commands here make and hash keys; Prefix, Verify and VerifyNone are for services.
//
// A key is tk_PREFIX_SECRET: 8 hex digits to look it up by, and 32 random bytes in hex.
// Because the secret is random, the hash's cost is against what is shorter, and against
// mistakes; it is the handbook's bcrypt of cost 12, or Argon2id with OWASP's parameters.
//
// Sources: RFC 9106 (Argon2), the PHC string format, OWASP Password Storage Cheat Sheet.
package token

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// Algorithms.
const (
	Argon2id = "argon2id"
	Bcrypt   = "bcrypt"
)

// The parameters of new hashes.
const (
	memory     = 19 << 10 // KiB
	passes     = 2
	lanes      = 1
	saltSize   = 16
	hashSize   = 32
	bcryptCost = 12
)

// What a stored hash may ask for: one that somebody has put there must not cost the
// service its memory or its time.
const (
	mostMemory = 256 << 10
	mostPasses = 16
	mostLanes  = 16
	mostCost   = 15
)

// Token is a new API key.
type Token struct {
	Key    secrets.Value // for its user, once
	Prefix string        // to look it up by; not secret
	Hash   string        // to be stored
}

// New makes a key, from crypto/rand, and its hash. The error is of class fail.Usage.
func New(algorithm string) (*Token, error) {
	material := make([]byte, 4+32)
	rand.Read(material) // never fails: crypto/rand stops the program instead
	defer clear(material)
	prefix, secret := hex.EncodeToString(material[:4]), hex.EncodeToString(material[4:])
	hash, err := hashOf(secret, algorithm)
	return &Token{secrets.NewValue("tk_" + prefix + "_" + secret), prefix, hash}, err
}

// Hash hashes a key that exists, as for a table of the handbook's, or anew where Verify
// says so.
func Hash(key, algorithm string) (string, error) { return hashOf(secretOf(key), algorithm) }

func hashOf(secret, algorithm string) (string, error) {
	switch algorithm {
	case Argon2id:
		salt := make([]byte, saltSize)
		rand.Read(salt)
		sum := argon2.IDKey([]byte(secret), salt, passes, memory, lanes, hashSize)
		b64 := base64.RawStdEncoding.EncodeToString
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes, b64(salt), b64(sum)), nil
	case Bcrypt:
		hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcryptCost)
		if errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return "", fail.Usagef("bcrypt takes keys of at most 72 bytes; argon2id takes any")
		}
		return string(hash), err
	}
	return "", fail.Usagef("%q is not an algorithm: argon2id and bcrypt are", algorithm)
}

var form = regexp.MustCompile(`^tk_([0-9a-f]{8})_([0-9a-f]{64})$`)

// Prefix is what a presented key is looked up by; "" for one that has none.
func Prefix(key string) string {
	if m := form.FindStringSubmatch(key); m != nil {
		return m[1]
	}
	return ""
}

// secretOf is what is hashed: all of a key that is not of this package.
func secretOf(key string) string {
	if m := form.FindStringSubmatch(key); m != nil {
		return m[2]
	}
	return key
}

// Verify reports whether a presented key is the one of a stored hash, and whether it
// should be hashed anew because the parameters have become stronger since. What differs
// is not found by time. A hash that is none, or asks for too much, accepts nothing.
func Verify(key, hash string) (ok, rehash bool) {
	if strings.HasPrefix(hash, "$argon2id$") {
		return verifyArgon2(secretOf(key), hash)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > mostCost || bcrypt.CompareHashAndPassword([]byte(hash), []byte(secretOf(key))) != nil {
		return false, false
	}
	return true, cost < bcryptCost
}

var phc = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$`)

func verifyArgon2(secret, hash string) (ok, rehash bool) {
	m := phc.FindStringSubmatch(hash)
	if m == nil {
		return false, false
	}
	n := func(i int) (v uint32) { fmt.Sscan(m[i], &v); return v }
	mem, time, threads := n(1), n(2), n(3)
	salt, err := base64.RawStdEncoding.DecodeString(m[4])
	want, wantErr := base64.RawStdEncoding.DecodeString(m[5])
	if err != nil || wantErr != nil || mem > mostMemory || mem < 8*threads || time < 1 || time > mostPasses || threads < 1 || threads > mostLanes {
		return false, false
	}
	got := argon2.IDKey([]byte(secret), salt, time, mem, uint8(threads), uint32(len(want)))
	ok = subtle.ConstantTimeCompare(got, want) == 1
	return ok, ok && (mem < memory || time < passes || len(want) < hashSize)
}

// VerifyNone does the work that Verify does for a hash by Argon2id, and accepts nothing: for
// a prefix that is in no row, so that nobody learns by time which there are.
func VerifyNone(key string) {
	argon2.IDKey([]byte(secretOf(key)), make([]byte, saltSize), passes, memory, lanes, hashSize)
}
