package main

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// aboutToTouch returns the paths that a command was given: of the backups that it
// opens or changes, or of the file that it is to write. The arguments of others
// are none, and may be secret.
func aboutToTouch(cmd *cobra.Command, operation string, args []string) []string {
	var paths []string
	switch first, _, _ := strings.Cut(operation, " "); first {
	case "open", "restore", "rewrap", "reencrypt", "replicate", "prune":
		if paths = args; len(paths) == 0 && first == "prune" {
			paths = []string{storeFolder()}
		}
	default:
		if out := flagText(cmd, "output"); out != "" {
			paths = []string{out}
		}
	}
	paths = slices.Clone(paths)
	for i := range paths {
		paths[i] = absolute(paths[i])
	}
	return paths
}

// absolute is a path as a record has it.
func absolute(path string) string {
	if path == "" || path == "-" || store.IsRemote(path) {
		return path
	}
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// auditDir returns the folder of the audit log.
func auditDir(cmd *cobra.Command) (string, error) {
	for _, dir := range []string{flagText(cmd, "audit-dir"), os.Getenv("TAKUMI_AUDIT_DIR")} {
		if dir != "" {
			return dir, nil
		}
	}
	root := os.Getenv("BACKUP_ROOT")
	if root == "" {
		root = defaultRoot
	}
	if info, err := os.Stat(root); err == nil && info.IsDir() {
		return filepath.Join(root, "audit"), nil
	}
	dir, err := history.Dir()
	if err != nil {
		return "", usageError{err}
	}
	return filepath.Join(dir, "audit"), nil
}

// auditArgs are the flags of auditing for a child, as this process had them.
func auditArgs(cmd *cobra.Command) []string {
	var args []string
	for _, name := range []string{"audit", "audit-dir"} {
		if f := cmd.Flag(name); f != nil && f.Changed {
			args = append(args, "--"+name+"="+f.Value.String())
		}
	}
	return args
}

// flagText returns the value of a flag, or "" when the command has none.
func flagText(cmd *cobra.Command, name string) string {
	if f := cmd.Flag(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// isDryRun tells whether the command was asked to change nothing.
func isDryRun(cmd *cobra.Command) bool {
	return flagText(cmd, "dry-run") == "true" || flagText(cmd, "apply") == "false"
}

// providers returns the key URIs that the command was given, or those that the
// environment names. What is no key URI may be a key, and is not repeated.
func providers(cmd *cobra.Command) []string {
	var keys keyFlags
	var sources []keystore.Source
	for _, name := range []string{"key", "from", "to"} {
		uris, err := cmd.Flags().GetStringArray(name)
		if err != nil {
			uris = []string{flagText(cmd, name)}
		}
		for _, uri := range uris {
			if s, err := keys.parseKey(uri); err == nil {
				sources = append(sources, s)
			}
		}
	}
	for _, name := range []string{"key", "from"} {
		if f := cmd.Flag(name); f != nil && !f.Changed {
			named, _ := keys.sources() // an error is the command's own to tell
			sources = append(sources, named...)
		}
	}
	var texts []string
	for _, s := range sources {
		if text := s.String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// userName is who runs the program.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}
