package vault

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func TestTLS(t *testing.T) {
	f, key := wire(t)
	secure := httptest.NewUnstartedServer(f)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that we break off
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	production := func() Secret { return sourceWith(t, Options{RequireTLS: true}, "secret/key") }

	t.Setenv("VAULT_ADDR", secure.URL)
	loadRefused(t, production(), keystore.ErrRefused, "cannot be trusted", "VAULT_CACERT")
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	loads(t, source(t, "secret/key"), key)
	loadRefused(t, production(), keystore.ErrRefused, "VAULT_SKIP_VERIFY")
	t.Setenv("VAULT_SKIP_VERIFY", "")
	t.Setenv("VAULT_CACERT", ca)
	loads(t, production(), key)
	t.Setenv("VAULT_TLS_SERVER_NAME", "example.org") // httptest's certificate is for example.com
	loadRefused(t, production(), keystore.ErrRefused, "cannot be trusted", "VAULT_TLS_SERVER_NAME")
	t.Setenv("VAULT_TLS_SERVER_NAME", "")
	t.Setenv("VAULT_ADDR", strings.Replace(f.URL, "http:", "https:", 1))
	loadRefused(t, production(), keystore.ErrRefused, "does not speak TLS")
	t.Setenv("VAULT_CACERT", filepath.Join(t.TempDir(), "none"))
	loadRefused(t, production(), keystore.ErrRefused, "settings", "none")
}

// In production nothing goes out over plain http, but to this machine.
func TestPlain(t *testing.T) {
	_, key := wire(t)
	loads(t, sourceWith(t, Options{RequireTLS: true}, "secret/key"), key)

	proxy := newFake(t)
	t.Setenv("VAULT_PROXY_ADDR", proxy.URL)
	loads(t, sourceWith(t, Options{RequireTLS: true}, "secret/key"), key) // not by the proxy
	t.Setenv("VAULT_ADDR", "http://vault.example.org:8200")
	s := sourceWith(t, Options{RequireTLS: true}, "secret/key")
	loadRefused(t, s, keystore.ErrRefused, "plain http", "https URL")
	refused(t, s.Store(t.Context(), key, ""), keystore.ErrRefused, "plain http")
	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("VAULT_ROLE_ID", "r")
	t.Setenv("VAULT_SECRET_ID", "s")
	loadRefused(t, sourceWith(t, Options{RequireTLS: true}, "secret/key"), keystore.ErrRefused, "plain http")
	if n := proxy.counted(""); n != 0 {
		t.Errorf("%d requests left", n)
	}
	t.Setenv("VAULT_ADDR", "http://vault.example.org:8200")
	t.Setenv("VAULT_TOKEN", "root")
	if loadErr := func() error { _, err := source(t, "secret/key").Load(t.Context()); return err }(); proxy.counted("") == 0 {
		t.Errorf("without RequireTLS the proxy was not asked: %v", loadErr)
	}
}

func TestAddress(t *testing.T) {
	wire(t)
	for addr, word := range map[string]string{
		"":                            "VAULT_ADDR is not set",
		"127.0.0.1:8200":              "not the URL",
		"vault.example.org":           "not the URL",
		"ftp://vault.example.org":     "not the URL",
		"https://":                    "not the URL",
		"https://u:hunter2@exa mple/": "not the URL",
	} {
		t.Setenv("VAULT_ADDR", addr)
		_, err := source(t, "secret/key").Load(t.Context())
		refused(t, err, keystore.ErrRefused, word, "export VAULT_ADDR=https://")
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %q holds a password", err)
		}
	}
	t.Setenv("VAULT_ADDR", "https://127.0.0.1:1")
	for _, token := range []string{"two\nlines", " "} {
		t.Setenv("VAULT_TOKEN", token)
		loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, "VAULT_TOKEN", "not a token")
	}
}
