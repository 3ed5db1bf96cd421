package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

func openAWS(id string, o Options) (Backend, error) {
	if id == "" {
		s, err := awsSecret("takumi/"+o.Environment, o)
		return awsNames{prefix: "takumi/" + o.Environment + "/", any: s}, err
	}
	s, err := awsSecret(id, o)
	return awsJSON{s, id}, err
}

func awsSecret(id string, o Options) (*awssm.Secret, error) {
	src, err := keystore.Parse("awssm:"+id, awssm.Scheme(awssm.Options{RequireTLS: o.production()}))
	if err != nil {
		return nil, fail.Usagef("the secrets backend: %w", err)
	}
	return src.(*awssm.Secret), nil
}

// awsNames has a secret for each name. The handbook's policy allows GetSecretValue
// alone, so that a batch is several requests at once, and not BatchGetSecretValue.
type awsNames struct {
	prefix string
	any    *awssm.Secret
}

func (b awsNames) String() string { return AWS + " (" + b.prefix + "NAME)" }

func (b awsNames) Fetch(ctx context.Context, names []string) (map[string]string, error) {
	found := make(map[string]string)
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, name := range names {
		group.Go(func() error {
			s, err := b.any.Sibling(b.prefix + name)
			if err != nil {
				return fail.Usagef("the secret's name: %w", err)
			}
			text, _, err := s.ReadText(ctx)
			if err != nil {
				return fault("reading "+b.prefix+name+" from AWS Secrets Manager", err)
			}
			if len(text) > 0 {
				mu.Lock()
				found[name] = string(text)
				mu.Unlock()
			}
			return nil
		})
	}
	return found, group.Wait()
}

// awsJSON is one secret whose value is a JSON object.
type awsJSON struct {
	secret *awssm.Secret
	id     string
}

func (b awsJSON) String() string { return AWS + ":" + b.id }

func (b awsJSON) Fetch(ctx context.Context, names []string) (map[string]string, error) {
	return fetchFrom(ctx, b, names)
}

// awsDocument is what Write needs of what Read saw: the version, and the fields that
// are not text, which stay.
type awsDocument struct {
	version string
	others  map[string]json.RawMessage
}

func (b awsJSON) Read(ctx context.Context) (*Document, error) {
	text, version, err := b.secret.ReadText(ctx)
	return b.decode(text, version, err)
}

func (b awsJSON) Recall(ctx context.Context, version string) (*Document, error) {
	text, version, err := b.secret.ReadVersion(ctx, version)
	return b.decode(text, version, err)
}

func (b awsJSON) decode(text []byte, version string, err error) (*Document, error) {
	if err != nil {
		return nil, fault("reading "+b.String(), err)
	}
	d := &Document{Fields: make(map[string]string)}
	seen := awsDocument{version, make(map[string]json.RawMessage)}
	d.version = seen
	if version == "" {
		return d, nil
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(text, &all) != nil {
		return nil, fail.As(fail.Key, "store a JSON object there, with a field for each name", fmt.Errorf("reading %s: its value is not a JSON object", b))
	}
	for name, raw := range all {
		var value string
		if raw[0] != '"' || json.Unmarshal(raw, &value) != nil { // null would become ""
			seen.others[name] = raw
			continue
		}
		d.Fields[name] = value
	}
	return takeState(d), nil
}

func (b awsJSON) Write(ctx context.Context, d *Document) error {
	seen, ok := d.version.(awsDocument)
	if !ok {
		return errors.New("the document was not read from AWS")
	}
	all := make(map[string]any)
	for name, raw := range seen.others {
		all[name] = raw
	}
	for name, value := range withState(d) {
		all[name] = value
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(all); err != nil {
		return errors.New("the secrets cannot be written as JSON")
	}
	return fault("writing "+b.String(), b.secret.WriteText(ctx, bytes.TrimSpace(text.Bytes()), seen.version))
}
