package keystore_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// canary is a key that no message may contain in any form.
const canaryHex = "a1f6e3d0c92b7f4488d1530e6ab7c4f95d2e9a01b8c3764f1e0dd7a2935b8c6e"

var canary, _ = hex.DecodeString(canaryHex)

// quiet fails the test when err tells anything of the canary.
func quiet(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := strings.ToLower(err.Error())
	forms := []string{strings.ToLower(string(canary)), strings.ToLower(base64.StdEncoding.EncodeToString(canary)[:16])}
	for i := 0; i+12 <= len(canaryHex); i++ {
		forms = append(forms, canaryHex[i:i+12])
	}
	for _, form := range forms {
		if strings.Contains(text, form) {
			t.Fatalf("the error contains key material: %q", err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, uri := range []string{
		"file:/etc/takumi-backup/backup.key", "file:backup.key", "file:./a:b", "file:///etc/backup.key", "file:/etc/schlüssel 1.key",
	} {
		src, err := keystore.Parse(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if src.String() != uri {
			t.Errorf("%s: String is %s", uri, src)
		}
		if f, ok := src.(keystore.File); !ok || "file:"+f.Path != uri {
			t.Errorf("%s: parsed to %#v", uri, src)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ uri, want string }{
		"empty":           {"", "want file:PATH"},
		"no scheme":       {"/etc/backup.key", "want file:PATH"},
		"other scheme":    {"vault:secret/takumi#key", "want file:PATH"},
		"upper case":      {"FILE:/etc/backup.key", "want file:PATH"},
		"no path":         {"file:", "nothing is after"},
		"no colon":        {"file", "nothing is after"},
		"host":            {"file://etc/backup.key", "has no host"},
		"key":             {canaryHex, "looks like a key itself"},
		"key and newline": {canaryHex + "\n", "looks like a key itself"},
		"upper-case key":  {strings.ToUpper(canaryHex), "looks like a key itself"},
		"base64 key":      {base64.StdEncoding.EncodeToString(canary), "looks like a key itself"},
		"base64url key":   {base64.URLEncoding.EncodeToString(canary), "looks like a key itself"},
		"key as path":     {"file:" + canaryHex, "looks like a key itself"},
		"key as scheme":   {canaryHex + ":x", "want file:PATH"},
		"cut-off key":     {canaryHex[:60], "want file:PATH"},
	} {
		src, err := keystore.Parse(tc.uri)
		if src != nil || !errors.Is(err, keystore.ErrURI) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, %v; want an error with %q", name, src, err, tc.want)
		}
		quiet(t, err)
		if len(tc.uri) > len("file:") && strings.Contains(err.Error(), tc.uri) {
			t.Errorf("%s: the error repeats the URI: %v", name, err)
		}
	}
}

// TestEnv: the key is in the variable, and what this program runs does not get it.
func TestEnv(t *testing.T) {
	t.Setenv("CANARY", canaryHex)
	if key, err := (keystore.Env{Name: "CANARY"}).Load(t.Context()); err != nil || !bytes.Equal(key.Bytes(), canary) {
		t.Error(err)
	}
	if env := secretenv.Environ(); slices.Contains(env, "CANARY="+canaryHex) {
		t.Error("a child would have the key")
	}
	if _, err := (keystore.Env{Name: "NO_CANARY"}).Load(t.Context()); !errors.Is(err, keystore.ErrNotFound) {
		t.Error(err)
	}
}

// What is not the whole argument may be a key as well: with its end missing,
// or as part of a path.
func TestStringHidesKeys(t *testing.T) {
	for _, path := range []string{
		canaryHex, canaryHex[:50], "/etc/" + canaryHex, "/etc/" + canaryHex + "/backup.key", base64.StdEncoding.EncodeToString(canary),
	} {
		f := keystore.File{Path: path}
		quiet(t, errors.New(f.String()))
		_, err := f.Load(t.Context())
		var e *keystore.Error
		if !errors.As(err, &e) {
			t.Errorf("%T, want *Error: %v", err, err)
		}
		quiet(t, err)
	}
	quiet(t, keystore.WriteFile("/no/such/folder/"+canaryHex, kek.Generate()))
	if err := keystore.WriteFile(canaryHex, kek.Generate()); err == nil {
		t.Error("a key was written to a file named like a key")
	}
	if s := (keystore.File{Path: "/etc/\x1b[2Jkey"}).String(); s != `file:"/etc/\x1b[2Jkey"` {
		t.Errorf("String lets a terminal sequence through: %q", s)
	}
}
