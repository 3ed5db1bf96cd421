package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// enableTransit mounts a transit engine.
func (v *site) enableTransit(t *testing.T) (mount string) {
	t.Helper()
	mount = unique("transit")
	v.write(t, "sys/mounts/"+mount, `{"type":"transit"}`)
	t.Cleanup(func() { v.admin.Delete("sys/mounts/" + mount) })
	return mount
}

func transit(t *testing.T, rest string) *Transit {
	t.Helper()
	k, err := ParseTransit(rest, Options{})
	if err != nil {
		t.Fatal(err)
	}
	k.conn.pause, k.conn.longer = time.Millisecond, time.Millisecond
	return k
}

func wraps(t *testing.T, r slot.Recipient, id slot.ID) (slot.Slot, []byte) {
	t.Helper()
	dataKey := make([]byte, slot.DataKeySize)
	rand.Read(dataKey)
	s, err := r.Wrap(t.Context(), id, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s, dataKey
}

func unwraps(t *testing.T, k *Transit, id slot.ID, s slot.Slot, want []byte) {
	t.Helper()
	if got, err := k.Unwrap(t.Context(), id, s); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v unwraps to %x, %v", s, got, err)
	}
}

func testTransit(t *testing.T, v *site) {
	mount := v.enableTransit(t)
	v.write(t, mount+"/keys/backup", `{}`)
	k := transit(t, mount+"/backup")
	s, dataKey := wraps(t, k, slot.ID{1})
	if s.Type != "transit" || s.Args[0] != mount+"/backup" || !strings.HasPrefix(s.Args[1], "vault:v1:") || s.Holder() != k.Holder() {
		t.Errorf("the slot is %v", s)
	}
	unwraps(t, k, slot.ID{1}, s, dataKey)

	if _, err := k.Unwrap(t.Context(), slot.ID{2}, s); !errors.Is(err, slot.ErrDamaged) {
		t.Errorf("of another backup: %v", err)
	}
	changed := []byte(s.Args[1])
	changed[len(changed)-8] ^= 1
	for name, text := range map[string]string{"changed": string(changed), "of a version to come": "vault:v9:" + s.Args[1][9:], "no ciphertext": "hello", "no version": "vault:v0:AAAA"} {
		if _, err := k.Unwrap(t.Context(), slot.ID{1}, slot.Slot{Type: "transit", Args: []string{s.Args[0], text}}); !errors.Is(err, slot.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, other := range []slot.Slot{{Type: "key", Args: s.Args}, {Type: "transit", Args: []string{mount + "/other", s.Args[1]}}, {Type: "transit", Args: s.Args[:1]}} {
		if _, err := k.Unwrap(t.Context(), slot.ID{1}, other); !errors.Is(err, slot.ErrNotMine) {
			t.Errorf("%v: %v", other, err)
		}
	}

	// A whole backup, for the key and another holder.
	key := kek.Generate()
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &sealed, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, k.Recipient(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, identity := range []envelope.Identity{k, key} {
		if _, err := envelope.Open(t.Context(), bytes.NewReader(sealed.Bytes()), envelope.Options{}, identity); err != nil {
			t.Errorf("%T does not open: %v", identity, err)
		}
	}
}

// testTransitRotated: what an older version wrapped opens, rewrap follows the newest,
// and the minimum decryption version is named when it is what is in the way.
func testTransitRotated(t *testing.T, v *site) {
	mount := v.enableTransit(t)
	v.write(t, mount+"/keys/backup", `{}`)
	k := transit(t, mount+"/backup")
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &sealed, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rewrap := func() *envelope.Rewrapped {
		t.Helper()
		src := bytes.NewReader(sealed.Bytes())
		r, err := envelope.Rewrap(t.Context(), src, src.Size(), envelope.Options{Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
			return []envelope.Identity{k}, nil
		}}, envelope.RewrapOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := rewrap(); !r.Current {
		t.Error("nothing was rotated, and the slot is said to be outdated")
	}
	v.write(t, mount+"/keys/backup/rotate", `{}`)
	r := rewrap()
	if r.Current || !strings.HasPrefix(r.New.Slots[0].Args[1], "vault:v2:") {
		t.Errorf("after a rotation: current %v, slot %v", r.Current, r.New.Slots[0])
	}
	old := w.Envelope().Slots[0]
	if _, err := k.Unwrap(t.Context(), w.Envelope().ID, old); err != nil {
		t.Errorf("the older version: %v", err)
	}
	v.write(t, mount+"/keys/backup/config", `{"min_decryption_version":2}`)
	_, err = k.Unwrap(t.Context(), w.Envelope().ID, old)
	refused(t, err, keystore.ErrRefused, "minimum decryption version is above version 1", "min_decryption_version=1", "rewrap")
	if _, err := k.Unwrap(t.Context(), w.Envelope().ID, r.New.Slots[0]); err != nil {
		t.Errorf("the newest version: %v", err)
	}
}

func testTransitRefused(t *testing.T, v *site) {
	mount := v.enableTransit(t)
	v.write(t, mount+"/keys/derived", `{"derived":true}`)
	v.write(t, mount+"/keys/rsa", `{"type":"rsa-2048"}`)
	for key, want := range map[string]struct {
		kind  error
		words []string
	}{
		mount + "/derived": {keystore.ErrRefused, []string{"derived=true", "no room"}},
		mount + "/rsa":     {keystore.ErrRefused, []string{"takes no associated data", "aes256-gcm96"}},
		unique("x") + "/k": {keystore.ErrNotFound, []string{"no transit engine", "vault secrets enable"}},
	} {
		_, err := transit(t, key).Wrap(t.Context(), slot.ID{}, make([]byte, slot.DataKeySize))
		refused(t, err, want.kind, want.words...)
	}
	v.write(t, mount+"/keys/backup", `{}`)
	s, _ := wraps(t, transit(t, mount+"/backup"), slot.ID{1})
	s.Args[0] = mount + "/absent"
	_, err := transit(t, mount+"/absent").Unwrap(t.Context(), slot.ID{1}, s)
	refused(t, err, keystore.ErrNotFound, "no key absent", "vault write -f "+mount+"/keys/absent")
}

// testTransitPolicies: the policies of docs/KEYS.md do, and no less.
func testTransitPolicies(t *testing.T, v *site) {
	mount := v.enableTransit(t)
	v.write(t, mount+"/keys/backup", `{}`)
	token := func(action string) string {
		name := unique("policy")
		rule, err := json.Marshal(fmt.Sprintf("path %q {\n  capabilities = [\"update\"]\n}", mount+"/"+action+"/backup"))
		if err != nil {
			t.Fatal(err)
		}
		v.write(t, "sys/policies/acl/"+name, `{"policy":`+string(rule)+`}`)
		t.Cleanup(func() { v.admin.Delete("sys/policies/acl/" + name) })
		return v.write(t, "auth/token/create", `{"policies":["`+name+`"],"ttl":"10m"}`).Auth.ClientToken
	}
	v.environment(t, token("encrypt"))
	host := transit(t, mount+"/backup")
	s, dataKey := wraps(t, host.Recipient(), slot.ID{1})
	_, err := host.Unwrap(t.Context(), slot.ID{1}, s)
	refused(t, err, keystore.ErrRefused, "denies", `path "`+mount+`/decrypt/backup" { capabilities = ["update"] }`)

	v.environment(t, token("decrypt"))
	restorer := transit(t, mount+"/backup")
	unwraps(t, restorer, slot.ID{1}, s, dataKey)
	_, err = restorer.Wrap(t.Context(), slot.ID{1}, dataKey)
	refused(t, err, keystore.ErrRefused, "denies", `path "`+mount+`/encrypt/backup"`)
}

// TestTransitWire: exactly what is asked for, and what becomes of answers that are
// none, or come late.
func TestTransitWire(t *testing.T) {
	f := newFake(t)
	v := newSite(t, f.URL, "root")
	v.environment(t, "root")
	mount := v.enableTransit(t)
	v.write(t, mount+"/keys/backup", `{}`)
	k := transit(t, mount+"/backup")
	wraps(t, k, slot.ID{}) // the login is done
	answers := func(with func(w http.ResponseWriter, r *http.Request) bool) {
		f.intercept(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/encrypt/") && with(w, r)
		}, nil)
	}
	var request string
	answers(func(w http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		request = r.URL.Path + " " + string(body)
		reply(w, http.StatusOK, answer{"data": answer{"ciphertext": "vault:v7:AAAA"}})
		return true
	})
	s, err := k.Wrap(t.Context(), slot.ID{1}, bytes.Repeat([]byte{7}, 32))
	if err != nil || s.Args[1] != "vault:v7:AAAA" {
		t.Errorf("%v, %v", s, err)
	}
	want := `/v1/` + mount + `/encrypt/backup {"plaintext":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","associated_data":"dGFrdW1pLWJhY2t1cC92MSBzbG90IHRyYW5zaXQAAQAAAAAAAAAAAAAAAAAAAA=="}`
	if request != want {
		t.Errorf("the request is\n%s, want\n%s", request, want)
	}
	for _, text := range []string{"vault:v1:with space", "v1:AAAA", "", "vault:v1:AAAA\nslot key x"} {
		answers(func(w http.ResponseWriter, r *http.Request) bool {
			reply(w, http.StatusOK, answer{"data": answer{"ciphertext": text}})
			return true
		})
		_, err := k.Wrap(t.Context(), slot.ID{1}, make([]byte, 32))
		refused(t, err, keystore.ErrRefused, "does not answer as the transit engine does")
	}
	tries := 0
	answers(func(w http.ResponseWriter, r *http.Request) bool {
		if tries++; tries < 3 {
			problem(w, http.StatusTooManyRequests, "request path: rate limit quota exceeded")
			return true
		}
		return false
	})
	if _, err := k.Wrap(t.Context(), slot.ID{1}, make([]byte, 32)); err != nil || tries != 3 {
		t.Errorf("throttled twice: %v after %d tries", err, tries)
	}
	answers(func(w http.ResponseWriter, r *http.Request) bool {
		problem(w, http.StatusServiceUnavailable, "Vault is sealed")
		return true
	})
	_, err = k.Wrap(t.Context(), slot.ID{1}, make([]byte, 32))
	refused(t, err, keystore.ErrUnreachable, "Vault is sealed", "vault operator unseal")
}

func TestParseTransit(t *testing.T) {
	for _, bad := range []string{"", "k", "/k", "m/", "m//k", "m/../k", "m/k#f", "m/k@2", "m/a%2Fb", "m/\x1b", "m/" + strings.Repeat("ab", 32)} {
		if k, err := ParseTransit(bad, Options{}); err == nil {
			t.Errorf("%q is read as %v", bad, k)
		} else if len(bad) > 60 && strings.Contains(err.Error(), bad) {
			t.Errorf("the error repeats what may be a key: %v", err)
		}
	}
	for rest, want := range map[string]string{"transit/backup": "transit transit/backup", "team/a b/k": "transit team/a%20b/k"} {
		if k, err := ParseTransit(rest, Options{}); err != nil || k.Holder().String() != want || k.String() != "transit:"+rest {
			t.Errorf("%q: %v, %v", rest, k, err)
		}
	}
}
