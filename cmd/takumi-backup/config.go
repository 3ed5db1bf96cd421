package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/verify/doctor"
	"github.com/takumi-backup/takumi-backup/verify/setup"
)

// conf are the settings of this run: the environment's, until loadSettings has added
// those of a file.
var conf = config.Environment(os.Environ())

// loadSettings reads the file that --config names, or the default one. What it says is
// put into the environment too, for libpq, the SDKs of AWS and Vault, and children.
func loadSettings(cmd *cobra.Command, path string) error {
	if path == "none" || path == "" && needsNoSettings(cmd) {
		conf = config.Environment(os.Environ())
		return nil
	}
	if err := harden.BecomeOwner(cmp.Or(path, config.Default(os.Environ()))); err != nil {
		return err
	}
	loaded, err := config.Load(path, os.Environ())
	switch {
	case errors.Is(err, config.ErrUnread):
		warn(cmd, "%v, so that it is not read; --config none says that it need not be", err)
	case errors.As(err, new(*config.SyntaxError)) || errors.Is(err, config.ErrOpen):
		return usagef("--config: %w", err)
	case err != nil:
		return fmt.Errorf("reading the settings: %w", err)
	}
	conf = loaded
	for _, v := range conf.Environ() {
		if err := os.Setenv(v.Name, v.Value); err != nil {
			return fmt.Errorf("setting %s: %w", v.Name, err)
		}
	}
	return nil
}

// forRoot says with an error of the system that it was not root who met it.
func forRoot(err error) error { return harden.ForRoot(os.Getenv(harden.RunsFor) != "", err) }

// needsNoSettings says whether a command only speaks of the program, or reads the
// file itself, as completion does when it knows the command line.
func needsNoSettings(cmd *cobra.Command) bool {
	return cmd == cmd.Root() || cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == "version" || cmd.Name() == "man" || cmd.Parent().Name() == "completion" ||
		cmd.Parent().Name() == "config" && cmd.Name() != "show"
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show and migrate the settings",
		Long: `The settings are those of the environment and of a file: of the one that --config
names, or of /etc/takumi-backup/backup.toml, else of /etc/takumi-backup/backup.conf,
if there is one; for people of ~/.config/takumi-backup/backup.toml, which init writes,
before these. A flag wins over the environment, and the environment over the file;
but a file of NAME=VALUE lines that --config names wins over the environment. A variable
without a value is not set.

A backup.toml lists several databases, folders, stores and so on, and backup all works
through the list. Where the environment names one, as by DB_NAME, only that one is
meant. Commands for one database read what the list says of it when DB_NAME names it,
or when it is the only one. Secrets are not in the file: fields that end in _file name
the files that hold them.`,
		Example: "  takumi-backup config validate /etc/takumi-backup/backup.toml\n  takumi-backup config show",
		Args:    usageArgs(noCommand),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigValidate(), newConfigShow(), newConfigMigrate(), newConfigSchema())
	return cmd
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of backup.toml, for editors",
		Example: "  takumi-backup config schema > backup.schema.json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := config.Schema()
			if err == nil {
				_, err = cmd.OutOrStdout().Write(text)
			}
			return stdoutError(err)
		},
	}
}

func newConfigValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Find what cannot be right in a file of settings",
		Long: `Read FILE, or the default one, and check every setting in it as the commands do that
use it. Nothing is connected to. The exit code is 64 when something cannot be right.`,
		Example: "  takumi-backup config validate\n  takumi-backup config validate ./backup.toml",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := flagText(cmd, "config")
			if len(args) > 0 {
				path = args[0]
			}
			if path == "" {
				path = config.Default(os.Environ())
			}
			if path == "" {
				return usagef("there is no %s: name the file", strings.Join(config.Places, " and no "))
			}
			if err := loadSettings(cmd, path); err != nil {
				return err
			}
			if err := doctor.CheckSettings(cmd.Context(), conf); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			count := func(kind string) int { return len(conf.Targets(kind)) }
			return printf(cmd, "%s is right: databases: %d, uploads: %d, contracts: %d\n", path, count("database"), count("uploads"), count("contracts"))
		},
	}
}

func newConfigShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the settings that count, and where each is from",
		Long: `Print each setting that is set, its value and where it is from, and what backup all
would back up. Secrets are not printed.`,
		Example: "  takumi-backup config show\n  takumi-backup config show --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range conf.Shown() {
				var err error
				if asJSON {
					err = writeJSON(cmd.OutOrStdout(), s)
				} else {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s=%s  (%s)\n", s.Name, printable(s.Value), s.Source)
				}
				if err != nil {
					return stdoutError(err)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per setting and line")
	return cmd
}

func newConfigMigrate() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "migrate [flags] [FILE]",
		Short: "Make a backup.toml of a file of NAME=VALUE lines",
		Long: `Print the backup.toml that says what FILE says, by default
/etc/takumi-backup/backup.conf. With -o it is written to a file, and each secret of FILE
to a file of its own in the same folder, which the backup.toml names. FILE stays as it
is; while both are in /etc/takumi-backup, backup.toml is the one that counts.`,
		Example: "  takumi-backup config migrate\n  takumi-backup config migrate -o /etc/takumi-backup/backup.toml",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := config.Places[len(config.Places)-1]
			if len(args) > 0 {
				path = args[0]
			}
			text, err := setup.Migrate(path, out, cmd.ErrOrStderr())
			if err == nil && out == "" {
				err = printf(cmd, "%s", text)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this file")
	return cmd
}
