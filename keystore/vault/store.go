package vault

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// usualLimit is how many versions Vault keeps when nobody said otherwise.
const usualLimit = 10

// Store implements keystore.Storer. It writes a new version under check-and-set
// (the option cas of KV v2), so that of several writers one wins and the others
// get ErrConflict; the secret's other fields stay as they are. It reads the new
// version back before it returns.
//
// Vault keeps only the newest versions, ten unless it was told otherwise, and
// deletes the others for good. Store refuses to write when that would take a
// key that no version which stays holds; for this it needs the right to read
// MOUNT/metadata/PATH once there is a version. It also refuses a place where
// Vault deletes versions after some time (delete_version_after).
func (s Secret) Store(ctx context.Context, key *kek.Key, before kek.ID) error {
	if s.version > 0 {
		e := s.fail(keystore.ErrRefused, "a version that is there cannot be changed")
		e.Fix = "leave out @VERSION"
		return e
	}
	return s.do(ctx, func(ctx context.Context) error { return s.store(ctx, key, before) })
}

func (s Secret) store(ctx context.Context, key *kek.Key, before kek.ID) error {
	c, err := s.read(ctx, 0)
	if err != nil {
		return err
	}
	defer c.wipe()
	current, err := s.currentID(ctx, c)
	switch {
	case err != nil:
		return err
	case current == key.ID():
		return s.mustStay(c)
	case current != before:
		return s.conflict(current, before)
	case c.number == 0:
		err = s.mustBeVersioned(ctx)
	default:
		if err = s.mustStay(c); err == nil {
			err = s.mustKeepKeys(ctx, c.number)
		}
	}
	if err != nil {
		return err
	}
	written, err := s.write(ctx, c, key)
	if err != nil {
		return err
	}
	back, err := s.read(ctx, written)
	if err != nil {
		return err
	}
	defer back.wipe()
	if id, err := s.currentID(ctx, back); err != nil || id != key.ID() {
		return errors.Join(s.fail(keystore.ErrRefused, fmt.Sprintf("version %d was written, but another key was read back", written)), err)
	}
	return s.mustStay(back)
}

// currentID returns the id of the key in a version, or "" when it holds none.
func (s Secret) currentID(ctx context.Context, c content) (kek.ID, error) {
	if _, found := c.fields[s.field]; c.number == 0 || c.gone != "" || !found {
		return "", nil
	}
	key, err := s.key(ctx, c)
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	return key.ID(), nil
}

// mustStay refuses a version that Vault is going to delete.
func (s Secret) mustStay(c content) error {
	if c.dies.IsZero() {
		return nil
	}
	e := s.fail(keystore.ErrRefused, fmt.Sprintf("Vault is set to delete version %d, with the key in it, at %s", c.number, c.dies.UTC().Format("2006-01-02T15:04:05Z")))
	e.Fix = fmt.Sprintf("set delete_version_after to 0s (vault kv metadata put -mount=%s -delete-version-after=0s %s; vault write %s delete_version_after=0s), then %s",
		shellWord(s.mount), shellWord(s.path), shellWord(s.mount+"/config"), s.undelete(c.number))
	return e
}

// mustKeepKeys refuses when the version after current would push out a version
// whose key is in no version that stays.
func (s Secret) mustKeepKeys(ctx context.Context, current int) error {
	h, err := s.history(ctx)
	if err != nil {
		return err
	}
	limit := h.limit
	if limit == 0 {
		limit = s.mountLimit(ctx)
	}
	if len(h.live) == 0 || h.live[len(h.live)-1].number > current+1-limit {
		return nil // nothing that is pushed out can still be read
	}
	kept := make(map[kek.ID]bool)
	for _, v := range h.live {
		c, err := s.read(ctx, v.number)
		if err != nil {
			return err
		}
		id, err := s.currentID(ctx, c)
		c.wipe()
		switch {
		case err != nil || id == "":
			// No key of ours.
		case v.number > current+1-limit:
			kept[id] = true
		case !kept[id]:
			e := s.fail(keystore.ErrRefused, fmt.Sprintf("Vault keeps no more than %d of this secret's versions, and would delete version %d for the next one, the last with key %s; nothing was changed", limit, v.number, id))
			e.Fix = fmt.Sprintf("vault kv metadata put -mount=%s -max-versions=%d %s", shellWord(s.mount), limit+usualLimit, shellWord(s.path))
			if v.number < current {
				e.Fix += fmt.Sprintf("; or, if no backup needs that key any more, vault kv destroy -mount=%s -versions=%d %s", shellWord(s.mount), v.number, shellWord(s.path))
			}
			return e
		}
	}
	return nil
}

// mountLimit returns how many versions the mount keeps; its usual number where
// that may not be read.
func (s Secret) mountLimit(ctx context.Context) int {
	status, body, err := s.get(ctx, s.mount+"/config", nil)
	if err != nil || status != http.StatusOK {
		return usualLimit
	}
	var answer struct {
		Data struct {
			Limit int `json:"max_versions"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Data.Limit == 0 {
		return usualLimit
	}
	return answer.Data.Limit
}

func (s Secret) write(ctx context.Context, c content, key *kek.Key) (int, error) {
	fields := make(map[string]json.RawMessage)
	maps.Copy(fields, c.fields)
	value := make(json.RawMessage, 0, 2*kek.Size+2)
	value = append(value, '"')
	value = hex.AppendEncode(value, key.Bytes())
	value = append(value, '"')
	defer clear(value)
	fields[s.field] = value

	secret, err := s.conn.client.Logical().WriteWithContext(ctx, s.dataPath(), map[string]any{
		"options": map[string]any{"cas": c.number},
		"data":    fields,
	})
	if err == nil && secret == nil {
		return 0, s.absent(ctx)
	}
	var answer *api.ResponseError
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest && strings.Contains(strings.Join(answer.Errors, " "), "check-and-set"):
		return s.confirmWriter(ctx, key)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return 0, s.absent(ctx)
	case err != nil:
		return 0, s.unsure(s.fault(err, `"create", "update"`, s.dataPath()))
	}
	number, _ := secret.Data["version"].(json.Number)
	written, err := number.Int64()
	if err != nil {
		return 0, s.notVersioned()
	}
	return int(written), nil
}

// confirmWriter finds out who wrote, when Vault says that somebody did: we ourselves,
// if the answer to our first try was lost on the way.
func (s Secret) confirmWriter(ctx context.Context, key *kek.Key) (int, error) {
	c, err := s.read(ctx, 0)
	if err != nil {
		return 0, err
	}
	defer c.wipe()
	current, err := s.currentID(ctx, c)
	switch {
	case err != nil:
		return 0, err
	case current != key.ID():
		e := s.fail(keystore.ErrConflict, "somebody else stored another version meanwhile; it holds "+naming(current)+", and nothing was changed")
		e.Fix = "look at it with takumi-backup key id, then decide again"
		return 0, e
	}
	return c.number, nil
}

// unsure adds to an error after which the key may or may not be stored.
func (s Secret) unsure(err *keystore.Error) error {
	if err.Kind == keystore.ErrUnreachable {
		err.Reason += "; it is not known whether the key was stored"
		err.Fix = "run the same command again, which finds out"
	}
	return err
}

func (s Secret) conflict(current, before kek.ID) error {
	return s.fail(keystore.ErrConflict, fmt.Sprintf("it holds %s, where %s was expected; nothing was changed", naming(current), naming(before)))
}

func naming(id kek.ID) string {
	if id == "" {
		return "no key"
	}
	return "key " + string(id)
}
