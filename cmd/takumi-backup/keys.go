package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/named"
)

type keyFlags struct {
	named.Keys
	passphrase passphraseFlags
	asker      *passphraseFlags // whose answers count; nil: those of passphrase
}

func (k *keyFlags) keys() *named.Keys {
	k.Settings, k.Ask, k.Answer = conf, cmp.Or(k.asker, &k.passphrase).ask, terminal.Ask
	k.Tell = func(message string) { fmt.Fprintln(os.Stderr, "takumi-backup:", message) }
	return &k.Keys
}

func (k *keyFlags) parseKey(uri string) (keystore.Source, error) { return k.keys().Parse(uri) }
func (k *keyFlags) sources() ([]keystore.Source, error)          { return k.keys().Sources() }
func (k *keyFlags) ring() (*keystore.Ring, error)                { return k.keys().Ring() }

const keyFormsHelp = `Keys are named by URI:
  file:PATH                            a key file, as key generate writes it
  passfile:PATH                        a key file locked with a passphrase
  awssm:SECRET-ID[#field][@version]    AWS Secrets Manager
  vault:MOUNT/PATH[#field][@version]   HashiCorp Vault or OpenBao, KV version 2
  env:NAME                             environment variable, not in production
  age:PATH                             a file of age identities or recipients
  awskms:KEY-ID, awskms:alias/NAME     AWS KMS, which wraps data keys itself
  transit:MOUNT/KEY                    the transit engine of Vault or OpenBao
Without --key, BACKUP_ENCRYPTION_KEY_FILE names a key file, and without that
SECRETS_BACKEND (aws-secrets-manager, vault or env) the place of the key: in
Vault $VAULT_PATH/backup-encryption, field key.`

func (k *keyFlags) add(cmd *cobra.Command, use string) {
	cmd.Flags().StringArrayVar(&k.URIs, "key", nil, use+": file:PATH, awssm:ID, vault:PATH, …")
	k.passphrase.add(cmd)
}

func (k *keyFlags) addRecipients(cmd *cobra.Command) {
	k.Seals = true
	cmd.Flags().StringArrayVarP(&k.Recipients, "recipient", "r", nil, "seal for this recipient: age1…, age1pq1…, ssh-ed25519 …, awskms:KEY, transit:MOUNT/KEY; may be repeated")
	cmd.Flags().StringArrayVarP(&k.RecipientFiles, "recipients-file", "R", nil, "seal for the age recipients in this file; may be repeated (default $BACKUP_RECIPIENTS_FILE)")
}

func (k *keyFlags) addIdentities(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&k.IdentityFiles, "identity", "i", nil, "open with the age identities in this file; may be repeated")
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}
