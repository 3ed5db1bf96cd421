package config

import (
	"slices"
	"strings"
)

// Names are the settings that have a name of their own: the variables that this
// program reads, and some of the libraries in it.
var Names = []string{
	"BACKUP_ENCRYPTION_KEY_FILE", "BACKUP_ENCRYPTION_KEY", "BACKUP_KEYS", "BACKUP_RECIPIENTS_FILE", "BACKUP_RECIPIENTS", "TAKUMI_SIGNERS", "TAKUMI_SIGN_KEY",
	"BACKUP_ENCRYPTION_ENABLED", "BACKUP_ROOT", "BACKUP_DIR", "BACKUP_ALSO", "CLOUD_BACKUP", "RETENTION_DAYS",
	"DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "DB_PASSWORD_FILE", "DB_SSL", "DB_SSL_REJECT_UNAUTHORIZED", "CONTRACTS_DIR", "NETWORK", "CHAIN_ID",
	"SECRETS_BACKEND", "NODE_ENV", "TAKUMI_ENV", "TAKUMI_PASSPHRASE_FILE", "TAKUMI_AUDIT_DIR", "TAKUMI_AUDIT_KEY", "TAKUMI_AUDIT_SYSLOG", "XDG_STATE_HOME",
	"SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL_FILE", "HEALTHCHECK_URL", "HEALTHCHECK_URL_FILE",
	"TAKUMI_MAX_AGE", "TAKUMI_BANDWIDTH", "TAKUMI_NICE", "TAKUMI_IONICE",
}

var prefixes = []string{"PG", "RPC_URL_", "UPLOADS_", "AWS_", "TAKUMI_S3_", "VAULT_", "ALERT_"}

// Known says whether a variable is a setting.
func Known(name string) bool {
	return slices.Contains(Names, name) ||
		slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) && name != p })
}

// rivals are settings of which one wins over, or goes against, the others: where the
// environment has one of them, a file does not set another.
var rivals = [][]string{
	{"BACKUP_ENCRYPTION_KEY_FILE", "BACKUP_ENCRYPTION_KEY", "BACKUP_KEYS", "SECRETS_BACKEND"},
	{"BACKUP_RECIPIENTS_FILE", "BACKUP_RECIPIENTS"},
	{"BACKUP_ROOT", "BACKUP_DIR"},
	{"DB_NAME", "PGDATABASE", "PGSERVICE"}, {"DB_HOST", "PGHOST", "PGSERVICE"}, {"DB_PORT", "PGPORT", "PGSERVICE"},
	{"DB_USER", "PGUSER", "PGSERVICE"}, {"DB_PASSWORD", "DB_PASSWORD_FILE", "PGPASSWORD", "PGSERVICE"},
	{"TAKUMI_ENV", "NODE_ENV"},
	{"SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL_FILE"}, {"HEALTHCHECK_URL", "HEALTHCHECK_URL_FILE"},
	{"ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_URL_FILE"}, {"ALERT_SMTP_PASSWORD", "ALERT_SMTP_PASSWORD_FILE"},
}

// Misspelt returns the variables of an environment that look like settings of this
// program and are none, each with the name that was meant.
func Misspelt(environ []string) map[string]string {
	found := make(map[string]string)
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		ours := strings.HasPrefix(name, "BACKUP_") || strings.HasPrefix(name, "TAKUMI_") || strings.HasPrefix(name, "RETENTION_") || strings.HasPrefix(name, "CONTRACTS_")
		if !ours || Known(name) {
			continue
		}
		if near := Nearest(name, Names); near != "" {
			found[name] = near
		}
	}
	return found
}
