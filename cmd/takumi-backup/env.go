package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const defaultRoot = "/var/backups/takumi"

// backupFolder returns where backups of a kind go: BACKUP_ROOT/KIND, or
// BACKUP_DIR, Takumi's old name for the folder of one kind.
func backupFolder(kind string) string {
	if root := os.Getenv("BACKUP_ROOT"); root != "" {
		return filepath.Join(root, kind)
	}
	if dir := os.Getenv("BACKUP_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(defaultRoot, kind)
}

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
func encryptionEnabled() (bool, error) {
	value := os.Getenv("BACKUP_ENCRYPTION_ENABLED")
	if value == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, usagef("BACKUP_ENCRYPTION_ENABLED is %q, neither true nor false", value)
	}
	return on, nil
}

// keyFlags are the keys that a command is given.
type keyFlags struct{ uris []string }

func (k *keyFlags) add(cmd *cobra.Command, use string) {
	cmd.Flags().StringArrayVar(&k.uris, "key", nil, use+", as file:PATH; may be repeated (default $BACKUP_ENCRYPTION_KEY_FILE)")
}

// sources returns the places of the keys; a flag wins over the environment.
func (k *keyFlags) sources() ([]keystore.Source, error) {
	if path := os.Getenv("BACKUP_ENCRYPTION_KEY_FILE"); path != "" && len(k.uris) == 0 {
		return []keystore.Source{keystore.File{Path: path}}, nil
	}
	var sources []keystore.Source
	for _, uri := range k.uris {
		s, err := keystore.Parse(uri)
		if err != nil {
			return nil, usagef("--key: %w", err)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// required fetches every key, and fails when there is none, or one is missing.
func (k *keyFlags) required(ctx context.Context) ([]keystore.Source, []*kek.Key, error) {
	sources, err := k.sources()
	if err != nil {
		return nil, nil, err
	}
	if len(sources) == 0 {
		return nil, nil, errNoKey
	}
	var keys []*kek.Key
	for _, s := range sources {
		key, err := s.Load(ctx)
		if err != nil {
			wipe(keys)
			return nil, nil, fmt.Errorf("loading the key: %w", err)
		}
		keys = append(keys, key)
	}
	return sources, keys, nil
}

func wipe(keys []*kek.Key) {
	for _, k := range keys {
		k.Wipe()
	}
}

// warn prints words that do not stop the work.
func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: warning: "+format+"\n", args...)
}
