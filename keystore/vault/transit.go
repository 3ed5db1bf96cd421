package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TransitSlot is the type of the slots that Transit makes.
const TransitSlot = "transit"

// Transit is a key of the transit secrets engine of Vault or OpenBao, which encrypts
// and decrypts there and gives no key out: what wraps data keys never reaches this
// host. It makes slots of type "transit" (docs/FORMAT.md) and opens them; their
// ciphertext is bound to the backup's id as associated data, which keys of types
// aes128-gcm96, aes256-gcm96, chacha20-poly1305 and xchacha20-poly1305 take that are
// not derived. Environment and time are those of the package. It is safe for
// concurrent use.
//
// Source: https://developer.hashicorp.com/vault/api-docs/secret/transit
type Transit struct {
	conn       *connection
	mount, key string
}

var (
	_ slot.Named    = (*Transit)(nil)
	_ slot.Rotating = (*Transit)(nil)
)

const transitForm = "transit:MOUNT/KEY"

// ParseTransit reads what is behind "transit:", MOUNT/KEY. It uses no network,
// and its errors do not repeat what it was given.
func ParseTransit(rest string, opts Options) (*Transit, error) {
	i := strings.LastIndexByte(rest, '/')
	parts := strings.Split(rest, "/")
	bad := func(part string) bool { return part == "" || part == "." || part == ".." || !printable(part) }
	switch {
	case redact.HasKey(rest):
		return nil, errors.New("a part of it looks like a key itself; others may have seen it by now, so make a new key")
	case i < 0 || bad(parts[0]) || len(rest) > 512:
		return nil, errors.New("want " + transitForm)
	}
	for _, part := range parts {
		if bad(part) || strings.ContainsAny(part, "#@?%") {
			return nil, errors.New("the mount and the key are names parted by single slashes, none of them empty, . or ..: want " + transitForm)
		}
	}
	return &Transit{newConnection(opts), rest[:i], rest[i+1:]}, nil
}

// String is the URI.
func (t *Transit) String() string { return "transit:" + t.mount + "/" + t.key }

// Holder names the key's slots.
func (t *Transit) Holder() slot.Holder {
	parts := strings.Split(t.mount+"/"+t.key, "/")
	for i, part := range parts {
		parts[i] = envelope.EncodeName(part)
	}
	return slot.Holder{Type: TransitSlot, Name: strings.Join(parts, "/")}
}

// Recipient returns the key as one that only seals, for hosts that may not decrypt.
func (t *Transit) Recipient() slot.Recipient { return sealing{t} }

type sealing struct{ t *Transit }

func (s sealing) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	return s.t.Wrap(ctx, id, dataKey)
}
func (s sealing) Holder() slot.Holder               { return s.t.Holder() }
func (s sealing) Outdated(old, than slot.Slot) bool { return s.t.Outdated(old, than) }

// ciphertext is what the engine writes: the version of the key, and base64.
var ciphertext = regexp.MustCompile(`^vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}$`)

func versionOf(text string) int {
	n := 0
	if m := ciphertext.FindStringSubmatch(text); m != nil {
		n, _ = strconv.Atoi(m[1]) // of at most 9 digits
	}
	return n
}

// Outdated implements slot.Rotating.
func (t *Transit) Outdated(s, than slot.Slot) bool {
	return len(s.Args) == 2 && len(than.Args) == 2 && versionOf(s.Args[1]) < versionOf(than.Args[1])
}

type message struct {
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
	Bound      []byte `json:"associated_data"`
}

// Wrap implements slot.Recipient: the key's newest version encrypts the data key. The
// errors are *keystore.Error, or ctx's own.
func (t *Transit) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	var answer struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	err := t.call(ctx, "encrypt", message{Plaintext: dataKey, Bound: slot.Label(TransitSlot, id)}, &answer)
	if err == nil && versionOf(answer.Data.Ciphertext) == 0 {
		err = t.unexpected()
	}
	if err != nil {
		return slot.Slot{}, err
	}
	return slot.Slot{Type: TransitSlot, Args: []string{t.Holder().Name, answer.Data.Ciphertext}}, nil
}

