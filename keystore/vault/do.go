package vault

import (
	"context"
	"errors"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func (s Secret) do(ctx context.Context, operation func(context.Context) error) error {
	return s.conn.do(ctx, s.String(), operation)
}

// do runs an operation, for what has this URI, in bounded time and with a token. When
// the token's lease ran out meanwhile, as it may in a long process, it fetches
// another and runs the operation once more.
func (c *connection) do(ctx context.Context, uri string, operation func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, c.total)
	defer cancel()
	seen, err := c.ready(bounded)
	if err == nil {
		err = operation(bounded)
		var answer *api.ResponseError
		if errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden && seen.expired(c.now()) {
			if err = c.another(bounded, seen); err == nil {
				err = operation(bounded)
			}
		}
	}
	if err == nil {
		c.upkeep(bounded)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var fault *keystore.Error
	if !errors.As(err, &fault) {
		return explain(uri, err, "", "")
	}
	if fault.URI == "" {
		fault.URI = uri
	}
	return err
}
