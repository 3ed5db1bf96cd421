package awssm

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// maxValue is the largest value that Secrets Manager keeps (PutSecretValue).
const maxValue = 64 << 10

// errNoField means that a JSON object has no field of that name.
var errNoField = errors.New("the JSON object has no field of that name")

type held struct {
	id     string
	stages []string
	value  value
}

type value struct {
	text   []byte
	binary bool // it is a SecretBinary
}

func (v value) wipe() { clear(v.text) }

func (s *Secret) get(ctx context.Context, c *session, version string) (*held, error) {
	if version == "" {
		version = stageCurrent
	}
	in := &secretsmanager.GetSecretValueInput{SecretId: &s.id}
	if isID(version) {
		in.VersionId = &version
	} else {
		in.VersionStage = &version
	}
	out, err := c.api.GetSecretValue(ctx, in)
	if err != nil {
		return nil, s.fault(ctx, c, "GetSecretValue", err)
	}
	h := &held{stages: out.VersionStages, value: value{text: out.SecretBinary, binary: true}}
	if out.VersionId != nil {
		h.id = *out.VersionId
	}
	if out.SecretString != nil {
		h.value = value{text: []byte(*out.SecretString)}
	}
	return h, nil
}

func (s *Secret) keyOf(h *held) (*kek.Key, error) {
	key, err := h.value.key(s.field)
	switch {
	case errors.Is(err, errNoField):
		return nil, &keystore.Error{
			URI: s.String(), Kind: keystore.ErrNotFound, Reason: err.Error(), Err: err,
			Fix: "check the name behind the #; capital and small letters differ",
		}
	case err != nil:
		return nil, &keystore.Error{URI: s.String(), Kind: keystore.ErrRefused, Reason: err.Error()}
	}
	return key, nil
}

// key parses the key in a value. Errors do not repeat the value.
func (v value) key(field string) (*kek.Key, error) {
	switch {
	case len(v.text) == 0:
		return nil, errors.New("the secret's value is empty")
	case len(v.text) > maxValue:
		return nil, fmt.Errorf("the secret's value has more than %d bytes", maxValue)
	case field == "" && v.binary && len(v.text) == kek.Size:
		return keystore.FromBytes(v.text)
	case field == "":
		key, err := keystore.ParseText(v.text)
		if err != nil && bytes.HasPrefix(bytes.TrimSpace(v.text), []byte("{")) {
			return nil, errors.New("the secret's value seems to be a JSON object: name the field that holds the key, as awssm:SECRET-ID#field")
		}
		return key, err
	}
	place, err := find(v.text, field)
	if err != nil {
		return nil, err
	}
	if place.value == nil {
		return nil, errNoField
	}
	var digits string
	if place.value[0] != '"' || json.Unmarshal(place.value, &digits) != nil {
		return nil, errors.New("the JSON field is not a string")
	}
	text := []byte(digits)
	defer clear(text)
	key, err := keystore.ParseText(text)
	if err != nil {
		return nil, fmt.Errorf("the JSON field does not hold a key: %w", err)
	}
	return key, nil
}

// with returns the value with another key in it, in the same form.
func (v value) with(field string, key *kek.Key) (value, error) {
	digits := hex.AppendEncode(nil, key.Bytes())
	defer clear(digits)
	switch {
	case field == "" && v.binary && len(v.text) == kek.Size:
		return value{text: bytes.Clone(key.Bytes()), binary: true}, nil
	case field == "":
		return value{text: bytes.Clone(digits), binary: v.binary}, nil
	case len(v.text) == 0:
		v.text = []byte("{}")
	}
	place, err := find(v.text, field)
	if err != nil {
		return value{}, err
	}
	fresh := make([]byte, 0, len(v.text)+len(field)*6+len(digits)+8) // never grows, so no copy is left
	fresh = append(fresh, v.text[:place.at]...)
	if place.value == nil {
		name, err := json.Marshal(field)
		if err != nil {
			return value{}, errors.New("the name of the JSON field cannot be written")
		}
		if !place.first {
			fresh = append(fresh, ',')
		}
		fresh = append(append(fresh, name...), ':')
	}
	fresh = append(append(append(fresh, '"'), digits...), '"')
	fresh = append(fresh, v.text[place.at+len(place.value):]...)
	if len(fresh) > maxValue {
		clear(fresh)
		return value{}, fmt.Errorf("with the new key the secret's value would have more than %d bytes", maxValue)
	}
	return value{text: fresh, binary: v.binary}, nil
}

// place is where a field is in a JSON object: its value, or nil and the place of the
// closing brace.
type place struct {
	at    int
	value []byte
	first bool // the object has no fields
}

// find looks for a field at the top of a JSON object. A repeated field, or anything but one
// object, is refused.
func find(text []byte, field string) (place, error) {
	notObject := errors.New("the secret's value is not a JSON object, of which a field could be the key")
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return place{}, notObject
	}
	found := place{first: true}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return place{}, notObject
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return place{}, notObject
		}
		end := int(d.InputOffset())
		clear(raw)
		found.first = false
		if name != field {
			continue
		}
		if found.value != nil {
			return place{}, errors.New("the JSON object has that field twice")
		}
		found.at, found.value = end-len(raw), text[end-len(raw):end]
	}
	if _, err := d.Token(); err != nil {
		return place{}, notObject
	}
	if found.value == nil {
		found.at = int(d.InputOffset()) - 1
	}
	if _, err := d.Token(); err != io.EOF {
		return place{}, notObject
	}
	return found, nil
}
