package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// mostNames is how many fields an error lists.
const mostNames = 10

type content struct {
	number  int // 0 when there is none
	created time.Time
	gone    string    // why it has no fields any more; "" when it has
	dies    time.Time // when Vault will delete it; zero for never
	fields  map[string]json.RawMessage
}

func (c content) wipe() {
	for _, value := range c.fields {
		clear(value)
	}
}

type stamps struct {
	Version   int       `json:"version"`
	Created   time.Time `json:"created_time"`
	Deletion  string    `json:"deletion_time"` // "" when there is none
	Destroyed bool      `json:"destroyed"`
}

func (m stamps) state(now time.Time) (gone string, dies time.Time) {
	if m.Destroyed {
		return "was destroyed", time.Time{}
	}
	deletion, err := time.Parse(time.RFC3339Nano, m.Deletion)
	switch {
	case err != nil:
		return "", time.Time{}
	case deletion.After(now):
		return "", deletion
	}
	return "was deleted at " + deletion.UTC().Format(time.RFC3339), time.Time{}
}

// read fetches a version, or the current one for 0. That there is none is no
// error.
func (s Secret) read(ctx context.Context, version int) (content, error) {
	var query map[string][]string
	if version > 0 {
		query = map[string][]string{"version": {strconv.Itoa(version)}}
	}
	status, body, err := s.get(ctx, s.dataPath(), query)
	if err != nil {
		return content{}, s.fault(err, `"read"`, s.dataPath())
	}
	defer clear(body)
	var answer struct {
		Data *struct {
			Data     map[string]json.RawMessage `json:"data"`
			Metadata *stamps                    `json:"metadata"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		if status == http.StatusNotFound {
			return content{}, nil // a proxy's words perhaps; nothing is there in any case
		}
		return content{}, s.unexpected()
	}
	if answer.Data == nil && status == http.StatusNotFound {
		return content{}, nil
	}
	if answer.Data == nil || answer.Data.Metadata == nil {
		return content{}, s.notVersioned()
	}
	m := answer.Data.Metadata
	c := content{number: m.Version, created: m.Created, fields: answer.Data.Data}
	c.gone, c.dies = m.state(s.conn.now())
	if c.gone == "" && status == http.StatusNotFound {
		c.gone = "was deleted" // by Vault's clock, if not by ours
	}
	return c, nil
}

// get fetches what is at a path and returns the status, 200 or 404, and the
// body, which is the caller's to wipe.
func (s Secret) get(ctx context.Context, path string, query map[string][]string) (int, []byte, error) {
	resp, err := s.conn.client.Logical().ReadRawWithDataWithContext(ctx, path, query)
	if resp != nil && resp.Response != nil {
		defer resp.Body.Close()
	}
	var answer *api.ResponseError
	if err != nil && !(errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound) {
		return 0, nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return 0, nil, &api.ResponseError{StatusCode: resp.StatusCode}
	}
	body, err := readAll(resp.Body)
	return resp.StatusCode, body, err
}

// readAll is io.ReadAll that leaves no copies behind where it needs more room.
func readAll(r io.Reader) ([]byte, error) {
	body := make([]byte, 0, 4096)
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			clear(body)
			return nil, err
		case len(body) == cap(body):
			larger := make([]byte, len(body), 2*cap(body))
			copy(larger, body)
			clear(body)
			body = larger
		}
	}
}

func (s Secret) key(ctx context.Context, c content) (*kek.Key, error) {
	switch {
	case c.number == 0:
		return nil, s.absent(ctx)
	case c.gone != "":
		return nil, s.goneError(c)
	}
	value, found := c.fields[s.field]
	if !found {
		e := s.fail(keystore.ErrNotFound, "the secret has no field "+strconv.Quote(s.field)+"; "+fieldNames(c.fields))
		e.Fix = "name the field after #, or store a key: takumi-backup key store"
		return nil, e
	}
	text, ok := textOf(value)
	if !ok {
		return nil, s.fail(keystore.ErrRefused, "field "+strconv.Quote(s.field)+" is not text")
	}
	defer clear(text)
	key, err := keystore.ParseText(text)
	if err != nil {
		e := s.fail(keystore.ErrRefused, "field "+strconv.Quote(s.field)+": "+err.Error())
		e.Err = err
		return nil, e
	}
	return key, nil
}

// textOf returns the text of a JSON string in a slice of its own. A key and a
// newline, which `vault kv put key=@FILE` leaves, do not become a Go string on
// the way, because that could not be wiped.
func textOf(value json.RawMessage) ([]byte, bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	inside := value[1 : len(value)-1]
	inside, newline := bytes.CutSuffix(inside, []byte(`\n`))
	if !bytes.ContainsRune(inside, '\\') {
		text := append(make([]byte, 0, len(inside)+1), inside...)
		if newline {
			text = append(text, '\n')
		}
		return text, true
	}
	var s string
	err := json.Unmarshal(value, &s)
	return []byte(s), err == nil
}

func fieldNames(fields map[string]json.RawMessage) string {
	if len(fields) == 0 {
		return "it has none"
	}
	names := slices.Sorted(maps.Keys(fields))
	for i, name := range names {
		names[i] = strconv.Quote(clean(name))
	}
	if len(names) > mostNames {
		names = append(names[:mostNames], "…")
	}
	return "it has " + strings.Join(names, ", ")
}
