package main

import (
	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/keystore"
)

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
