package main

import "github.com/spf13/cobra"

// newBackup is the parent of the commands that make a backup from its source.
// What the source gives is sealed as it comes; seal does the same for any
// stream.
func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back up a database, contracts or uploads",
		Long: `Make a sealed backup from its source.

Every one of these commands prints the path of what it made, one line for each
backup. A source that fails or stops early leaves no backup: exit code 3.`,
		Example: "  takumi-backup backup database",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBackupDatabase(), newBackupUploads(), newBackupContracts(), newBackupAll())
	return cmd
}
