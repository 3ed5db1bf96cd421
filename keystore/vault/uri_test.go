package vault

import (
	"errors"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func TestURI(t *testing.T) {
	for uri, want := range map[string]Secret{
		"vault:secret/a":                {mount: "secret", path: "a", field: "key"},
		"vault:secret/a/b/c#key":        {mount: "secret", path: "a/b/c", field: "key"},
		"vault:secret/a#other field@12": {mount: "secret", path: "a", field: "other field", version: 12},
		"vault:secret/a@2147483647":     {mount: "secret", path: "a", field: "key", version: 2147483647},
		"vault:team/kv//a/b#f":          {mount: "team/kv", path: "a/b", field: "f"},
		"vault:secret//a":               {mount: "secret", path: "a", field: "key"},
		"vault:secret/a:b%2f?c=d":       {mount: "secret", path: "a:b%2f?c=d", field: "key"},
	} {
		src, err := keystore.Parse(uri, Scheme(Options{}))
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		got := src.(Secret)
		if got.conn == nil {
			t.Errorf("%s has no connection", uri)
		}
		got.conn = nil
		if got != want {
			t.Errorf("%s is %+v, want %+v", uri, got, want)
		}
		again, err := keystore.Parse(src.String(), Scheme(Options{}))
		if err != nil || again.String() != src.String() {
			t.Errorf("%s reads as %v, %v", src, again, err)
		}
	}
}

func TestURIRefused(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 4)
	base64 := strings.Repeat("abcdefghij0", 4)[:43] + "="
	for uri, word := range map[string]string{
		"vault:":                          "nothing is after",
		"vault:secret":                    "none of them empty",
		"vault:/secret/a":                 "none of them empty",
		"vault:secret/":                   "none of them empty",
		"vault:secret/a/":                 "none of them empty",
		"vault:a//b//c":                   "none of them empty",
		"vault:secret/a///b":              "none of them empty",
		"vault:secret/../sys/seal":        "none of them empty",
		"vault:secret/./a":                "none of them empty",
		"vault:#key@1":                    "none of them empty",
		"vault:secret/a#":                 "one field",
		"vault:secret/a#b#c":              "one field",
		"vault:secret/a@":                 "positive number",
		"vault:secret/a@0":                "positive number",
		"vault:secret/a@-1":               "positive number",
		"vault:secret/a@01":               "positive number",
		"vault:secret/a@2147483648":       "positive number",
		"vault:secret/a@3#key":            "nothing follows it",
		"vault:secret/me@example.org":     "positive number",
		"vault:secret/a\n":                "printed",
		"vault:secret/\x1b[2J":            "printed",
		"vault:secret/\xff":               "printed",
		"vault:secret/a#" + digits:        "looks like a key",
		"vault:secret/" + digits[:50]:     "looks like a key",
		"vault:secret/a#" + base64:        "looks like a key",
		"vault:secret/a#key@" + digits:    "looks like a key",
		"vault:secret/a#key@7" + "\u2028": "printed",
	} {
		src, err := keystore.Parse(uri, Scheme(Options{}))
		if src != nil || !errors.Is(err, keystore.ErrURI) || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: got %v, %v; want an error with %q", uri, src, err, word)
		}
		if rest := strings.TrimPrefix(uri, "vault:"); len(rest) > 8 && strings.Contains(err.Error(), rest) {
			t.Errorf("%q is repeated in %q", uri, err)
		}
	}
}

func TestDestroyCommand(t *testing.T) {
	for uri, want := range map[string]string{
		"vault:secret/a":           "",
		"vault:secret/a/b#key@3":   "vault kv destroy -mount=secret -versions=3 a/b",
		"vault:team/kv//it's#f@12": `vault kv destroy -mount=team/kv -versions=12 'it'\''s'`,
	} {
		src, err := keystore.Parse(uri, Scheme(Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := src.(keystore.Destroyable).DestroyCommand("0123456789abcdef"); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}
