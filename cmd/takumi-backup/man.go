package main

import (
	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/manpage"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages to a folder",
		Example: "  takumi-backup man /usr/local/share/man/man1",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return manpage.Write(cmd.Root(), args[0]) },
	}
}
