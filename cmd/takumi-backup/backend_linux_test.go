package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestSecretsBackend: Takumi's variables lead to Takumi's secrets.
func TestSecretsBackend(t *testing.T) {
	vault, aws := keyServers(t, mainKey)
	for backend, want := range map[string]string{
		"vault":               "vault:secret/takumi/staging/backup-encryption: good, id ",
		"aws-secrets-manager": "awssm:takumi/staging/BACKUP_ENCRYPTION_KEY: good, id ",
	} {
		b := newSandbox(t)
		b.env = append(b.env, "BACKUP_ENCRYPTION_KEY_FILE=", "NODE_ENV=staging", "SECRETS_BACKEND="+backend,
			"VAULT_ADDR="+vault, "VAULT_TOKEN=t", "HOME="+b.dir,
			"AWS_ENDPOINT_URL="+aws, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
		out, err := b.program("key", "check").CombinedOutput()
		if err != nil || !strings.Contains(string(out), want+keyID(t, mainKey)) {
			t.Errorf("%s: %v: %s", backend, err, out)
		}
	}
}

// countedServer returns the address of a server that counts who reads a secret and passes on.
func countedServer(t *testing.T, server string) (string, *atomic.Int64) {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	pass := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/data/") { // before it come the questions where the secret is
			n.Add(1)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, &n
}

// TestKeysAreFetchedOnce: to find the latest backup and to restore it takes one look at the
// place of the key.
func TestKeysAreFetchedOnce(t *testing.T) {
	t.Parallel()
	vault, _ := keyServers(t, mainKey)
	vault, asked := countedServer(t, vault)
	b := newSandbox(t)
	b.env = append(b.env, "BACKUP_ENCRYPTION_KEY_FILE=", "VAULT_ADDR="+vault, "VAULT_TOKEN=t", "HOME="+b.dir)
	folder := filepath.Join(b.dir, "files")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "a"), []byte("content"))
	store := filepath.Join(b.dir, "store")
	b.env = append(b.env, "BACKUP_ROOT="+store)
	path := strings.TrimSpace(b.run(exitOK, nil, "backup", "uploads", folder, "--key", "vault:secret/backup").stdout.String())
	for _, args := range [][]string{
		{"restore", "uploads", "--latest", "--to", filepath.Join(b.dir, "planned"), "--dry-run"},
		{"restore", "uploads", "--latest", "--to", filepath.Join(b.dir, "restored")},
		{"open", path, "-o", filepath.Join(b.dir, "opened")},
	} {
		before := asked.Load()
		b.run(exitOK, nil, append(args, "--key", "vault:secret/backup")...)
		if n := asked.Load() - before; n != 1 {
			t.Errorf("%s: %d requests", args[:2], n)
		}
	}
}
