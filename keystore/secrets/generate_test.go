package secrets_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

func TestGenerateMakesTheHandbooksLengths(t *testing.T) {
	bytes := map[string]int{"jwt": 64, "api-key": 32, "password": 24, "webhook": 32, "hex": 32, "base64": 32, "ethereum": 32}
	seen := make(map[string]bool)
	for _, form := range secrets.Forms {
		for range 20 {
			v, err := secrets.Generate(form, 0)
			if err != nil {
				t.Fatal(err)
			}
			text, decode := v.Reveal(), hex.DecodeString
			switch form {
			case "ethereum":
				text = strings.TrimPrefix(text, "0x")
			case "jwt", "password", "base64":
				decode = base64.StdEncoding.DecodeString
			}
			raw, err := decode(text)
			if err != nil || len(raw) != bytes[form] || seen[text] {
				t.Errorf("%s has %d bytes, %v", form, len(raw), err)
			}
			seen[text] = true
		}
	}
	for form, size := range map[string]int{"jwt": 31, "api-key": 31, "password": 23, "hex": 16, "ethereum": 33, "none": 0, "base64": 2000} {
		if v, err := secrets.Generate(form, size); err == nil || v.IsSet() {
			t.Errorf("%s of %d bytes is made", form, size)
		}
	}
}

// The first account of Hardhat and Anvil, and the order of the curve.
func TestEthereumAddress(t *testing.T) {
	got, err := secrets.EthereumAddress(secrets.NewValue("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
	if err != nil || got != "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266" {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "0x00", strings.Repeat("0", 64), "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"} {
		if _, err := secrets.EthereumAddress(secrets.NewValue(bad)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

func TestCheckFindsWhatAComponentWouldDieOf(t *testing.T) {
	good := func(form string) string { v, _ := secrets.Generate(form, 0); return v.Reveal() }
	env := map[string]string{
		"DB_HOST": "db", "DB_PORT": "5432", "DB_NAME": "takumi", "DB_USER": "app", "DB_PASSWORD": good("password"),
		"DB_SSL": "true", "DB_SSL_REJECT_UNAUTHORIZED": "true", "JWT_SECRET": good("jwt"), "JWT_REFRESH_SECRET": good("jwt"),
	}
	run := func(change map[string]string) string {
		t.Helper()
		b := &fixed{map[string]string{}}
		for k, v := range env {
			b.fields[k] = v
		}
		for k, v := range change {
			b.fields[k] = v
		}
		other := secrets.NewManager(&fixed{map[string]string{"DB_PASSWORD": env["DB_PASSWORD"]}})
		o := secrets.CheckOptions{Environment: "production", Components: []string{"database", "jwt"}, Setting: func(string) string { return "" }}
		if change["against"] != "" {
			o.Others = map[string]*secrets.Manager{"staging": other}
		}
		problems, err := secrets.Check(t.Context(), secrets.NewManager(b), o)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, p := range problems {
			all = append(all, p.String())
		}
		return strings.Join(all, "; ")
	}
	for want, change := range map[string]map[string]string{
		"":                       {},
		"DB_PASSWORD is missing": {"DB_PASSWORD": ""},
		"DB_HOST is missing":     {"DB_HOST": ""},
		"DB_PORT is not a port":  {"DB_PORT": "70000"},
		"DB_SSL is false, which production refuses":                   {"DB_SSL": "false"},
		"DB_PASSWORD is an example or a common word":                  {"DB_PASSWORD": "your_secure_password_here"},
		"JWT_SECRET has 31 characters, and 32 are the fewest":         {"JWT_SECRET": good("jwt")[:31]},
		"JWT_SECRET has only 4 different characters":                  {"JWT_SECRET": strings.Repeat("a1b2", 10)},
		"JWT_REFRESH_SECRET is the same as JWT_SECRET":                {"JWT_REFRESH_SECRET": env["JWT_SECRET"]},
		"DB_PASSWORD is the same in staging":                          {"against": "staging"},
		"JWT_SECRET_PREVIOUS has 2 characters, and 32 are the fewest": {"JWT_SECRET_PREVIOUS": "ab"},
	} {
		if got := run(change); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

type fixed struct{ fields map[string]string }

func (f *fixed) String() string { return "fixed" }
func (f *fixed) Fetch(_ context.Context, names []string) (map[string]string, error) {
	found := make(map[string]string)
	for _, name := range names {
		if v := f.fields[name]; v != "" {
			found[name] = v
		}
	}
	return found, nil
}
