package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// ReadFields fetches the fields of the secret's current version that are text, and
// its number; none and 0 when there is no such secret, or none any more. The field
// that the URI names plays no part. Its errors are those of [Secret.Load].
func (s Secret) ReadFields(ctx context.Context) (fields map[string]string, version int, err error) {
	return s.ReadVersion(ctx, 0)
}

// ReadVersion is ReadFields of a version; that of 0 is the current one.
func (s Secret) ReadVersion(ctx context.Context, which int) (fields map[string]string, version int, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		c, err := s.read(ctx, which)
		if err != nil {
			return err
		}
		defer c.wipe()
		fields, version = make(map[string]string, len(c.fields)), c.number
		for name, value := range c.fields {
			var text string
			if value[0] == '"' && json.Unmarshal(value, &text) == nil { // null would become ""
				fields[name] = text
			}
		}
		return nil
	})
	return fields, version, err
}

// WriteFields writes a version of the secret under check-and-set (the option cas of
// KV v2): version is what ReadFields returned, and when somebody has written since
// the error's kind is keystore.ErrConflict and nothing is changed. Fields that are no
// text stay as they are; the others become exactly these. ErrUnreachable may mean
// that it was written, and only the answer lost.
func (s Secret) WriteFields(ctx context.Context, fields map[string]string, version int) error {
	return s.do(ctx, func(ctx context.Context) error {
		c, err := s.read(ctx, 0)
		if err != nil {
			return err
		}
		defer c.wipe()
		if c.number != version {
			return s.changed()
		}
		all := make(map[string]any, len(fields))
		for name, value := range c.fields {
			if value[0] != '"' {
				all[name] = value
			}
		}
		for name, value := range fields {
			all[name] = value
		}
		secret, err := s.conn.client.Logical().WriteWithContext(ctx, s.dataPath(), map[string]any{
			"options": map[string]any{"cas": version}, "data": all,
		})
		var answer *api.ResponseError
		switch {
		case err == nil && secret == nil, errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
			return s.absent(ctx)
		case errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest && strings.Contains(strings.Join(answer.Errors, " "), "check-and-set"):
			return s.changed()
		case err != nil:
			return s.fault(err, `"create", "update"`, s.dataPath())
		}
		if number, _ := secret.Data["version"].(json.Number); number == "" {
			return s.notVersioned()
		}
		return nil
	})
}

func (s Secret) changed() error {
	return s.fail(keystore.ErrConflict, fmt.Sprintf("somebody else wrote %s meanwhile; nothing was changed", s.path))
}
