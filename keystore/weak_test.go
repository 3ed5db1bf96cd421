package keystore_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestWeakKeys: what no random generator made is refused wherever it is kept.
func TestWeakKeys(t *testing.T) {
	rows := func(f func(i int) byte) string {
		var b [kek.Size]byte
		for i := range b {
			b[i] = f(i)
		}
		return hex.EncodeToString(b[:])
	}
	text := func(s string) string { return hex.EncodeToString([]byte(s)) }
	for name, digits := range map[string]string{
		"FIPS 197":                rows(func(i int) byte { return byte(i) }),
		"counting down":           rows(func(i int) byte { return byte(31 - i) }),
		"counting by twos":        rows(func(i int) byte { return byte(2 * i) }),
		"from 0x80, RFC 8439":     rows(func(i int) byte { return byte(0x80 + i) }),
		"numbers of 32 bits":      "0000000100000002000000030000000400000005000000060000000700000008",
		"the same, little endian": "0100000002000000030000000400000005000000060000000700000008000000",
		"decimal counting":        "0102030405060708091011121314151617181920212223242526272829303132",
		"deadbeef":                strings.Repeat("deadbeef", 8),
		"GCM test case 13":        strings.Repeat("feffe9928665731c6d6a8f9467308308", 2),
		"three bytes repeated":    strings.Repeat("a1f6e3", 11)[:64],
		"0123456789abcdef":        strings.Repeat("0123456789abcdef", 4),
		"mirrored":                "a1f6e3d0c92b7f4488d1530e6ab7c4f9f9c4b76a0e53d188447f2bc9d0e3f6a1",
		"text":                    text("correct horse battery staple 123"),
		"text and zeros":          text("my very secret key") + strings.Repeat("00", 14),
		"a password and zeros":    text("hunter2!") + strings.Repeat("00", 24),
		"digits":                  "3141592653589793238462643383279502884197169399375105820974944592",
		"letters":                 "deadbeefcafebabefeedfacebaddcafeabadbabedeadc0deaccededecafbeada"[:52] + "ceeffeedaaab",
		"one bit":                 "8000000000000000000000000000000000000000000000000000000000000001",
		"SP 800-38A":              "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
		"CAVS":                    "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
		"RFC 3686":                "776BEFF2851DB06F4C8A0542C8696F6C6A81AF1EEC96B4D37FC1D689E6C1C104",
		"Hardhat account 0":       "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
		"Hardhat account 19":      "df57089febbacf7ba0bc227dafbffa9fc08a93fdc68e1e42411a14efcf23656e",
		"Ganache account 9":       "b0057716d5917badaf911b193b12b910811c1497b5bada8d7711f758981c3773",
		"Truffle account 0":       "c87509a1c067bbde78beb793e6fa76530b6382a4c0241e5e4a9ec0a0f44dc0d3",
		"SHA-256 of 123456":       "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92",
		"SHA-256 of test, echoed": "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2",
		"SHA-256 of Password1":    "19513fdc9da4fb72a4a05eb66917548d3c90ff94d5419e1f2363eea89dfee1dd",
		"SHA-256 of nothing":      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"SHA-256 of password":     "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
	} {
		digits = strings.Replace(digits, "c0de", "cade", 1)
		if len(digits) != 64 {
			t.Fatalf("%s has %d digits", name, len(digits))
		}
		_, err := keystore.ParseText([]byte(digits))
		if !errors.Is(err, keystore.ErrWeak) {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), digits[:8]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
	for _, size := range []int{1, 2, 4, 8} {
		var up [kek.Size]byte
		for i, n := 0, uint64(0xa1f6e3d0c92b7f44); i < kek.Size; i, n = i+size, n+0x13578642fedcba97 {
			copy(up[i:i+size], binary.BigEndian.AppendUint64(nil, n)[8-size:])
		}
		down := bytes.Clone(up[:])
		slices.Reverse(down)
		for _, key := range [][]byte{up[:], down} {
			if _, err := keystore.FromBytes(key); err == nil || !strings.Contains(err.Error(), "it counts") {
				t.Errorf("words of %d bytes that count, %x: %v", size, key, err)
			}
		}
	}
	for different, weak := range map[int]bool{12: true, 13: false} {
		key := bytes.Clone(canary)
		for i := different; i < kek.Size; i++ {
			key[i] = canary[i*i%different]
		}
		if _, err := keystore.FromBytes(key); errors.Is(err, keystore.ErrWeak) != weak {
			t.Errorf("%x: %v", key, err)
		}
	}
	for range 1000 {
		if _, err := keystore.FromBytes(kek.Generate().Bytes()); err != nil {
			t.Fatalf("a random key is refused: %v", err)
		}
	}
}

// TestWeakEverywhere: by every way that a key comes in.
func TestWeakEverywhere(t *testing.T) {
	weak := strings.Repeat("deadbeef", 8)
	t.Setenv("WEAK_KEY", weak)
	for _, src := range []keystore.Source{keystore.File{Path: put(t, t.TempDir(), "key", weak, 0o600)}, keystore.Env{Name: "WEAK_KEY"}} {
		if _, err := src.Load(t.Context()); !errors.Is(err, keystore.ErrWeak) || !errors.Is(err, keystore.ErrRefused) {
			t.Errorf("%v: %v", src, err)
		}
	}
	if _, err := keystore.Import("-", []byte("0x"+weak)); !errors.Is(err, keystore.ErrWeak) {
		t.Errorf("imported: %v", err)
	}
}
