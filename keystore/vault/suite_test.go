package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestVault runs one suite against our own server, and unchanged against the
// Vault that TEST_VAULT_ADDR names.
func TestVault(t *testing.T) {
	t.Run("our own server", func(t *testing.T) {
		suite(t, newFake(t).URL, "root")
	})
	t.Run("the server at TEST_VAULT_ADDR", func(t *testing.T) {
		addr, root := os.Getenv("TEST_VAULT_ADDR"), os.Getenv("TEST_VAULT_TOKEN")
		switch {
		case addr == "" && os.Getenv("TAKUMI_TEST_LONG") != "" && os.Getenv("TAKUMI_TEST_INTEGRATION") == "1":
			t.Fatal("no real Vault: `scripts/vault-dev run COMMAND` builds one and runs COMMAND beside it, as scripts/test --long does")
		case addr == "":
			t.Skip("only our own server was used; `scripts/vault-dev run go test ./keystore/vault/` uses a real one")
		case root == "":
			root = "root"
		}
		suite(t, addr, root)
	})
}

func suite(t *testing.T, addr, root string) {
	v := newSite(t, addr, root)
	for name, test := range map[string]func(*testing.T, *site){
		"store and load":            testStoreAndLoad,
		"rotation":                  testRotation,
		"conflicts":                 testConflicts,
		"a race":                    testRace,
		"deleted and destroyed":     testGone,
		"fields":                    testFields,
		"odd names":                 testOddNames,
		"absent":                    testAbsent,
		"version 1":                 testVersion1,
		"a mount with a slash":      testSlashedMount,
		"policies":                  testPolicies,
		"too few versions":          testWindow,
		"versions of other fields":  testWindowOfOtherFields,
		"mount with few versions":   testMountWindow,
		"deleted after some time":   testDeleteAfter,
		"AppRole":                   testAppRole,
		"renewal of a static token": testRenewal,
		"token file":                testTokenFile,
		"transit":                   testTransit,
		"transit, rotated":          testTransitRotated,
		"transit, refused":          testTransitRefused,
		"transit, least privilege":  testTransitPolicies,
	} {
		t.Run(name, func(t *testing.T) {
			v.environment(t, v.root)
			test(t, v)
		})
	}
}

// site is a Vault with a mount of ours, as its administrator sees it.
type site struct {
	addr, root string
	mount      string // KV v2
	admin      *api.Logical
}

func newSite(t *testing.T, addr, root string) *site {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address = addr
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(root)
	v := &site{addr: addr, root: root, admin: client.Logical(), mount: unique("kv")}
	v.enable(t, v.mount, "2")
	return v
}

func unique(prefix string) string {
	var b [6]byte
	rand.Read(b[:])
	return "takumi-test-" + prefix + "-" + hex.EncodeToString(b[:])
}

// enable mounts a KV engine and waits for it: a real Vault converts even a new
// one to version 2 first.
func (v *site) enable(t *testing.T, mount, version string) {
	t.Helper()
	v.write(t, "sys/mounts/"+mount, `{"type":"kv","options":{"version":"`+version+`"}}`)
	t.Cleanup(func() { v.admin.Delete("sys/mounts/" + mount) })
	for deadline := time.Now().Add(20 * time.Second); version == "2"; time.Sleep(20 * time.Millisecond) {
		_, err := v.admin.Read(mount + "/config")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// write sends a JSON object as the administrator.
func (v *site) write(t *testing.T, path, object string) *api.Secret {
	t.Helper()
	var data map[string]any
	in := json.NewDecoder(strings.NewReader(object))
	in.UseNumber() // as a float a large one would change
	if err := in.Decode(&data); err != nil {
		t.Fatal(err)
	}
	secret, err := v.admin.WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func (v *site) read(t *testing.T, path string) map[string]any {
	t.Helper()
	secret, err := v.admin.ReadWithContext(t.Context(), path)
	if err != nil || secret == nil {
		t.Fatalf("read %s: %v, %v", path, secret, err)
	}
	return secret.Data
}

// put writes a version of a secret, as the administrator.
func (v *site) put(t *testing.T, path, fields string) {
	t.Helper()
	v.write(t, v.mount+"/data/"+path, `{"data":`+fields+`}`)
}

// environment sets what the package reads, with nothing left of the caller's.
func (v *site) environment(t *testing.T, token string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "VAULT_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("VAULT_ADDR", v.addr)
	t.Setenv("VAULT_TOKEN", token)
}

// source parses what is after "vault:", with a connection of its own that
// does not wait long between tries.
func source(t *testing.T, rest string) Secret {
	t.Helper()
	return sourceWith(t, Options{}, rest)
}

func sourceWith(t *testing.T, opts Options, rest string) Secret {
	t.Helper()
	s, err := parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	s.conn = newConnection(opts)
	s.conn.pause, s.conn.longer = time.Millisecond, time.Millisecond
	return s
}

// stores puts a new key and returns it.
func stores(t *testing.T, s Secret, before kek.ID) *kek.Key {
	t.Helper()
	key := kek.Generate()
	if err := s.Store(t.Context(), key, before); err != nil {
		t.Fatal(err)
	}
	return key
}

func loads(t *testing.T, s keystore.Source, want *kek.Key) {
	t.Helper()
	got, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != want.ID() {
		t.Fatalf("%s holds key %s, want %s", s, got.ID(), want.ID())
	}
}

// refused checks an error's kind and words, and that it gives nothing away.
func refused(t *testing.T, err error, kind error, words ...string) {
	t.Helper()
	var e *keystore.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v; want an *Error of kind %q", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	if !strings.HasPrefix(e.URI, "vault:") && !strings.HasPrefix(e.URI, "transit:") || strings.HasPrefix(e.URI, "vault:/") {
		t.Errorf("error names %q, not the key's URI", e.URI)
	}
	if redact.HasKey(err.Error()) || strings.Contains(err.Error(), "hvs.") {
		t.Errorf("error %q holds a key or a token", err)
	}
}

func loadRefused(t *testing.T, s keystore.Source, kind error, words ...string) {
	t.Helper()
	key, err := s.Load(t.Context())
	if key != nil {
		t.Error("a key came with the error")
	}
	refused(t, err, kind, words...)
}

// names returns the names of the versions, the current one with a star.
func names(t *testing.T, s Secret) string {
	t.Helper()
	all, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range all {
		if v.Current {
			v.Name += "*"
		}
		if v.Gone != nil {
			v.Name += " gone"
			refused(t, v.Gone, keystore.ErrNotFound, "was deleted", "vault kv undelete -mount="+s.mount+" -versions=")
		}
		if age := time.Since(v.Created); age < -time.Minute || age > time.Hour {
			t.Errorf("version %s was created at %v", v.Name, v.Created)
		}
		out = append(out, v.Name)
	}
	return strings.Join(out, " ")
}

func hexOf(key *kek.Key) string { return hex.EncodeToString(key.Bytes()) }

func tokenFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
