package vault

import (
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestPlace: the same place has one name, and no two places share one.
func TestPlace(t *testing.T) {
	place := func(addr, namespace, rest string) string {
		t.Helper()
		(&site{addr: addr}).environment(t, "root")
		t.Setenv("VAULT_NAMESPACE", namespace)
		got, err := source(t, rest).Place(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	const addr, rest = "https://vault.example:8200", "secret/takumi/key"
	want := place(addr, "", rest)
	if want != "https://vault.example:8200/v1/secret/data/takumi/key#key" {
		t.Errorf("got %s", want)
	}
	for _, same := range [][3]string{
		{addr + "/", "", rest}, {"https://VAULT.example:8200", "/", rest}, {"https://user:password@vault.example:8200?token=secret", "", rest},
		{addr, "", "secret//takumi/key#key"}, {addr, "", rest + "@3"},
	} {
		if got := place(same[0], same[1], same[2]); got != want {
			t.Errorf("%q: got %s, want %s", same, got, want)
		}
	}
	seen := map[string]bool{want: true}
	for _, other := range [][3]string{
		{"https://other.example:8200", "", rest}, {"https://vault.example:8201", "", rest}, {addr + "/proxied", "", rest}, {"unix:///run/vault.sock", "", rest},
		{addr, "team", rest}, {addr, "team/a", rest}, {addr, "team?a", rest}, {addr, "", rest + "#other"}, {addr, "", "secret/takumi/other"},
	} {
		got := place(other[0], other[1], other[2])
		if seen[got] {
			t.Errorf("%q: %s is another place", other, got)
		}
		seen[got] = true
	}
	// With the namespace in the path, as Vault takes it too.
	if a, b := place(addr, "team/a", rest), place(addr, "", "team/a/secret//takumi/key"); a != b {
		t.Errorf("%s and %s are one place", a, b)
	}
	t.Setenv("VAULT_ADDR", "")
	_, err := source(t, rest).Place(t.Context())
	refused(t, err, keystore.ErrRefused, "VAULT_ADDR is not set", "vault:"+rest)
}
