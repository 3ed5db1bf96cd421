package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
	"github.com/takumi-backup/takumi-backup/keystore/written"
)

type keyStore struct {
	keys    keyFlags
	state   stateFlags
	to      string
	replace bool
	dryRun  bool
	json    bool
}

func newKeyStore() *cobra.Command {
	s := new(keyStore)
	cmd := &cobra.Command{
		Use:   "store --key URI --to URI",
		Short: "Copy a key to another place, as the current key there",
		Long: `Copy the key of --key to the place of --to, as the current key there, and record
it (key history). The key stays where it was, too.

A place that holds another key is left alone: use key rotate to change keys. --replace
puts this key there all the same, and the other one is kept as a former version.`,
		Example: `  takumi-backup key store --key file:backup.key --to vault:secret/takumi/production/backup-encryption
  takumi-backup key store --key file:backup.key --to awssm:takumi/production/BACKUP_ENCRYPTION_KEY`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	f := cmd.Flags()
	s.keys.add(cmd, "the key to copy")
	f.StringVar(&s.to, "to", "", "where to, as file:PATH, awssm:ID or vault:PATH")
	f.BoolVar(&s.replace, "replace", false, "replace another key, which is kept as a former version")
	f.BoolVar(&s.dryRun, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&s.json, "json", false, "print the result as JSON")
	s.state.add(cmd)
	return audited(cmd, "key store", changes)
}

func (s *keyStore) run(cmd *cobra.Command) error {
	if s.to == "" {
		return usagef("--to is missing: where does the key go?")
	}
	if err := s.state.resolve(cmd); err != nil {
		return err
	}
	target, err := s.keys.parseKey(s.to)
	if errors.Is(err, keystore.ErrURI) {
		return usagef("--to: %w", err)
	}
	if err != nil {
		return err
	}
	dst, err := history.Storer([]keystore.Source{target}, s.state.root)
	if err != nil {
		return err
	}
	ring, key, err := s.keys.keys().One(cmd.Context())
	if err != nil {
		return err
	}
	defer ring.Close()
	h, err := s.state.history(s.dryRun)
	if err != nil {
		return err
	}
	defer h.Close()
	result, err := history.Put(cmd.Context(), h, dst, key, history.Options{Replace: s.replace, DryRun: s.dryRun})
	if err != nil {
		return fmt.Errorf("storing the key: %w", err)
	}
	if result.Old != "" {
		backups, err := s.state.backups(cmd.Context())
		if err != nil {
			return fmt.Errorf("the key is stored; looking through the backups: %w", err)
		}
		result.Judge(h, backups, s.state.root)
	}
	return printChange(cmd, result, s.json)
}

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
				return usagef("a key is exported only locked: give --passphrase")
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
			return unprinted(err, "the locked key is written")
		},
	}
	keys.add(cmd, "the key")
	cmd.Flags().BoolVar(&locked, "passphrase", false, "lock the file with a passphrase")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the new file")
	return audited(cmd, "key export", changes)
}
