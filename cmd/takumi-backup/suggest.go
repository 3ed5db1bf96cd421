package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

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
