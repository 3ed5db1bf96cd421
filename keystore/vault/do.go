package vault

import (
	"context"
	"errors"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// do runs an operation of the secret in bounded time and with a token. When the
// token's lease ran out meanwhile, as it may in a long process, it fetches
// another and runs the operation once more.
func (s Secret) do(ctx context.Context, operation func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.conn.total)
	defer cancel()
	seen, err := s.conn.ready(bounded)
	if err == nil {
		err = operation(bounded)
		var answer *api.ResponseError
		if errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden && seen.expired(s.conn.now()) {
			if err = s.conn.another(bounded, seen); err == nil {
				err = operation(bounded)
			}
		}
	}
	if err == nil {
		s.conn.upkeep(bounded)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var fault *keystore.Error
	if !errors.As(err, &fault) {
		return s.fault(err, "", "")
	}
	if fault.URI == "" {
		fault.URI = s.String()
	}
	return err
}
