package vault

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/keystore"
)

var _ keystore.Placed = Secret{}

// Place implements keystore.Placed: the URL that the HTTP API has for the secret,
// with the namespace as the beginning of its path, which Vault takes as it takes
// the header (https://developer.hashicorp.com/vault/docs/enterprise/namespaces),
// and with the field behind a #. It asks nobody. A Vault that is reached under
// two addresses counts as two places.
func (s Secret) Place(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	u, err := address()
	if err != nil {
		if fault := (*keystore.Error)(nil); errors.As(err, &fault) {
			fault.URI = s.String()
		}
		return "", err
	}
	below := url.URL{Path: strings.Trim(os.Getenv(api.EnvVaultNamespace), "/") + "/" + s.dataPath()}
	u = u.JoinPath("v1", below.EscapedPath())
	u.User, u.RawQuery = nil, "" // where credentials may be
	u.Host = strings.ToLower(u.Host)
	u.Fragment, u.RawFragment = s.field, ""
	return u.String(), nil
}
