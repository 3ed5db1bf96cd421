package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// signKeyVariable names the key that signs.
const signKeyVariable = "TAKUMI_SIGN_KEY"

// maxSignKey bounds the file of a signing key in bytes.
const maxSignKey = 64 << 10

// signFlags say who signs.
type signFlags struct {
	key string // PATH, agent or agent:FINGERPRINT
}

func (s *signFlags) add(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&s.key, "sign-key", "", usage+": an OpenSSH private key, or agent or agent:SHA256:… for one of the ssh-agent (default $"+signKeyVariable+")")
}

// signer returns the key, nil when none is named. Its file has to be private, and
// apart from the folders of backups. A connection to the agent ends with ctx.
func (s *signFlags) signer(ctx context.Context, p *passphraseFlags, folders []string) (ssh.Signer, error) {
	key := cmp.Or(s.key, conf.Get(signKeyVariable))
	if key == "" {
		return nil, nil
	}
	if fingerprint, ok := strings.CutPrefix(key, "agent:"); ok || key == "agent" {
		if !ok {
			fingerprint = ""
		}
		signer, conn, err := sign.Agent(ctx, conf.Get("SSH_AUTH_SOCK"), fingerprint)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		return signer, nil
	}
	src := keystore.File{Path: strings.TrimPrefix(key, "file:")}
	for _, folder := range folders {
		if store.IsRemote(folder) {
			continue
		}
		if err := keystore.CheckOutside(src, folder); err != nil {
			return nil, fmt.Errorf("checking where the signing key is: %w", err)
		}
	}
	text, err := src.ReadSecret(ctx, maxSignKey)
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("loading the signing key: %w", err)
	}
	return sign.ParseKey(ctx, bytes.NewReader(text), func(ctx context.Context) ([]byte, error) { return p.ask(ctx, src.Path) })
}
