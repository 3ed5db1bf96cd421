package main

import (
	"strings"
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
