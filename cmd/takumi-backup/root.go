package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/manpage"
)

// version is set by a release build (-ldflags "-X main.version=…").
var version = ""

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "takumi-backup",
		Short: "Seal backups with AES-256-GCM before they leave the host, and open them again",
		Long: `takumi-backup seals backups with AES-256-GCM before they leave the host.

A backup either exists whole, under its final name, with its .sha256 sidecar,
or it does not exist. No plaintext and no key touches a disk you did not name.

` + exitCodesHelp,
		Example: `  takumi-backup key generate -o /etc/takumi-backup/backup.key
  export BACKUP_ENCRYPTION_KEY_FILE=/etc/takumi-backup/backup.key
  pg_dump takumi | takumi-backup seal
  takumi-backup list --latest`,
		Args: usageArgs(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked, _ := cmd.Flags().GetBool("version"); asked {
				return printVersion(cmd)
			}
			return cmd.Help()
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	// Not by cobra's own --version, whose template would keep every method of the
	// program in the binary.
	root.Flags().BoolP("version", "v", false, "version for takumi-backup")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(suggestFlag(cmd, err)) })
	addAuditFlags(root)
	var config string
	root.PersistentFlags().StringVar(&config, "config", "", "read settings from this file, a .toml or NAME=VALUE lines; none: from no file (default /etc/takumi-backup/backup.toml or backup.conf; see config --help)")
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if err := loadSettings(cmd, config); err != nil {
			return err
		}
		warnMisspelt(cmd)
		if err := conf.CheckEnvironment(); err != nil {
			return err
		}
		return findBackups(cmd, args)
	}
	root.AddCommand(newSeal(), takesBackups(newOpen(), 1), takesBackups(newInspect(), -1), takesBackups(newLs(), 1), newFind(), takesBackups(newDiff(), 2), newList(), newPrune(), newReplicate(), newUndelete(), takesBackups(newRestoreObject(), -1), takesBackups(newVerify(), -1), takesBackups(newSign(), -1), newBackup(), newRestore(), newDrill(), takesBackups(newRewrap(), -1), takesBackups(newReencrypt(), -1), newKey(), newAudit(), newInit(), newInstallTimers(), newConfig(), newStatus(), newServe(), newDoctor(), newVersion(), newMan())
	addCompletions(root)
	inOrder(root)
	manpage.AddHelp(root)
	return root
}

// inOrder has help show the flags of all commands in the order of their registration.
func inOrder(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	for _, c := range cmd.Commands() {
		inOrder(c)
	}
}

// usageArgs makes the complaints of cobra's checks of arguments and of flags
// that exclude each other usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(suggestCommand(cmd, args, err))
		}
		if err := cmd.ValidateFlagGroups(); err != nil {
			return usage(err)
		}
		return nil
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version and how the program was built",
		Example: "  takumi-backup version",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return printVersion(cmd) },
	}
}

func printVersion(cmd *cobra.Command) error {
	return printf(cmd, "%v\n", buildInfo())
}

func programVersion() string {
	version, _, _ := strings.Cut(buildInfo(), ",")
	return version
}

func buildInfo() string {
	v, revision := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		dirty := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = " commit " + s.Value
			case "vcs.modified":
				if s.Value == "true" {
					dirty = " (modified)"
				}
			}
		}
		if revision != "" {
			revision += dirty
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return fmt.Sprintf("takumi-backup %s%s, format version 1, %s %s/%s", v, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages to a folder",
		Example: "  takumi-backup man /usr/local/share/man/man1",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return manpage.Write(cmd.Root(), args[0]) },
	}
}

// suggest adds the word that was meant to an error, if there is one like it.
func suggest(err error, prefix, word string, candidates []string) error {
	if near := config.Nearest(word, candidates); near != "" {
		return fmt.Errorf("%w: did you mean %s%s?", err, prefix, near)
	}
	return err
}

func suggestCommand(cmd *cobra.Command, args []string, err error) error {
	if !cmd.HasSubCommands() || len(args) == 0 {
		return err
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return suggest(err, "", args[0], names)
}

func suggestFlag(cmd *cobra.Command, err error) error {
	word, found := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !found {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return suggest(err, "--", word, names)
}

func warnMisspelt(cmd *cobra.Command) {
	misspelt := config.Misspelt(os.Environ())
	for _, name := range sortedKeys(misspelt) {
		warn(cmd, "%s is set, and is not a setting: did you mean %s?", printable(name), misspelt[name])
	}
}
