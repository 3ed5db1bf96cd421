package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/keystore/named"
)

// signKeyVariable names the key that signs.
const signKeyVariable = "TAKUMI_SIGN_KEY"

// signFlags say who signs.
type signFlags struct {
	key string // PATH, agent or agent:FINGERPRINT
}

func (s *signFlags) add(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&s.key, "sign-key", "", usage+": an OpenSSH private key, or agent or agent:SHA256:… for one of the ssh-agent (default $"+signKeyVariable+")")
}

// signer returns the key, nil when none is named. Its file has to be apart from the folders
// of backups.
func (s *signFlags) signer(ctx context.Context, p *passphraseFlags, folders []string) (ssh.Signer, error) {
	return named.Signer(ctx, cmp.Or(s.key, conf.Get(signKeyVariable)), conf.Get("SSH_AUTH_SOCK"), folders, p.ask)
}
