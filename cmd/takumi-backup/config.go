package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

// settings are the variables that a config file may set: those that this
// program reads, and those of the libraries and programs that it uses.
var settings = struct{ names, prefixes []string }{
	[]string{
		"BACKUP_ENCRYPTION_KEY_FILE", "BACKUP_ENCRYPTION_KEY", "BACKUP_RECIPIENTS_FILE", "TAKUMI_SIGNERS", "BACKUP_ENCRYPTION_ENABLED", "BACKUP_ROOT", "BACKUP_DIR", "BACKUP_ALSO", "CLOUD_BACKUP", "RETENTION_DAYS",
		"DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "DB_SSL", "DB_SSL_REJECT_UNAUTHORIZED", "CONTRACTS_DIR", "NETWORK", "CHAIN_ID",
		"SECRETS_BACKEND", "NODE_ENV", "TAKUMI_ENV", "TAKUMI_PASSPHRASE_FILE", "TAKUMI_AUDIT_DIR", "TAKUMI_AUDIT_KEY", "TAKUMI_AUDIT_SYSLOG", "XDG_STATE_HOME",
		"SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL_FILE", "HEALTHCHECK_URL", "HEALTHCHECK_URL_FILE",
	},
	[]string{"PG", "RPC_URL_", "UPLOADS_", "AWS_", "TAKUMI_S3_", "VAULT_", "ALERT_"},
}

func isSetting(name string) bool {
	return slices.Contains(settings.names, name) ||
		slices.ContainsFunc(settings.prefixes, func(p string) bool { return strings.HasPrefix(name, p) && name != p })
}

// loadConfig puts the settings of a file into the environment, for this process
// and its children.
func loadConfig(path string) error {
	variables, err := config.Read(path, isSetting)
	if errors.As(err, new(*config.SyntaxError)) || errors.Is(err, config.ErrOpen) {
		return usagef("--config: %w", err)
	}
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	for _, v := range variables {
		if err := os.Setenv(v.Name, v.Value); err != nil {
			return fmt.Errorf("setting %s: %w", v.Name, err)
		}
	}
	return nil
}
