package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make keys, check, store, split, print and rotate them",
		Long:  "Make keys, check, store, split, print and rotate them.\n\n" + keyFormsHelp,
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example: `  takumi-backup key generate -o /etc/takumi-backup/backup.key
  takumi-backup key id`,
	}
	cmd.AddCommand(newKeyGenerate(), newKeyID(), newKeyCheck())
	cmd.AddCommand(newKeyStore(), newKeyRotate(), newKeyHistory(), newKeyRetire())
	cmd.AddCommand(newKeySplit(), newKeyCombine(), newKeyPaper(), newKeyScan(), newKeyExport(), newKeyImport())
	return cmd
}

func newKeyGenerate() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "generate -o PATH",
		Short: "Make a new key from the system's random generator",
		Long: `Make a new key from the system's random generator and write it to PATH: 64 hex
digits, mode 0600, in a folder that is made with mode 0700 if it is not there. A
file that exists is never overwritten. The key's id is
printed. Keep a copy in a safe, far from the backups: without it they are lost.

With -o - the key itself goes to standard output, for another program and not for a
terminal, and its id to standard error.`,
		Example: `  takumi-backup key generate -o /etc/takumi-backup/backup.key
  takumi-backup key generate -o - | vault kv put -mount=secret takumi/production/backup-encryption key=-`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkKeyFile("-o PATH", out); err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
				return fmt.Errorf("making the key's folder: %w", err)
			}
			return writeKey(cmd, out, kek.Generate())
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", newKeyFileHelp)
	return audited(cmd, "key generate", changes)
}

func newKeyID() *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Print the public id of each key, and the hint of each recipient",
		Long: `Print the public id of each key and the hint of each age recipient, by which slots
of backups name them. An identity that does not say whom to seal for, as one of a
plugin or in a locked file, has no hint: name its recipient.`,
		Example: `  takumi-backup key id --key file:/etc/takumi-backup/backup.key
  takumi-backup key id -R /etc/takumi-backup/recipients`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ring, _, err := keys.required(cmd.Context())
			if err != nil {
				return err
			}
			defer ring.Close()
			holders, err := ring.Recipients(cmd.Context())
			if err != nil {
				return err
			}
			for _, r := range holders {
				h, known := slot.HolderOf(r)
				if !known {
					continue
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), h.Name); err != nil {
					return stdoutError(err)
				}
			}
			return nil
		},
	}
	keys.add(cmd, "the key")
	keys.age.addRecipients(cmd)
	keys.age.addIdentities(cmd)
	return cmd
}
