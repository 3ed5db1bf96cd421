package token_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/token"
)

func TestTokensAreVerifiedByTheirHash(t *testing.T) {
	for _, algorithm := range []string{token.Argon2id, token.Bcrypt} {
		a, err := token.New(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		b := &token.Token{Key: secrets.NewValue("tk_00000000_" + strings.Repeat("0", 64))}
		if token.Prefix(a.Key.Reveal()) != a.Prefix || a.Prefix == b.Prefix || strings.Contains(a.Hash, a.Key.Reveal()[12:]) {
			t.Errorf("%s: %+v", algorithm, a)
		}
		keys := map[string]bool{a.Key.Reveal(): true}
		if algorithm == token.Argon2id { // bcrypt takes its time
			keys[b.Key.Reveal()], keys[""], keys[a.Key.Reveal()+"0"], keys[strings.ToUpper(a.Key.Reveal())] = false, false, false, false
		}
		for key, want := range keys {
			if ok, rehash := token.Verify(key, a.Hash); ok != want || rehash {
				t.Errorf("%s: got %v, %v", algorithm, ok, rehash)
			}
		}
		if strings.Contains(fmt.Sprintf("%+v", *a), a.Key.Reveal()) {
			t.Error("a token prints its key")
		}
	}
	if _, err := token.New("md5"); err == nil {
		t.Error("md5 is an algorithm")
	}
}

// TestNoRowCostsWhatOneDoes: by the memory of Argon2id, which is the measure of its work.
func TestNoRowCostsWhatOneDoes(t *testing.T) {
	a, err := token.New(token.Argon2id)
	if err != nil {
		t.Fatal(err)
	}
	cost := func(work func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		work()
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) >> 20
	}
	row := cost(func() { token.Verify(a.Key.Reveal(), a.Hash) })
	if none := cost(func() { token.VerifyNone(a.Key.Reveal()) }); none != row || none == 0 {
		t.Errorf("%d MiB with a row, %d without", row, none)
	}
}

// Hashes of other programs: Argon2's own command line and Node's bcrypt.
func TestForeignHashes(t *testing.T) {
	for _, c := range []struct {
		key, hash  string
		ok, rehash bool
	}{
		{"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", true, false}, // argon2's test.c
		{"differentpassword", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", false, false},
		{"password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", true, true}, // argon2's test.c
		{"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", true, true},                              // crypt_blowfish
	} {
		if ok, rehash := token.Verify(c.key, c.hash); ok != c.ok || rehash != c.rehash {
			t.Errorf("%s: %v, %v", c.hash, ok, rehash)
		}
	}
}

// What is in the table must not cost the service its memory.
func TestHostileHashesAcceptNothing(t *testing.T) {
	for _, hash := range []string{
		"", "$", "$argon2id$", "plain", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=256,t=900,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=0,t=1,p=0$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65", "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
	} {
		if ok, rehash := token.Verify("password", hash); ok || rehash {
			t.Errorf("%q is accepted", hash)
		}
	}
}
