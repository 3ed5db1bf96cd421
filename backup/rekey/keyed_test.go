package rekey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	places "github.com/takumi-backup/takumi-backup/backup/store"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// oldKey is the old key, for who knows no envelopes.
func oldKey(t *testing.T) (cipher.Block, cipher.AEAD) {
	t.Helper()
	block, err := aes.NewCipher(key(t, "old").Bytes())
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return block, aead
}

// TestImportKeyed: AES-256-GCM with an IV of 12 bytes next to it, its tag at the end
// or in a file of its own, and CBC with one of 16, under one of several keys.
func TestImportKeyed(t *testing.T) {
	t.Parallel()
	block, aead := oldKey(t)
	iv12, iv16 := []byte("twelve bytes"), []byte("sixteen bytes iv")
	gcm := aead.Seal(nil, iv12, dump, nil)
	pad := aes.BlockSize - len(dump)%aes.BlockSize
	cbc := append(bytes.Clone(dump), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv16).CryptBlocks(cbc, cbc)
	flipped := bytes.Clone(gcm)
	flipped[len(dump)/2] ^= 1
	tagAt := len(gcm) - aead.Overhead()
	for name, tc := range map[string]struct {
		content, iv, tag []byte
		keys             []string
		want             error // nil for a file that is imported
	}{
		"GCM":                {gcm, iv12, nil, []string{"other", "old"}, nil},
		"GCM, IV in hex":     {gcm, []byte(hex.EncodeToString(iv12) + "\n"), nil, []string{"old"}, nil},
		"GCM, tag apart":     {gcm[:tagAt], iv12, gcm[tagAt:], []string{"old"}, nil},
		"GCM, a flipped bit": {flipped, iv12, nil, []string{"old"}, ErrKey},
		"GCM, cut":           {gcm[:len(gcm)-1], iv12, nil, []string{"old"}, ErrKey},
		"GCM, another IV":    {gcm, []byte("twelve-bytes"), nil, []string{"old"}, ErrKey},
		"GCM, another key":   {gcm, iv12, nil, []string{"other"}, ErrKey},
		"GCM, no key":        {gcm, iv12, nil, nil, ErrNoKey},
		"CBC":                {cbc, iv16, nil, []string{"other", "old"}, nil},
		"CBC, IV in hex":     {cbc, []byte(hex.EncodeToString(iv16)), nil, []string{"old"}, nil},
		"CBC, another key":   {cbc, iv16, nil, []string{"other"}, ErrKey},
		"CBC, cut":           {cbc[:len(cbc)-3], iv16, nil, []string{"old"}, errCut},
		"CBC, cut by blocks": {cbc[:len(cbc)-32], iv16, nil, []string{"old"}, errPadding},
		"an IV of 8":         {cbc, []byte("8 bytes."), nil, []string{"old"}, errIV},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x_20251125_020000.sql.enc")
		writeFile(t, path, tc.content)
		writeFile(t, path+IVSuffix, tc.iv)
		if tc.tag != nil {
			writeFile(t, path+tagSuffix, tc.tag)
		}
		o := importing(t)
		from := ring(t)
		for _, seed := range tc.keys {
			from = ring(t, append(from.Sources(), keySource{seed: seed})...)
		}
		o.From = from
		made, err := Import(t.Context(), path, o)
		if tc.want != nil {
			var damaged *LegacyDamageError
			if !errors.Is(err, tc.want) && !(errors.As(err, &damaged) && errors.Is(damaged.Reason, tc.want)) {
				t.Errorf("%s: error %v, want %v", name, err, tc.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := contentOf(t.Context(), made.Made, o)
		d := newDigest()
		d.Write(dump)
		if err != nil || got != d.sum() {
			t.Errorf("%s: another content was imported: %v", name, err)
		}
		if vouched := tc.want == nil && len(tc.iv) != 16 && len(tc.iv) != 32; vouched != (len(made.Warnings) == 0) {
			t.Errorf("%s: warnings %q", name, made.Warnings)
		}
		found, _, err := FindLegacy(t.Context(), o.Store, []string{dir})
		if err != nil || len(found) != 1 || found[0].Path != path {
			t.Errorf("%s: to be imported are %v, %v", name, found, err)
		}
	}
}

// TestImportFromURL: the IV and the tag are next to the object, also when the path names its
// server.
func TestImportFromURL(t *testing.T) {
	m := s3test.NewMemory()
	s3test.Serve(t, m)
	_, aead := oldKey(t)
	iv := []byte("twelve bytes")
	sealed := aead.Seal(nil, iv, dump, nil)
	tagAt := len(sealed) - aead.Overhead()
	for suffix, content := range map[string][]byte{"": sealed[:tagAt], IVSuffix: iv, tagSuffix: sealed[tagAt:]} {
		m.Put("bucket", "old/x_20251125_020000.data"+suffix, content)
	}
	const query = "?region=us-east-1"
	root, path := "s3://bucket/old"+query, "s3://bucket/old/x_20251125_020000.data"+query
	o := importing(t)
	o.From = ring(t, keySource{seed: "old"})
	var err error
	if o.Store, err = places.Open(root, places.S3Options{}); err != nil {
		t.Fatal(err)
	}
	found, _, err := FindLegacy(t.Context(), o.Store, []string{root})
	if err != nil || len(found) != 1 || found[0].Path != path || found[0].Err != nil {
		t.Errorf("to be imported are %+v, %v", found, err)
	}
	_, err = backup.Open(t.Context(), o.Store, path, backup.Options{Keys: o.ReadBack})
	if _, ok := errors.AsType[*backup.ForeignError](err); !ok {
		t.Errorf("it does not say that its IV is next to it: %v", err)
	}
	made, err := Import(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := contentOf(t.Context(), made.Made, o)
	d := newDigest()
	d.Write(dump)
	if err != nil || got != d.sum() {
		t.Errorf("another content was imported: %v", err)
	}
}
