// Package named makes a ring of what flags and settings name: keys by URI, age's
// recipients and identities, keys that a service keeps.
package named

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
	"github.com/takumi-backup/takumi-backup/keystore/written"
)

// Keys are the keys that a command is given, and where there are none of them those of
// the settings. Nothing is fetched before it is asked for.
type Keys struct {
	Flag           string   // what errors call the flag of URIs; "" is "key"
	URIs           []string // as file:PATH, see [keystore.Parse]
	Seals          bool     // BACKUP_RECIPIENTS and BACKUP_RECIPIENTS_FILE count
	Recipients     []string
	RecipientFiles []string
	IdentityFiles  []string

	Settings *config.Settings
	Ask      passfile.Ask // the passphrase of a file
	// Answer gets what a plugin of age asks, a secret without showing it, and Tell says
	// what one has to say.
	Answer func(ctx context.Context, question string, secret bool) ([]byte, error)
	Tell   func(message string)
}

// holders reports whether any recipient or identity is named: then the keys of the
// settings do not count.
func (k *Keys) holders() bool {
	return len(k.Recipients)+len(k.RecipientFiles)+len(k.IdentityFiles) > 0
}

// Named reports whether anything is named but by the settings.
func (k *Keys) Named() bool { return len(k.URIs) > 0 || k.holders() }

// Parse reads one key URI, as all flags that name a key do.
func (k *Keys) Parse(uri string) (keystore.Source, error) {
	src, err := keystore.Parse(uri,
		keystore.EnvScheme,
		passfile.Scheme(k.Ask),
		awssm.Scheme(awssm.Options{RequireTLS: k.Settings.Production()}),
		vault.Scheme(vault.Options{RequireTLS: k.Settings.Production()}),
	)
	if err != nil {
		return nil, err
	}
	if k.Settings.Production() {
		return src, keystore.CheckProduction(src)
	}
	return src, nil
}

func (k *Keys) named() []string {
	if len(k.URIs) > 0 || k.holders() {
		return k.URIs
	}
	return config.List(k.Settings.Get("BACKUP_KEYS"))
}

// Sources returns the places of the keys; a flag wins over the environment.
func (k *Keys) Sources() ([]keystore.Source, error) {
	fromBackend, err := k.Settings.KeyBackend()
	if err != nil {
		return nil, err
	}
	if fromBackend != "" { // also when a flag wins: what production forbids is not to be set at all
		_, err := k.Parse(fromBackend)
		if errors.Is(err, keystore.ErrURI) {
			return nil, fail.Usagef("SECRETS_BACKEND or VAULT_PATH: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("SECRETS_BACKEND: %w", err)
		}
	}
	uris := slices.DeleteFunc(slices.Clone(k.URIs), isHolder)
	if len(k.URIs) == 0 && !k.holders() {
		named := k.named()
		switch path := k.Settings.Get("BACKUP_ENCRYPTION_KEY_FILE"); {
		case path != "" && len(named) > 0:
			return nil, fail.Usagef("BACKUP_ENCRYPTION_KEY_FILE and BACKUP_KEYS are both set: give one of them")
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
		s, err := k.Parse(uri)
		if errors.Is(err, keystore.ErrURI) {
			return nil, fail.Usagef("--%s: %w", cmp.Or(k.Flag, "key"), err)
		}
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// Ring returns the named keys, of which nothing is fetched yet. There may be
// none. The caller closes it.
func (k *Keys) Ring() (*keystore.Ring, error) {
	sources, err := k.Sources()
	if err != nil {
		return nil, err
	}
	ring := keystore.NewRing(sources...)
	return ring, k.Join(ring)
}

// Required fetches every key, and fails when there is none, or one is missing.
// Closing the ring wipes the keys.
func (k *Keys) Required(ctx context.Context) (*keystore.Ring, []*kek.Key, error) {
	ring, err := k.Ring()
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

// One is required for commands that work on a single key.
func (k *Keys) One(ctx context.Context) (*keystore.Ring, *kek.Key, error) {
	ring, keys, err := k.Required(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) != 1 {
		ring.Close()
		return nil, nil, fail.Usagef("this works on one key: give --key once")
	}
	return ring, keys[0], nil
}

// Secret returns the one key, or the one identity of age, that the command works on.
func (k *Keys) Secret(ctx context.Context) (paper.Secret, error) {
	if len(k.URIs) != 1 || !IsAge(k.URIs[0]) {
		ring, key, err := k.One(ctx)
		if err != nil {
			return nil, err
		}
		defer ring.Close()
		return kek.New(key.Bytes())
	}
	path := strings.TrimPrefix(k.URIs[0], "age:")
	text, err := keystore.File{Path: path}.ReadSecret(ctx, maxAgeFile)
	defer func() { clear(text) }()
	if err == nil && passfile.IsLocked(text) {
		text, err = passfile.File{Path: path, Ask: k.Ask}.Text(ctx, text)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the identity: %w", err)
	}
	seed, err := agekey.ParseSeed(text)
	if err != nil {
		return nil, written.Refused("age:"+path, err, "")
	}
	return seed, nil
}

// Texts are the places that key URIs and files of identities name, as a record has them,
// and with settings those of k as well. What is no URI may be a key, and is left out.
func (k *Keys) Texts(uris, identities []string, settings bool) (texts []string) {
	var sources []keystore.Source
	for _, uri := range uris {
		if s, err := k.Parse(uri); err == nil {
			sources = append(sources, s)
		} else if path, ok := strings.CutPrefix(uri, "age:"); ok {
			identities = append(identities, path)
		}
	}
	if settings {
		named, _ := k.Sources() // an error is told where they are used
		sources = append(sources, named...)
	}
	for _, s := range sources {
		if text := s.String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	for _, path := range identities {
		texts = append(texts, "age:"+strings.TrimPrefix(keystore.File{Path: path}.String(), "file:"))
	}
	return texts
}
