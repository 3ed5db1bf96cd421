package sign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKey bounds a private key's file in bytes.
const maxKey = 64 << 10

// ParseKey reads an OpenSSH private key. A locked one is unlocked with the result of
// passphrase, which is wiped; nil means that nobody can be asked. Errors do not repeat the
// key.
func ParseKey(ctx context.Context, src io.Reader, passphrase func(context.Context) ([]byte, error)) (ssh.Signer, error) {
	text, err := io.ReadAll(io.LimitReader(src, maxKey+1))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	if len(text) > maxKey {
		return nil, fmt.Errorf("reading the signing key: the file is longer than %d bytes", maxKey)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if errors.As(err, new(*ssh.PassphraseMissingError)) {
		if passphrase == nil {
			return nil, errors.New("the signing key is locked with a passphrase, and there is nobody to ask for it")
		}
		secret, err := passphrase(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking for the passphrase of the signing key: %w", err)
		}
		defer clear(secret)
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(text, secret); err != nil {
			return nil, errors.New("the passphrase does not unlock the signing key")
		}
		return checkType(signer)
	}
	if err != nil {
		return nil, errors.New("the signing key is not an OpenSSH private key")
	}
	return checkType(signer)
}

func checkType(signer ssh.Signer) (ssh.Signer, error) {
	if t := signer.PublicKey().Type(); t == ssh.InsecureKeyAlgoDSA || strings.Contains(t, "-cert-") {
		return nil, fmt.Errorf("a key of type %s does not sign backups: ssh-keygen -t ed25519 makes one that does", t)
	}
	return signer, nil
}

// Agent returns the key with this fingerprint (SHA256:…) of the ssh-agent behind
// SSH_AUTH_SOCK, or with "" its only key. The caller closes the connection after signing.
func Agent(ctx context.Context, socket, fingerprint string) (ssh.Signer, io.Closer, error) {
	if socket == "" {
		return nil, nil, fmt.Errorf("looking for the ssh-agent: SSH_AUTH_SOCK is not set: %w", os.ErrNotExist)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to the ssh-agent: %w", err)
	}
	signer, err := pick(agent.NewClient(conn), fingerprint)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return signer, conn, nil
}

func pick(client agent.Agent, fingerprint string) (ssh.Signer, error) {
	signers, err := client.Signers()
	if err != nil {
		return nil, fmt.Errorf("asking the ssh-agent for its keys: %w", err)
	}
	var found []ssh.Signer
	for _, s := range signers {
		if fingerprint == "" || ssh.FingerprintSHA256(s.PublicKey()) == fingerprint {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("the ssh-agent has %d keys, and not the one that is wanted (ssh-add -l lists them)", len(signers))
	case 1:
		return checkType(found[0])
	}
	return nil, fmt.Errorf("the ssh-agent has %d keys: agent:SHA256:… says which (ssh-add -l lists them)", len(found))
}
