package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// keyServices are a KMS and a transit engine that hand out tickets for what they were
// given, and take them back for the same context alone. keystore/awskms and
// keystore/vault have real ones in their tests.
type keyServices struct {
	mu       sync.Mutex
	held     map[string][2]string // by ticket: what is held, and for which context
	version  int                  // of the transit key
	mayNot   string               // an action that is denied
	requests []string
}

func (k *keyServices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var in map[string]any
	json.NewDecoder(r.Body).Decode(&in)
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.") + r.URL.Path
	k.requests = append(k.requests, action)
	ticket := func(held string, context any) string {
		t := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "ticket %d", len(k.held)))
		k.held[t] = [2]string{held, fmt.Sprint(context)}
		return t
	}
	redeem := func(t string, context any) (string, bool) {
		h, ok := k.held[t]
		return h[0], ok && h[1] == fmt.Sprint(context)
	}
	answer := map[string]any{}
	switch {
	case k.mayNot != "" && strings.Contains(action, k.mayNot):
		w.WriteHeader(http.StatusForbidden)
		answer["__type"], answer["errors"] = "AccessDeniedException", []string{"1 error occurred:\n\t* permission denied\n\n"}
	case action == "Encrypt/":
		answer["KeyId"] = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
		answer["CiphertextBlob"] = ticket(in["Plaintext"].(string), in["EncryptionContext"])
	case action == "Decrypt/":
		held, ok := redeem(in["CiphertextBlob"].(string), in["EncryptionContext"])
		if answer["Plaintext"] = held; !ok {
			w.WriteHeader(http.StatusBadRequest)
			answer["__type"] = "InvalidCiphertextException"
		}
	case action == "/v1/transit/encrypt/backup":
		answer["data"] = map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", k.version, ticket(in["plaintext"].(string), in["associated_data"]))}
	case action == "/v1/transit/decrypt/backup":
		_, t, _ := strings.Cut(strings.TrimPrefix(in["ciphertext"].(string), "vault:v"), ":")
		held, ok := redeem(t, in["associated_data"])
		if answer["data"] = map[string]any{"plaintext": held}; !ok {
			w.WriteHeader(http.StatusBadRequest)
			answer["errors"] = []string{"cipher: message authentication failed"}
		}
	default: // of the token: nobody knows
		w.WriteHeader(http.StatusNotFound)
	}
	json.NewEncoder(w).Encode(answer)
}

func (k *keyServices) deny(action string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mayNot = action
}

// TestServiceKeys seals for keys of KMS and of transit, opens, rewraps and lists with
// them, and finds neither credentials nor data keys in what is printed or written.
func TestServiceKeys(t *testing.T) {
	t.Parallel()
	k := &keyServices{held: map[string][2]string{}, version: 1}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	b := newSandbox(t)
	b.env = append(b.env, "BACKUP_ENCRYPTION_KEY_FILE=", "HOME="+b.dir, "GODEBUG=http2debug=2", "VAULT_LOG_LEVEL=trace",
		"VAULT_ADDR="+server.URL, "VAULT_TOKEN=hvs.canary-token", "AWS_ENDPOINT_URL_KMS="+server.URL, "AWS_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=canary-secret", "AWS_SESSION_TOKEN=canary-session")
	key := keyFile(t, mainKey)
	const kms, transit = "awskms:alias/backup", "transit:transit/backup"
	said := ""
	run := func(want int, args ...string) string {
		t.Helper()
		r := b.run(want, strings.NewReader("content"), args...)
		said += r.stdout.String() + r.stderr.String()
		return r.stdout.String() + r.stderr.String()
	}

	// A host that may encrypt alone seals for all three, and each opens.
	k.deny("ecrypt")
	run(exitOK, "seal", "-r", kms, "-r", transit, "--key", "file:"+key, "-o", "three.enc")
	if out := run(exitKey, "open", "--key", kms, "three.enc"); !strings.Contains(out, "allow kms:Decrypt on this key") {
		t.Errorf("a host that may not decrypt: %s", out)
	}
	if out := run(exitKey, "open", "--key", transit, "three.enc"); !strings.Contains(out, `path "transit/decrypt/backup"`) {
		t.Errorf("a host that may not decrypt: %s", out)
	}
	if out := run(exitKey, "key", "check", "--key", kms); !strings.Contains(out, "allow kms:Decrypt on this key") {
		t.Errorf("key check of a key that may not decrypt: %s", out)
	}
	k.deny("")
	if out := run(exitOK, "key", "check", "--key", kms, "--key", transit); !strings.Contains(out, "awskms arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab: good") || !strings.Contains(out, "transit transit/backup: good") {
		t.Errorf("key check: %s", out)
	}
	if out := run(exitOK, "key", "id", "--key", kms); !strings.HasPrefix(out, "arn:aws:kms:") {
		t.Errorf("key id: %s", out)
	}
	for _, uri := range []string{kms, transit, "file:" + key, "awskms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"} {
		if out := run(exitOK, "open", "--key", uri, "three.enc"); !strings.HasPrefix(out, "content") {
			t.Errorf("%s opens it to %q", uri, out)
		}
	}
	run(exitOK, "verify", "--key", transit, "three.enc")
	if out := run(exitOK, "inspect", "three.enc"); !strings.Contains(out, "transit transit/backup") || !strings.Contains(out, "awskms arn:aws:kms:eu-central-1:") {
		t.Errorf("inspect: %s", out)
	}
	run(exitUsage, "seal", "-r", "awskms:"+mainKey, "-o", "x.enc")
	run(exitUsage, "seal", "--key", "transit:backup", "-o", "x.enc")

	// rewrap follows a rotated key, and does nothing where there is nothing to do.
	slotOf := func() string {
		t.Helper()
		text, err := os.ReadFile(b.path("three.enc"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "slot transit transit/backup ")
		return rest[:len("vault:v1")]
	}
	run(exitOK, "rewrap", "--from", "file:"+key, "--to", transit, "--keep-old", "three.enc")
	if got := slotOf(); got != "vault:v1" {
		t.Errorf("before the rotation: %s", got)
	}
	k.mu.Lock()
	k.version = 2
	k.mu.Unlock()
	run(exitOK, "rewrap", "--from", "file:"+key, "--to", transit, "--keep-old", "three.enc")
	if got := slotOf(); got != "vault:v2" {
		t.Errorf("after the rotation: %s", got)
	}
	for _, uri := range []string{kms, transit, "file:" + key} {
		run(exitOK, "open", "--key", uri, "three.enc")
	}

	err := filepath.WalkDir(b.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var text []byte
			text, err = os.ReadFile(path)
			said += string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"canary-token", "canary-secret", "canary-session"}
	for _, h := range k.held {
		raw, err := base64.StdEncoding.DecodeString(h[0])
		if err != nil || len(raw) != 32 {
			t.Fatalf("a service was given %q", h[0])
		}
		secrets = append(secrets, h[0], string(raw), fmt.Sprintf("%x", raw))
	}
	for _, secret := range secrets {
		if strings.Contains(said, secret) {
			t.Errorf("%q was printed or written", secret)
		}
	}
}
