package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

const defaultRoot = "/var/backups/takumi"

// backupFolder returns where backups of a kind go: BACKUP_ROOT/KIND, or
// BACKUP_DIR, Takumi's old name for the folder of one kind.
func backupFolder(kind string) string {
	if root := os.Getenv("BACKUP_ROOT"); root != "" {
		return store.Join(root, kind)
	}
	if dir := os.Getenv("BACKUP_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(defaultRoot, kind)
}

// backupRoot returns the root of the store, and whether it is BACKUP_DIR, which is
// the folder of one kind itself.
func backupRoot() (root string, flat bool) {
	root = storeFolder()
	return root, os.Getenv("BACKUP_ROOT") == "" && os.Getenv("BACKUP_DIR") != ""
}

// alsoFolders returns the further stores that a backup goes to.
func alsoFolders() []string { return strings.Fields(os.Getenv("BACKUP_ALSO")) }

// storeFolder returns the folder that must not hold a key: all of BACKUP_ROOT.
func storeFolder() string {
	for _, name := range []string{"BACKUP_ROOT", "BACKUP_DIR"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	return defaultRoot
}

// encryptionEnabled reads BACKUP_ENCRYPTION_ENABLED.
func encryptionEnabled() (bool, error) { return boolSetting("BACKUP_ENCRYPTION_ENABLED", true) }

// boolSetting is the value of a variable, or def when it is not set.
func boolSetting(name string, def bool) (bool, error) {
	value := os.Getenv(name)
	if value == "" {
		return def, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, usagef("%s is %q, neither true nor false", name, value)
	}
	return on, nil
}

// warn prints words that do not stop the work.
func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: warning: %s\n", redact.Keys(fmt.Sprintf(format, args...)))
}

// warner is warn for the packages below.
func warner(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { warn(cmd, format, args...) }
}
