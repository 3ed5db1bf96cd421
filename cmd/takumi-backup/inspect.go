package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
)

func newInspect() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] FILE...",
		Short: "Show what the envelope of a backup says; needs no key",
		Long: `Show what the envelope of a backup says: id, time, kind, name, codec, which keys
and recipients open it, and its sizes. An age recipient is named by its hint, which
takumi-backup key id -r RECIPIENT prints.

No key is needed, so nothing here is authenticated: the file claims it. Only opening
the backup proves it.`,
		Example: `  takumi-backup inspect /var/backups/takumi/database/*.enc
  takumi-backup inspect --json backup.enc | jq -r '.key_ids[]'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return inspect(cmd, args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per file and line")
	return cmd
}

func inspect(cmd *cobra.Command, paths []string, asJSON bool) error {
	failed := false
	place := newPlace()
	for i, path := range paths {
		found, err := backup.Inspect(cmd.Context(), place, path)
		if err != nil {
			err = aboutPath("inspecting", path, err)
			if len(paths) == 1 {
				return err
			}
			failed = true
			report(cmd.ErrOrStderr(), err)
			continue
		}
		if asJSON {
			err = writeJSON(cmd.OutOrStdout(), found)
		} else {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			err = printf(cmd, "%s", found.Text())
		}
		if err != nil {
			return err
		}
	}
	if failed {
		return errSome
	}
	return nil
}
