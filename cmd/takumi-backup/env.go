package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

const systemRoot = "/var/backups/takumi"

// defaultRoot is the store where no setting names one: /var/backups/takumi for root and
// who may write there, and for other users takumi-backup in $XDG_DATA_HOME, else in
// ~/.local/share. A service without HOME has the former.
func defaultRoot() string {
	home, err := os.UserHomeDir()
	if os.Geteuid() == 0 || err != nil || unix.Access(systemRoot, unix.W_OK) == nil {
		return systemRoot
	}
	data := conf.Get("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "takumi-backup")
}

// checkCopies refuses CLOUD_BACKUP=true where a backup, which is to be put into root,
// would have no copy elsewhere.
func checkCopies(root string, also []string) error {
	text := conf.Get("CLOUD_BACKUP")
	if text == "" {
		return nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return usagef("CLOUD_BACKUP is %q, neither true nor false", text)
	}
	if on && len(also) == 0 && !store.IsRemote(root) {
		return usagef("CLOUD_BACKUP is true, and there is no place to copy to: set BACKUP_ALSO=s3://BUCKET/PREFIX, or give --also")
	}
	return nil
}

// backupFolder returns where backups of a kind go: BACKUP_ROOT/KIND, or
// BACKUP_DIR, Takumi's old name for the folder of one kind.
func backupFolder(kind string) string {
	if root := conf.Get("BACKUP_ROOT"); root != "" {
		return store.Join(root, kind)
	}
	if dir := conf.Get("BACKUP_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(defaultRoot(), kind)
}

// backupRoot returns the root of the store, and whether it is BACKUP_DIR, which is
// the folder of one kind itself.
func backupRoot() (root string, flat bool) {
	root = storeFolder()
	return root, conf.Get("BACKUP_ROOT") == "" && conf.Get("BACKUP_DIR") != ""
}

// alsoFolders returns the further stores that a backup goes to.
func alsoFolders() []string { return config.List(conf.Get("BACKUP_ALSO")) }

// storeFolder returns the folder that must not hold a key: all of BACKUP_ROOT.
func storeFolder() string {
	for _, name := range []string{"BACKUP_ROOT", "BACKUP_DIR"} {
		if dir := conf.Get(name); dir != "" {
			return dir
		}
	}
	return defaultRoot()
}

// encryptionEnabled reads BACKUP_ENCRYPTION_ENABLED.
func encryptionEnabled() (bool, error) { return boolSetting("BACKUP_ENCRYPTION_ENABLED", true) }

// boolSetting is the value of a variable, or def when it is not set.
func boolSetting(name string, def bool) (bool, error) { return boolIn(conf, name, def) }

func boolIn(s *config.Settings, name string, def bool) (bool, error) {
	value := s.Get(name)
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
