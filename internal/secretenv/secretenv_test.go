package secretenv_test

import (
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

func TestPlaceholder(t *testing.T) {
	for _, value := range []string{
		"changeme", "CHANGE_ME", "change-this-in-production", "ChangeMe123", "password", "Password1", "passw0rd"[:4] + "word", "secret", "postgres", "admin123",
		"your-password-here", "your_secure_password", "YOUR_DB_PASSWORD", "<password>", "${DB_PASSWORD}", "{{ password }}", "[redacted]", "xxxxxxxx", "000000000",
		"replace-with-a-random-value", "example", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "12345678", "abcdef", "qwerty", "aaaa",
		"https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "hunter2", "takumi", "insert your key", "test1234", "todo", "dont-use-in-production",
	} {
		if !secretenv.Placeholder(value) {
			t.Errorf("%q passed", value)
		}
	}
	for _, value := range []string{"", "t", "dv8#kQ", "sk-live-9f8a7b6c5d4e", "horse staple battery purple"} {
		if secretenv.Placeholder(value) {
			t.Errorf("%q is taken for a placeholder", value)
		}
	}
	source := rand.NewChaCha8([32]byte{}) // the same each time: some are like words by chance
	for range 10_000 {
		var random [24]byte
		source.Read(random[:])
		if value := base64.StdEncoding.EncodeToString(random[:]); secretenv.Placeholder(value) {
			t.Errorf("%q, which is random, is taken for a placeholder", value)
		}
	}
}

func TestEnviron(t *testing.T) {
	secrets := []string{"BACKUP_ENCRYPTION_KEY", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "VAULT_TOKEN", "VAULT_SECRET_ID", "SLACK_WEBHOOK_URL", "HEALTHCHECK_URL", "ALERT_SMTP_PASSWORD", "RPC_URL_MAINNET", "MY_KEY"}
	plain := []string{"PGPASSWORD", "PGHOST", "DB_HOST", "AWS_REGION", "VAULT_ADDR", "PATH"}
	for _, name := range slices.Concat(secrets, plain) {
		t.Setenv(name, "a value")
	}
	secretenv.Hide("MY_KEY")
	env := "\n" + strings.Join(secretenv.Environ(), "\n") // next to Vault there is a TEST_VAULT_TOKEN
	for _, name := range secrets {
		if strings.Contains(env, "\n"+name+"=") {
			t.Errorf("a child gets %s", name)
		}
	}
	for _, name := range plain {
		if !strings.Contains(env, "\n"+name+"=a value") {
			t.Errorf("a child lacks %s", name)
		}
	}
}