// Unwrap implements slot.Identity. Besides slot.ErrNotMine and slot.ErrDamaged the
// errors are those of Wrap.
func (t *Transit) Unwrap(ctx context.Context, id slot.ID, s slot.Slot) ([]byte, error) {
	if s.Type != TransitSlot || len(s.Args) != 2 || s.Holder() != t.Holder() {
		return nil, slot.ErrNotMine
	}
	if versionOf(s.Args[1]) == 0 {
		return nil, slot.ErrDamaged
	}
	var answer struct {
		Data struct {
			Plaintext []byte `json:"plaintext"`
		} `json:"data"`
	}
	err := t.call(ctx, "decrypt", message{Ciphertext: s.Args[1], Bound: slot.Label(TransitSlot, id)}, &answer)
	if err != nil {
		clear(answer.Data.Plaintext)
		return nil, err
	}
	return answer.Data.Plaintext, nil
}

func (t *Transit) path(action string) string { return t.mount + "/" + action + "/" + t.key }

// call sends a request to the key, and reads the answer into out.
func (t *Transit) call(ctx context.Context, action string, in message, out any) error {
	var damaged error // which is not a failure of Vault's
	err := t.conn.do(ctx, t.String(), func(ctx context.Context) error {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		defer clear(body)
		resp, err := t.conn.client.Logical().WriteRawWithContext(ctx, t.path(action), body)
		if resp != nil && resp.Response != nil {
			defer resp.Body.Close()
		}
		var text []byte
		if err == nil {
			text, err = readAll(resp.Body)
			defer clear(text)
		}
		if err != nil {
			if err = t.explain(action, in, err); errors.Is(err, slot.ErrDamaged) {
				damaged, err = err, nil
			}
			return err
		}
		if json.Unmarshal(text, out) != nil {
			return t.unexpected()
		}
		return nil
	})
	if err == nil {
		err = damaged
	}
	return err
}

func (t *Transit) unexpected() error {
	return t.refuse("what answers at VAULT_ADDR does not answer as the transit engine does", "check VAULT_ADDR and the mount")
}

func (t *Transit) refuse(reason, fix string) *keystore.Error {
	return &keystore.Error{URI: t.String(), Kind: keystore.ErrRefused, Reason: reason, Fix: fix}
}

// explain says why the engine refuses. An answer of 403 or of trouble keeps being one
// to be told apart by do.
func (t *Transit) explain(action string, in message, err error) error {
	answer := (*api.ResponseError)(nil)
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusBadRequest && answer.StatusCode != http.StatusNotFound {
		return explain(t.String(), err, `"update"`, t.path(action))
	}
	words := said(answer)
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(words, part) {
				return true
			}
		}
		return false
	}
	key := shellWord(t.mount + "/keys/" + t.key)
	switch {
	case has("key derivation", "derived key"):
		return t.refuse("the key is derived (derived=true): each use of it wants a context, for which a slot has no room", "use another key: vault write -f "+shellWord(t.mount+"/keys/NAME"))
	case has("too old", "disallowed by policy"):
		return t.refuse(fmt.Sprintf("the key's minimum decryption version is above version %d, which wrapped this backup's data key", versionOf(in.Ciphertext)),
			fmt.Sprintf("vault write %s/config min_decryption_version=%d, then rewrap the backups before it is raised again", key, versionOf(in.Ciphertext)))
	case has("associated_data", "not supported for key type"):
		return t.refuse("the key's type takes no associated data: "+words, "use a key of type aes256-gcm96: vault write -f "+shellWord(t.mount+"/keys/NAME"))
	case has("key not found", "no existing key", "no such key"):
		e := t.refuse("there is no key "+t.key+" in "+t.mount, "check the name: vault list "+shellWord(t.mount+"/keys")+"; or make it: vault write -f "+key)
		e.Kind = keystore.ErrNotFound
		return e
	case answer.StatusCode == http.StatusNotFound:
		e := t.refuse("there is no transit engine at "+t.mount, "compare the mount with vault secrets list; or vault secrets enable -path="+shellWord(t.mount)+" transit")
		e.Kind = keystore.ErrNotFound
		return e
	case action == "decrypt" && has("authentication failed", "invalid ciphertext", "no such key version"):
		return fmt.Errorf("%w; or the key is another Vault's than that at %s", slot.ErrDamaged, serverName())
	}
	return explain(t.String(), err, `"update"`, t.path(action))
}
