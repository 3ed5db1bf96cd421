package named

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
)

// maxSignKey bounds the file of a signing key in bytes.
const maxSignKey = 64 << 10

// Signer returns the key that signs, as PATH, agent or agent:FINGERPRINT names it, of the
// ssh-agent at socket; nil for "". Its file has to be private, and apart from the folders of
// backups; ask gets the passphrase of one that is locked. A connection to the agent ends
// with ctx.
func Signer(ctx context.Context, key, socket string, folders []string, ask passfile.Ask) (ssh.Signer, error) {
	if key == "" {
		return nil, nil
	}
	if fingerprint, ok := strings.CutPrefix(key, "agent:"); ok || key == "agent" {
		if !ok {
			fingerprint = ""
		}
		signer, conn, err := sign.Agent(ctx, socket, fingerprint)
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
	return sign.ParseKey(ctx, bytes.NewReader(text), func(ctx context.Context) ([]byte, error) { return ask(ctx, src.Path) })
}
