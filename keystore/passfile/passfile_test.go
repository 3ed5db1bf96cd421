package passfile

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const passphrase = "battery staple correct horse"

func ask(answer string) Ask {
	return func(context.Context, string) ([]byte, error) { return []byte(answer), nil }
}

func TestRoundTrip(t *testing.T) {
	if writeWork != 18 {
		t.Errorf("new files cost 2^%d", writeWork)
	}
	defer func(usual int) { writeWork = usual }(writeWork)
	writeWork = 12 // the race detector makes scrypt ten times as slow
	key := kek.Generate()
	path := filepath.Join(t.TempDir(), "locked.age")
	text := append(hex.AppendEncode(nil, key.Bytes()), '\n')
	if err := WriteText(path, text, []byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	src, err := keystore.Parse("passfile:"+path, Scheme(ask(passphrase)))
	if err != nil {
		t.Fatal(err)
	}
	back, err := src.Load(t.Context())
	if err != nil || !bytes.Equal(back.Bytes(), key.Bytes()) {
		t.Fatalf("another key, or %v", err)
	}
	if err := keystore.CheckOutside(src, filepath.Dir(path)); !errors.Is(err, keystore.ErrRefused) {
		t.Errorf("beside the backups: %v", err)
	}
	if err := WriteText(path, text, []byte(passphrase)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwritten: %v", err)
	}
}

// locked makes a file as age would, with any content and work factor.
func locked(t *testing.T, content string, recipients ...age.Recipient) string {
	t.Helper()
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipients...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(content))
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func scrypt(t *testing.T, work int) age.Recipient {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(work)
	return r
}

// greedy raises the work factor that a file asks for, which is looked at before
// anything is authenticated.
func greedy(t *testing.T, text string) string {
	t.Helper()
	plain, err := io.ReadAll(armor.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile(`(?m)^(-> scrypt \S+) 10$`)
	if !header.Match(plain) {
		t.Fatal("no work factor of 10")
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	armored.Write(header.ReplaceAll(plain, fmt.Appendf(nil, "$1 %d", maxWork+1)))
	if err := armored.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRefused(t *testing.T) {
	key := kek.Generate()
	digits := hex.EncodeToString(key.Bytes())
	good := locked(t, digits+"\n", scrypt(t, 10))
	person, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, passphrase, want string }{
		"good":              {good, passphrase, ""},
		"blank lines first": {"\n" + good, passphrase, ""},
		"wrong passphrase":  {good, passphrase + "!", "wrong passphrase"},
		"no passphrase":     {good, "", "passphrase is empty"},
		"cut":               {good[:len(good)-60], passphrase, "does not unlock"},
		"extended":          {good + "x", passphrase, "does not unlock"},
		"for a person":      {locked(t, digits, person.Recipient()), passphrase, "wrong passphrase"},
		"asks for a lot":    {greedy(t, good), passphrase, "does not unlock"},
		"not a key":         {locked(t, "hello", scrypt(t, 10)), passphrase, "not a key"},
		"two keys":          {locked(t, digits+digits, scrypt(t, 10)), passphrase, "not a key"},
		"a key file":        {digits + "\n", passphrase, "does not begin with"},
		"empty":             {"", passphrase, "does not begin with"},
		"huge":              {good + strings.Repeat("\n", maxFile), passphrase, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := File{path, ask(tc.passphrase)}.Load(t.Context())
			if tc.want == "" {
				if err != nil || got.ID() != key.ID() {
					t.Fatalf("another key, or %v", err)
				}
				return
			}
			if !errors.Is(err, keystore.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), digits[:16]) || strings.Contains(err.Error(), "battery") {
				t.Errorf("a secret in the error: %v", err)
			}
		})
	}
}

func TestPassphrases(t *testing.T) {
	for _, bad := range []string{"", "short", " leading blank", "trailing blank ", "line break\n"} {
		path := filepath.Join(t.TempDir(), "f")
		if err := WriteText(path, []byte("secret"), []byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%q left a file", bad)
		}
	}
}

func TestNobodyToAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(locked(t, "x", scrypt(t, 10))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []File{{Path: path}, {path, func(context.Context, string) ([]byte, error) { return nil, errors.New("no terminal") }}} {
		if _, err := f.Load(t.Context()); !errors.Is(err, keystore.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (File{path, ask(passphrase)}).Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestForget: a program that runs on takes passphrases from the file, as it is each time,
// and asks nobody.
func TestForget(t *testing.T) {
	t.Parallel()
	if _, err := (&Passphrases{Forget: true}).Ask(t.Context(), "x"); !errors.Is(err, ErrForgets) {
		t.Errorf("without a file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "passphrase")
	p := &Passphrases{Forget: true, Path: path}
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Ask(t.Context(), "x"); err != nil || string(got) != want || len(p.known) != 0 {
			t.Errorf("%q, %v; %d are remembered", got, err, len(p.known))
		}
	}
}
