package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/named"
	"github.com/takumi-backup/takumi-backup/verify"
)

// backupArgs is the annotation of commands that take backups: how many of the first
// arguments are some, or -1 for all.
const backupArgs = "takes backups"

// takesBackups makes the first n arguments of a command, or all with -1, take the
// beginning of a backup's id where they take its path, and completes them.
func takesBackups(cmd *cobra.Command, n int) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[backupArgs] = strconv.Itoa(n)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return completeBackups(cmd, word)
	}
	return cmd
}

// findBackups puts the path of a backup in the place of each argument that is the
// beginning of its id. A file of that name is what is meant where there is one.
func findBackups(cmd *cobra.Command, args []string) error {
	n, err := strconv.Atoi(cmd.Annotations[backupArgs])
	if err != nil {
		return nil // it takes none
	}
	known := sync.OnceValue(rememberedIDs)
	for i, arg := range args {
		if n >= 0 && i >= n || !backup.IsIDPrefix(arg) {
			continue
		}
		if _, err := os.Lstat(arg); err == nil {
			continue
		}
		if args[i], err = backup.FindID(cmd.Context(), newPlace(), conf.StoreFolder(), arg, known()); err != nil {
			return err
		}
	}
	return nil
}

// rememberedIDs returns what verify knows of ids; where that cannot be had, nothing.
func rememberedIDs() func(store.Backup) string {
	dir, err := history.Dir()
	if err == nil {
		var m *verify.Memory
		if m, err = verify.OpenMemory(dir); err == nil {
			return m.ID
		}
	}
	return func(store.Backup) string { return "" }
}

// completionTime bounds how long a completion looks at the store, and completions how
// many backups it shows.
const (
	completionTime = time.Second
	completions    = 100
)

// completeBackups returns the ids of backups of a store of this host, newest first. It
// needs no key, and connects to nothing.
func completeBackups(cmd *cobra.Command, word string) ([]string, cobra.ShellCompDirective) {
	root := completionRoot(cmd)
	if word != "" && !backup.IsIDPrefix((word + "0000")[:max(4, len(word))]) || store.IsRemote(root) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	words := backup.Completions(ctx, newPlace(), root, word, completions)
	if words == nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return words, cobra.ShellCompDirectiveKeepOrder
}

func completionRoot(cmd *cobra.Command) string {
	_ = loadSettings(cmd, flagText(cmd, "config")) // without them, the store is the default one
	return conf.StoreFolder()
}

func completeStores(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	stores := append([]string{completionRoot(cmd)}, conf.Also()...)
	if conf.File != nil {
		for _, s := range conf.File.Stores {
			stores = append(stores, s.Path())
		}
	}
	return named.Beginning(stores, word), cobra.ShellCompDirectiveDefault
}

func completeKinds(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	kinds := []string{backup.KindDatabase, backup.KindContracts, backup.KindUploads, backup.KindIncrement, backup.KindStream, backup.KindManifest}
	return named.Beginning(kinds, word), cobra.ShellCompDirectiveNoFileComp
}

// completeDatabases returns those of the settings; no server is asked.
func completeDatabases(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	completionRoot(cmd)
	names := []string{conf.Get("DB_NAME")}
	if conf.File != nil {
		for _, d := range conf.File.Databases {
			names = append(append(names, d.Name), d.Names...)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" || strings.ContainsAny(name, "*?[") })
	return named.Beginning(names, word), cobra.ShellCompDirectiveNoFileComp
}

// completeKeys returns the places of the settings and of the history of keys, and the
// files that a URI may go on with. No key is read.
func completeKeys(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	completionRoot(cmd)
	var uris []string
	if dir, err := history.Dir(); err == nil {
		if past, err := history.Read(dir); err == nil {
			uris = past.Providers()
		}
	}
	words, whole := named.Completions(conf, uris, word)
	if whole {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	return words, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// flagWords are what flags of these names can be given.
var flagWords = map[string][]string{
	"audit": {"on", "off"}, "guard": {"on", "off"}, "prove": {"on", "off"}, "manifest": {"on", "checksums", "off"},
	"level": {"checksum", "auth", "content", "restore"}, "on-conflict": {"refuse", "rename"},
	"codec": {"zstd", "gzip", "none"}, "object-lock": {"governance", "compliance"}, "sse": {"AES256", "aws:kms"}, "tier": {"Standard", "Bulk", "Expedited"},
}

// flagValues complete the flags of these names.
var flagValues = map[string]cobra.CompletionFunc{
	"kind": completeKinds, "also": completeStores,
	"key": completeKeys, "from": completeKeys, "to": completeKeys,
	"database": completeDatabases, "into": completeDatabases, "from-database": completeDatabases,
}

// addCompletions completes the flags of all commands, and the stores that are arguments.
func addCompletions(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		complete, words := flagValues[f.Name], flagWords[f.Name]
		switch {
		case f.Name == "to" && cmd.HasParent() && cmd.Parent().Name() == "restore":
			complete = nil // a folder
		case f.Name == "level" && cmd.Flag("codec") != nil:
			words = []string{"fastest", "default", "better", "best"}
		}
		if words != nil {
			complete = cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
		}
		if complete != nil {
			if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
				panic(err) // the flag is one of this command
			}
		}
	})
	if strings.Contains(cmd.Use, "[ROOT]") && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = completeStores
	}
	for _, c := range cmd.Commands() {
		addCompletions(c)
	}
}
