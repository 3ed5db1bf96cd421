package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/named"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
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

// passphraseFlags say where the passphrase of a passfile comes from: a file
// descriptor, a file, or a prompt on the terminal.
type passphraseFlags struct {
	fd   int
	flag *pflag.Flag // nil for a command without it
	from passfile.Passphrases
}

func (p *passphraseFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.fd, "passphrase-fd", -1, "read the passphrase of a passfile from this descriptor (default $TAKUMI_PASSPHRASE_FILE, or a prompt)")
	p.flag = cmd.Flags().Lookup("passphrase-fd")
}

func (p *passphraseFlags) passphrases() *passfile.Passphrases {
	p.from.Path = conf.Get("TAKUMI_PASSPHRASE_FILE")
	if p.flag != nil && p.fd >= 0 && p.from.FD == nil { // kept: a forgotten os.File closes its descriptor
		p.from.FD = os.NewFile(uintptr(p.fd), "passphrase")
	}
	return &p.from
}

// ask gets the passphrase of the locked key file at path. It implements
// passfile.Ask.
func (p *passphraseFlags) ask(ctx context.Context, path string) ([]byte, error) {
	return p.passphrases().Ask(ctx, path)
}

// changedKeyFlags are the keys and recipients of a command that changes for whom
// backups are sealed.
type changedKeyFlags struct{ from, to keyFlags }

func (c *changedKeyFlags) add(cmd *cobra.Command) {
	c.from.Flag, c.to.Flag, c.to.asker = "from", "to", &c.from.passphrase
	f := cmd.Flags()
	f.StringArrayVar(&c.to.URIs, "to", nil, "the key that is to open them: file:PATH, awssm:ID, …; may be repeated")
	f.StringArrayVarP(&c.to.Recipients, "recipient", "r", nil, "an age recipient that is to open them: age1…, age1pq1…, ssh-ed25519 …; may be repeated")
	f.StringArrayVarP(&c.to.RecipientFiles, "recipients-file", "R", nil, "the age recipients in this file are to open them; may be repeated")
	f.StringArrayVar(&c.from.URIs, "from", nil, "open with this key; may be repeated (default $BACKUP_ENCRYPTION_KEY_FILE, or $SECRETS_BACKEND)")
	c.from.addIdentities(cmd)
	c.from.passphrase.add(cmd)
}

// target returns the new holders, of which nothing is fetched yet. The caller closes
// the ring.
func (c *changedKeyFlags) target() (*keystore.Ring, error) {
	if !c.to.Named() {
		return nil, usagef("--to is missing: which key, or which recipient (-r, -R), is to open the backups from now on?")
	}
	return c.to.ring()
}
