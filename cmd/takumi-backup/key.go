package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/named"
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
	var out, kind string
	cmd := &cobra.Command{
		Use:   "generate [--age] -o PATH",
		Short: "Make a new key from the system's random generator",
		Long: `Make a new key from the system's random generator and write it to PATH: 64 hex
digits, mode 0600, in a folder that is made with mode 0700 if it is not there. A
file that exists is never overwritten. The key's id is
printed. Keep a copy in a safe, far from the backups: without it they are lost.

With --age it is an identity of age, as age-keygen -pq makes it: hybrid, so that
neither a classical nor a quantum computer breaks it (--age=x25519 is the classic one,
for age before 1.3). Its recipient is printed: hosts seal for that (-r, -R), and only
the identity opens (-i PATH). Keep it away from the hosts that make backups. key
export locks it, and key split and key paper take it, as --key age:PATH.

With -o - the key itself goes to standard output, for another program and not for a
terminal, and its id to standard error.`,
		Example: `  takumi-backup key generate -o /etc/takumi-backup/backup.key
  takumi-backup key generate --age -o /media/stick/restore.age >> recipients
  takumi-backup key generate -o - | vault kv put -mount=secret takumi/production/backup-encryption key=-`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkKeyFile("-o PATH", out); err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
				err = fmt.Errorf("making the key's folder: %w", err)
				if errors.Is(err, fs.ErrPermission) {
					return fail.As(fail.Store, "run it as root, or name a file of yours, as -o ~/backup.key", err)
				}
				return err
			}
			switch kind {
			case "":
				return writeKey(cmd, out, kek.Generate())
			case "pq", "x25519":
				return writeKey(cmd, out, agekey.GenerateSeed(kind == "pq"))
			}
			return usagef("--age is %q: it can be pq, which is the default, or x25519", kind)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", newKeyFileHelp)
	cmd.Flags().StringVar(&kind, "age", "", "make an age identity in place of a key: pq (hybrid, post-quantum) or x25519")
	cmd.Flags().Lookup("age").NoOptDefVal = "pq"
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
			ring, _, err := keys.keys().Required(cmd.Context())
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
					if h, err = named.Try(cmd.Context(), r); err != nil {
						return err
					}
				}
				if err := printf(cmd, "%v\n", h.Name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	keys.add(cmd, "the key")
	keys.addRecipients(cmd)
	keys.addIdentities(cmd)
	return cmd
}
