package main

import "github.com/spf13/cobra"

func newRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Restore a database, contracts or uploads",
		Long: `Restore the content of a sealed backup.

The data is restored next to the live data and checked; only then do the two change
places, and the former data is kept. A failure, a signal or a damaged backup leaves
the live data as it was.`,
		Example: "  takumi-backup restore database takumi_db_20261123_020000.sql.zst.enc",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(takesBackups(newRestoreDatabase(), 1), takesBackups(newRestoreUploads(), 1), takesBackups(newRestoreContracts(), 1))
	return cmd
}
