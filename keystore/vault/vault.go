// Package vault fetches keys from, and puts them into, the KV secrets engine,
// version 2, of HashiCorp Vault or OpenBao.
//
// Hand [Scheme] to keystore.Parse, then Load:
//
//	src, err := keystore.Parse("vault:secret/takumi/production/backup-encryption", vault.Scheme(vault.Options{RequireTLS: true}))
//	...
//	key, err := src.Load(ctx)
//
// # URIs
//
//	vault:MOUNT/PATH[#field][@version]
//
// MOUNT is the first part; one whose name has a slash in it ends at a double
// slash, as in vault:team/kv//takumi/backup. PATH is as `vault kv get` takes
// it, without the data/ of the HTTP API. The field is "key" when none is named,
// and holds the key as 64 hex digits. A version is a positive number; without
// one the current version is meant. No part may hold # or @, nor be empty, "."
// or "..".
//
// # Environment
//
// It is read when the first key is asked for, and is that of Vault's own
// client: VAULT_ADDR (or VAULT_AGENT_ADDR, which wins), VAULT_NAMESPACE,
// VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY,
// VAULT_TLS_SERVER_NAME and VAULT_SKIP_VERIFY. Who we are comes from the first
// of these that is set:
//
//   - VAULT_TOKEN
//   - VAULT_ROLE_ID with VAULT_SECRET_ID or VAULT_SECRET_ID_FILE: a login by
//     AppRole, at VAULT_APPROLE_MOUNT (approle)
//   - VAULT_K8S_ROLE: a login by Kubernetes' service account, at VAULT_K8S_MOUNT
//     (kubernetes), with the token in VAULT_K8S_TOKEN_PATH
//     (/var/run/secrets/kubernetes.io/serviceaccount/token)
//   - the token that `vault login` left in ~/.vault-token
//
// A token near its end is renewed where Vault allows it. One that has expired is
// fetched anew, by another login or from the file.
//
// # Time
//
// A request is sent again when nothing comes back within 5 seconds, when the
// connection breaks, and when the answer is to come back later (412, 429, 5xx
// except from a sealed Vault): at most three times and with growing pauses.
// Nothing takes longer than 30 seconds.
//
// # Secrets
//
// No error holds key material or a token. Slices that held a key are
// overwritten; what the HTTP client and the JSON encoder copied is not ours to
// reach.
//
// The facts about Vault are from its HTTP API documentation
// (https://developer.hashicorp.com/vault/api-docs and, below that,
// secret/kv/kv-v2, auth/approle, auth/kubernetes, auth/token,
// system/internal-ui-mounts).
package vault

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options are for the whole Scheme.
type Options struct {
	// RequireTLS is for production: it refuses plain http to anything but
	// loopback, before a byte is sent, and VAULT_SKIP_VERIFY.
	RequireTLS bool
}

// Scheme is vault:MOUNT/PATH[#field][@version], for keystore.Parse. The sources
// that it makes share one client and one login, and are safe for concurrent
// use.
func Scheme(opts Options) keystore.Scheme {
	conn := newConnection(opts)
	return keystore.Scheme{Name: "vault", Form: "MOUNT/PATH[#field][@version]", Parse: func(rest string) (keystore.Source, error) {
		s, err := parse(rest)
		if err != nil {
			return nil, err
		}
		s.conn = conn
		return s, nil
	}}
}

// Secret is a key in a field of a secret. It is made by Scheme; the zero Secret
// is not usable. A Secret may be used by several goroutines at once.
type Secret struct {
	conn               *connection
	mount, path, field string
	version            int // 0 for the current one
}

var _ keystore.Storer = Secret{}

// DestroyCommand implements keystore.Destroyable.
func (s Secret) DestroyCommand(kek.ID) string {
	if s.version == 0 {
		return ""
	}
	return fmt.Sprintf("vault kv destroy -mount=%s -versions=%d %s", shellWord(s.mount), s.version, shellWord(s.path))
}

// String returns the URI. A URI that seems to hold a key does not parse, so
// nothing in it is secret.
func (s Secret) String() string {
	slash := "/"
	if strings.Contains(s.mount, "/") {
		slash = "//"
	}
	uri := "vault:" + s.mount + slash + s.path
	if s.field != defaultField {
		uri += "#" + s.field
	}
	if s.version > 0 {
		uri += "@" + strconv.Itoa(s.version)
	}
	return uri
}

func (s Secret) at(version int) Secret {
	s.version = version
	return s
}

func (s Secret) dataPath() string     { return s.mount + "/data/" + s.path }
func (s Secret) metadataPath() string { return s.mount + "/metadata/" + s.path }

// Load fetches the key. The errors are *keystore.Error, or ctx's own: of kind
// ErrNotFound when there is no such mount, secret, version or field, or when
// the version was deleted or destroyed; ErrRefused when Vault says no, when
// what is there is no key, or when the way to it is not safe; ErrUnreachable
// when Vault is sealed, overloaded or silent.
func (s Secret) Load(ctx context.Context) (*kek.Key, error) {
	var key *kek.Key
	err := s.do(ctx, func(ctx context.Context) error {
		c, err := s.read(ctx, s.version)
		if err != nil {
			return err
		}
		defer c.wipe()
		key, err = s.key(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}
