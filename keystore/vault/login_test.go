package vault

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// The policies of least privilege, as docs/KEYS.md shows them for the mount
// "secret" and the path "takumi/production/backup-encryption".
const (
	readerPolicy = `
path "%[1]s/data/%[2]s" { capabilities = ["read"] }
path "%[1]s/metadata/%[2]s" { capabilities = ["read"] }`

	rotatorPolicy = `
path "%[1]s/data/%[2]s" { capabilities = ["create", "read", "update"] }
path "%[1]s/metadata/%[2]s" { capabilities = ["read"] }
path "%[1]s/config" { capabilities = ["read"] }`

	// Enough to seal, and to open what the current key opens.
	currentPolicy = `
path "%[1]s/data/%[2]s" { capabilities = ["read"] }`
)

// grant makes a policy for a path and returns its name.
func (v *site) grant(t *testing.T, policy, path string) string {
	t.Helper()
	name := unique("policy")
	v.write(t, "sys/policies/acl/"+name, fmt.Sprintf(`{"policy":%q}`, fmt.Sprintf(policy, v.mount, path)))
	return name
}

// token makes a token with a policy.
func (v *site) token(t *testing.T, policy, ttl string) string {
	t.Helper()
	return v.write(t, "auth/token/create", fmt.Sprintf(`{"policies":[%q],"ttl":%q}`, policy, ttl)).Auth.ClientToken
}

func testPolicies(t *testing.T, v *site) {
	const path = "policies/key"
	data, metadata := v.mount+"/data/"+path, v.mount+"/metadata/"+path
	as := func(policy string) Secret {
		t.Setenv("VAULT_TOKEN", v.token(t, v.grant(t, policy, path), "1h"))
		s := source(t, v.mount+"/"+path)
		if _, err := s.conn.ready(t.Context()); err != nil { // with the token of now
			t.Fatal(err)
		}
		return s
	}
	rotator := as(rotatorPolicy)
	first := stores(t, rotator, "")
	second := stores(t, rotator, first.ID())
	loads(t, rotator, second)
	if got := names(t, rotator); got != "2* 1" {
		t.Errorf("versions %q", got)
	}

	reader := as(readerPolicy)
	loads(t, reader, second)
	loads(t, reader.at(1), first)
	if got := names(t, reader); got != "2* 1" {
		t.Errorf("versions %q", got)
	}
	refused(t, reader.Store(t.Context(), kek.Generate(), second.ID()), keystore.ErrRefused, "denies", `path "`+data+`" { capabilities = ["create", "update"] }`)

	current := as(currentPolicy)
	loads(t, current, second)
	_, err := current.Versions(t.Context())
	refused(t, err, keystore.ErrRefused, `path "`+metadata+`" { capabilities = ["read"] }`)
	refused(t, current.Store(t.Context(), kek.Generate(), second.ID()), keystore.ErrRefused, metadata)

	loadRefused(t, as(`path "%[1]s/data/elsewhere" { capabilities = ["read"] } # %[2]s`), keystore.ErrRefused, "denies", `path "`+data+`" { capabilities = ["read"] }`)
	t.Setenv("VAULT_TOKEN", "hvs.wrong")
	loadRefused(t, source(t, v.mount+"/"+path), keystore.ErrRefused, "does not know the token", "vault login")
	loads(t, rotator, second)
}

func testAppRole(t *testing.T, v *site) {
	const path = "approle/key"
	auth := unique("approle")
	v.write(t, "sys/auth/"+auth, `{"type":"approle"}`)
	t.Cleanup(func() { v.admin.Delete("sys/auth/" + auth) })
	v.write(t, "auth/"+auth+"/role/backup", fmt.Sprintf(`{"token_policies":%q,"token_ttl":"300s"}`, v.grant(t, rotatorPolicy, path)))
	roleID := v.read(t, "auth/"+auth+"/role/backup/role-id")["role_id"].(string)
	secretID := v.write(t, "auth/"+auth+"/role/backup/secret-id", `{}`).Data["secret_id"].(string)

	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("VAULT_APPROLE_MOUNT", auth)
	t.Setenv("VAULT_ROLE_ID", roleID)
	t.Setenv("VAULT_SECRET_ID_FILE", tokenFile(t, secretID+"\n", 0o440))
	s := source(t, v.mount+"/"+path)
	key := stores(t, s, "")
	loads(t, s, key)

	// While the lease lasts a 403 is a 403; afterwards there is a new login.
	v.write(t, "auth/token/revoke", fmt.Sprintf(`{"token":%q}`, s.conn.client.Token()))
	loadRefused(t, s, keystore.ErrRefused, "does not know the token")
	s.conn.now = func() time.Time { return time.Now().Add(301 * time.Second) }
	loads(t, s, key)

	t.Setenv("VAULT_SECRET_ID", "wrong")
	loadRefused(t, source(t, v.mount+"/"+path), keystore.ErrRefused, "login by AppRole failed", "VAULT_SECRET_ID")
	t.Setenv("VAULT_SECRET_ID", "")
	t.Setenv("VAULT_SECRET_ID_FILE", tokenFile(t, secretID, 0o644))
	loadRefused(t, source(t, v.mount+"/"+path), keystore.ErrRefused, "open to others")
	t.Setenv("VAULT_SECRET_ID_FILE", "")
	loadRefused(t, source(t, v.mount+"/"+path), keystore.ErrRefused, "no secret id")
}

func testRenewal(t *testing.T, v *site) {
	const path = "renewal/key"
	token := v.token(t, v.grant(t, rotatorPolicy, path), "1h")
	t.Setenv("VAULT_TOKEN", token)
	renewed := func() any {
		return v.write(t, "auth/token/lookup", fmt.Sprintf(`{"token":%q}`, token)).Data["last_renewal_time"]
	}

	s := source(t, v.mount+"/"+path)
	key := stores(t, s, "")
	loads(t, s, key)
	if got := renewed(); got != nil {
		t.Errorf("renewed at %v, with all of its time left", got)
	}
	s.conn.now = func() time.Time { return time.Now().Add(41 * time.Minute) }
	loads(t, s, key)
	if renewed() == nil {
		t.Error("not renewed, with less than a third of its time left")
	}
}

func testTokenFile(t *testing.T, v *site) {
	s := source(t, v.mount+"/tokenfile")
	key := stores(t, s, "")
	t.Setenv("VAULT_TOKEN", "")
	loadRefused(t, source(t, v.mount+"/tokenfile"), keystore.ErrRefused, "no credentials", "VAULT_ROLE_ID")
	path := filepath.Join(os.Getenv("HOME"), ".vault-token")
	if err := os.Rename(tokenFile(t, v.root+"\n", 0o600), path); err != nil {
		t.Fatal(err)
	}
	loads(t, source(t, v.mount+"/tokenfile"), key)
	// An agent puts a new token there before the old one ends.
	s = source(t, v.mount+"/tokenfile")
	old := v.token(t, "root", "1h")
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	loads(t, s, key)
	v.write(t, "auth/token/revoke", fmt.Sprintf(`{"token":%q}`, old))
	if err := os.WriteFile(path, []byte(v.root), 0o600); err != nil {
		t.Fatal(err)
	}
	loadRefused(t, s, keystore.ErrRefused, "does not know the token")
	s.conn.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	loads(t, s, key)

	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	loadRefused(t, source(t, v.mount+"/tokenfile"), keystore.ErrRefused, "open to others (mode 0640)", "chmod 600 ")
}
