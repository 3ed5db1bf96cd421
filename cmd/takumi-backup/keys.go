package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
)

// keyFlags are the keys that a command is given.
type keyFlags struct {
	flag       string // what the flag is called; "" is "key"
	uris       []string
	passphrase passphraseFlags
	age        ageFlags
	asker      *passphraseFlags // whose answers count; nil: those of passphrase
}

// asks returns whom to ask for passphrases.
func (k *keyFlags) asks() *passphraseFlags { return cmp.Or(k.asker, &k.passphrase) }

const keyFormsHelp = `Keys are named by URI:
  file:PATH                               a key file, as key generate writes it
  passfile:PATH                           a key file locked with a passphrase
  awssm:SECRET-ID[#field][@version]       AWS Secrets Manager
  vault:MOUNT/PATH[#field][@version]      HashiCorp Vault or OpenBao, KV version 2
  env:NAME                                an environment variable; not in production
  age:PATH                                a file of age identities, or of recipients
  awskms:KEY-ID, awskms:alias/NAME        AWS KMS, which wraps data keys itself
  transit:MOUNT/KEY                       the transit engine of Vault or OpenBao, likewise
Without --key, BACKUP_ENCRYPTION_KEY_FILE names a key file, and else
SECRETS_BACKEND (aws-secrets-manager, vault or env) the place of the key: in Vault
$VAULT_PATH/backup-encryption, next to the application's secrets, field key.`

func (k *keyFlags) add(cmd *cobra.Command, use string) {
	cmd.Flags().StringArrayVar(&k.uris, "key", nil, use+", as file:PATH, awssm:ID, vault:PATH, …; may be repeated (default $BACKUP_ENCRYPTION_KEY_FILE, or $SECRETS_BACKEND)")
	k.passphrase.add(cmd)
}

// parseKey reads one key URI, as all flags that name a key do.
func (k *keyFlags) parseKey(uri string) (keystore.Source, error) {
	src, err := keystore.Parse(uri,
		keystore.EnvScheme,
		passfile.Scheme(k.asks().ask),
		awssm.Scheme(awssm.Options{RequireTLS: conf.Production()}),
		vault.Scheme(vault.Options{RequireTLS: conf.Production()}),
	)
	if err != nil {
		return nil, err
	}
	if conf.Production() {
		return src, keystore.CheckProduction(src)
	}
	return src, nil
}

// named are the URIs that the flags name, or else the settings.
func (k *keyFlags) named() []string {
	if len(k.uris) > 0 || k.age.named() {
		return k.uris
	}
	return config.List(conf.Get("BACKUP_KEYS"))
}

// sources returns the places of the keys; a flag wins over the environment.
func (k *keyFlags) sources() ([]keystore.Source, error) {
	fromBackend, err := conf.KeyBackend()
	if err != nil {
		return nil, err
	}
	if fromBackend != "" { // also when a flag wins: what production forbids is not to be set at all
		_, err := k.parseKey(fromBackend)
		if errors.Is(err, keystore.ErrURI) {
			return nil, usagef("SECRETS_BACKEND or VAULT_PATH: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("SECRETS_BACKEND: %w", err)
		}
	}
	uris := slices.DeleteFunc(slices.Clone(k.uris), isHolder)
	if len(k.uris) == 0 && !k.age.named() {
		named := k.named()
		switch path := conf.Get("BACKUP_ENCRYPTION_KEY_FILE"); {
		case path != "" && len(named) > 0:
			return nil, usagef("BACKUP_ENCRYPTION_KEY_FILE and BACKUP_KEYS are both set: give one of them")
		case path != "":
			return []keystore.Source{keystore.File{Path: path}}, nil
		case len(named) > 0:
			uris = slices.DeleteFunc(named, isHolder)
		case fromBackend != "":
			uris = []string{fromBackend}
		}
	}
	var sources []keystore.Source
	for _, uri := range uris {
		s, err := k.parseKey(uri)
		if errors.Is(err, keystore.ErrURI) {
			return nil, usagef("--%s: %w", cmp.Or(k.flag, "key"), err)
		}
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// ring returns the named keys, of which nothing is fetched yet. There may be
// none. The caller closes it.
func (k *keyFlags) ring() (*keystore.Ring, error) {
	sources, err := k.sources()
	if err != nil {
		return nil, err
	}
	ring := keystore.NewRing(sources...)
	return ring, k.joinAge(ring)
}

// required fetches every key, and fails when there is none, or one is missing.
// Closing the ring wipes the keys.
func (k *keyFlags) required(ctx context.Context) (*keystore.Ring, []*kek.Key, error) {
	ring, err := k.ring()
	if err != nil {
		return nil, nil, err
	}
	keys, err := ring.Current(ctx)
	if err != nil {
		ring.Close()
		return nil, nil, fmt.Errorf("loading the key: %w", err)
	}
	return ring, keys, nil
}

// one is required for commands that work on a single key.
func (k *keyFlags) one(ctx context.Context) (*keystore.Ring, *kek.Key, error) {
	ring, keys, err := k.required(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) != 1 {
		ring.Close()
		return nil, nil, usagef("this works on one key: give --key once")
	}
	return ring, keys[0], nil
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}
