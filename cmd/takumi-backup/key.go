package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make keys, name them, and check them",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example: `  takumi-backup key generate -o /etc/takumi-backup/backup.key
  takumi-backup key id`,
	}
	cmd.AddCommand(newKeyGenerate(), newKeyID(), newKeyCheck())
	return cmd
}

func newKeyGenerate() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "generate -o PATH",
		Short: "Make a new key from the system's random generator",
		Long: `Make a new key from the system's random generator and write it to PATH: 64 hex
digits, mode 0600. A file that exists is never overwritten. The key's id is
printed. Keep a copy in a safe, far from the backups: without it they are lost.`,
		Example: "  takumi-backup key generate -o /etc/takumi-backup/backup.key",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("-o PATH is missing: a key is not printed")
			}
			key := kek.Generate()
			defer key.Wipe()
			if err := keystore.WriteFile(out, key); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), key.ID())
			return stdoutError(err)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the new key file")
	return cmd
}

func newKeyID() *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use:     "id",
		Short:   "Print the public id of each key",
		Example: "  takumi-backup key id --key file:/etc/takumi-backup/backup.key",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, loaded, err := keys.required(cmd.Context())
			if err != nil {
				return err
			}
			defer wipe(loaded)
			for _, k := range loaded {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), k.ID()); err != nil {
					return stdoutError(err)
				}
			}
			return nil
		},
	}
	keys.add(cmd, "the key")
	return cmd
}

func newKeyCheck() *cobra.Command {
	var keys keyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check that each key can be fetched and stands where it should",
		Long: `Check that each key can be fetched: that it is there, private to the caller or
root, and 64 hex digits; and that it does not stand with the backups, in or
under $BACKUP_ROOT.`,
		Example: "  takumi-backup key check",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, loaded, err := keys.required(cmd.Context())
			if err != nil {
				return err
			}
			defer wipe(loaded)
			for i, src := range sources {
				if err := keystore.CheckApart(src, storeFolder()); err != nil {
					return fmt.Errorf("checking where the key stands: %w", err)
				}
				if asJSON {
					err = writeJSON(cmd.OutOrStdout(), map[string]any{"key": src.String(), "id": loaded[i].ID(), "ok": true})
				} else {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: good, id %s\n", src, loaded[i].ID())
					err = stdoutError(err)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	keys.add(cmd, "the key")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per key and line")
	return cmd
}
