package config_test

import (
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

// TestVaultPath: VAULT_PATH names one place, however it is written.
func TestVaultPath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"secret/takumi/production":           "secret/takumi/production",
		"secret/data/takumi/production":      "secret/takumi/production",
		"secret/metadata/takumi/production":  "secret/takumi/production",
		"/v1/secret/data/takumi/production/": "secret/takumi/production",
		" secret/takumi/production \n":       "secret/takumi/production",
		"team/kv//data/takumi/production":    "team/kv//takumi/production",
		"team/kv//takumi/production":         "team/kv//takumi/production",
		"secret/takumi/data/production":      "secret/takumi/data/production",
		"secret/database/takumi":             "secret/database/takumi",
		"secret/data":                        "secret",
		"":                                   "",
	} {
		if got := config.VaultPath(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
