package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
)

func openVault(place string, o Options) (Backend, error) {
	place = cmp.Or(place, config.VaultPath(os.Getenv("VAULT_PATH")), "secret/takumi/"+o.Environment)
	src, err := keystore.Parse("vault:"+place, vault.Scheme(vault.Options{RequireTLS: o.production()}))
	if err != nil {
		return nil, fail.Usagef("the secrets backend: %w", err)
	}
	return vaultKV{src.(vault.Secret), place}, nil
}

// vaultKV is one secret of a KV engine, version 2.
type vaultKV struct {
	secret vault.Secret
	place  string
}

func (b vaultKV) String() string { return Vault + ":" + b.place }

func (b vaultKV) Fetch(ctx context.Context, names []string) (map[string]string, error) {
	return fetchFrom(ctx, b, names)
}

func (b vaultKV) Read(ctx context.Context) (*Document, error) { return b.read(ctx, 0) }

func (b vaultKV) Recall(ctx context.Context, version string) (*Document, error) {
	number, err := strconv.Atoi(version)
	if err != nil || number < 1 {
		return nil, fmt.Errorf("%q is not a version of %s", version, b)
	}
	return b.read(ctx, number)
}

func (b vaultKV) read(ctx context.Context, which int) (*Document, error) {
	fields, version, err := b.secret.ReadVersion(ctx, which)
	if err != nil {
		return nil, fault("reading "+b.String(), err)
	}
	return takeState(&Document{Fields: fields, version: version}), nil
}

func (b vaultKV) Write(ctx context.Context, d *Document) error {
	version, ok := d.version.(int)
	if !ok {
		return errors.New("the document was not read from Vault")
	}
	return fault("writing "+b.String(), b.secret.WriteFields(ctx, withState(d), version))
}
