package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

// settings are the variables that a config file may set: those that this
// program reads, and those of the libraries and programs that it uses.
var settings = struct{ names, prefixes []string }{
	[]string{
		"BACKUP_ENCRYPTION_KEY_FILE", "BACKUP_ENCRYPTION_KEY", "BACKUP_RECIPIENTS_FILE", "TAKUMI_SIGNERS", "TAKUMI_SIGN_KEY", "BACKUP_ENCRYPTION_ENABLED", "BACKUP_ROOT", "BACKUP_DIR", "BACKUP_ALSO", "CLOUD_BACKUP", "RETENTION_DAYS",
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

// defaultConfig is read when no other file is named; a variable for the tests.
var defaultConfig = "/etc/takumi-backup/backup.conf"

// rivals are settings of which one wins over, or goes against, the others: where the
// environment has one of them, the default file does not set another.
var rivals = [][]string{
	{"BACKUP_ENCRYPTION_KEY_FILE", "BACKUP_ENCRYPTION_KEY", "SECRETS_BACKEND"},
	{"BACKUP_ROOT", "BACKUP_DIR"},
	{"DB_NAME", "PGDATABASE", "PGSERVICE"}, {"DB_HOST", "PGHOST", "PGSERVICE"}, {"DB_PORT", "PGPORT", "PGSERVICE"},
	{"DB_USER", "PGUSER", "PGSERVICE"}, {"DB_PASSWORD", "PGPASSWORD", "PGSERVICE"},
	{"TAKUMI_ENV", "NODE_ENV"},
	{"SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL_FILE"}, {"HEALTHCHECK_URL", "HEALTHCHECK_URL_FILE"},
}

// inEnvironment tells whether the environment has a setting, or a rival of it.
func inEnvironment(name string) bool {
	has := func(name string) bool { _, found := os.LookupEnv(name); return found }
	return has(name) || slices.ContainsFunc(rivals, func(group []string) bool {
		return slices.Contains(group, name) && slices.ContainsFunc(group, has)
	})
}

// loadSettings puts the settings of the file that --config names, or of the default
// one, into the environment, for this process and its children.
func loadSettings(cmd *cobra.Command, path string) error {
	var variables []config.Variable
	var err error
	switch {
	case path == "none" || path == "" && needsNoSettings(cmd):
		return nil
	case path != "":
		variables, err = config.Read(path, isSetting, settings.names...)
	default:
		variables, err = config.Read(defaultConfig, isSetting, settings.names...)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
			warn(cmd, "%s is not read: permission denied; --config none says that it need not be", defaultConfig)
			return nil
		}
		variables = slices.DeleteFunc(variables, func(v config.Variable) bool { return inEnvironment(v.Name) })
	}
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

// needsNoSettings tells whether a command only speaks of the program.
func needsNoSettings(cmd *cobra.Command) bool {
	return cmd == cmd.Root() || cmd.Name() == "version" || cmd.Name() == "man" || cmd.Parent().Name() == "completion"
}
