package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/keystore/passfile"
	"github.com/takumi-backup/takumi-backup/keystore/written"
)

func newKeyExport() *cobra.Command {
	var keys keyFlags
	var out string
	var locked bool
	cmd := &cobra.Command{
		Use:   "export --passphrase -o FILE",
		Short: "Write a key to a file that is locked with a passphrase",
		Long: `Write a key to a file that is locked with a passphrase, for the memory stick in
the safe: a standard armored age file, which passfile:FILE names as a key, key
import turns into a key file again, and plain age -d opens. Of an identity (age:PATH)
it makes one that -i FILE takes as it is, here and in age.

The passphrase is asked for twice on the terminal, or read from
--passphrase-fd or $TAKUMI_PASSPHRASE_FILE. Take six random words or more: who
finds the stick can try passphrases for as long as they like.`,
		Example: `  takumi-backup key export --key file:/etc/takumi-backup/backup.key --passphrase -o /media/stick/backup.key.age
  takumi-backup open --key passfile:/media/stick/backup.key.age backup.enc -o dump.sql`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !locked {
				return usagef("a key leaves its place only when it is locked: give --passphrase")
			}
			if err := checkNewFile("-o FILE", out); err != nil {
				return err
			}
			key, err := keys.keys().Secret(cmd.Context())
			if err != nil {
				return err
			}
			defer key.Wipe()
			passphrase, err := keys.passphrase.passphrases().Choose(cmd.Context())
			if err != nil {
				return fmt.Errorf("getting the passphrase: %w", err)
			}
			defer clear(passphrase)
			text, public := written.FileOf(key)
			defer clear(text)
			if err := passfile.WriteText(out, text, passphrase); err != nil {
				return err
			}
			recordKey(cmd, out, key.ID())
			_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
			return allTheSame(err, "the locked key is written")
		},
	}
	keys.add(cmd, "the key")
	cmd.Flags().BoolVar(&locked, "passphrase", false, "lock the file with a passphrase")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the new file")
	return audited(cmd, "key export", changes)
}
