package vectors

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/keystore/awskms"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
)

// stub is a KMS and a transit engine with one key.
func stub(t *testing.T, k key) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			CiphertextBlob    []byte
			EncryptionContext map[string]string
			Ciphertext        string
			AssociatedData    []byte `json:"associated_data"`
		}
		json.NewDecoder(r.Body).Decode(&in)
		open := func(sealed, context []byte) []byte {
			plain, err := must(cipher.NewGCM(must(aes.NewCipher(k)))).Open(nil, sealed[:12], sealed[12:], context)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
			return plain
		}
		answer := map[string]any{"__type": "InvalidCiphertextException", "errors": []string{"cipher: message authentication failed"}}
		switch {
		case r.Header.Get("X-Amz-Target") == "TrentService.Decrypt":
			answer["Plaintext"] = open(in.CiphertextBlob, kmsContext(in.EncryptionContext["id"]))
		case r.URL.Path == "/v1/transit/decrypt/backup":
			text, _ := strings.CutPrefix(in.Ciphertext, "vault:v3:")
			answer["data"] = map[string]any{"plaintext": open(must(base64.StdEncoding.DecodeString(text)), in.AssociatedData)}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestVectorsOfServices opens by the slots of KMS and transit alone.
func TestVectorsOfServices(t *testing.T) {
	all, err := published()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, v := range all {
		if v.service == nil {
			continue
		}
		seen++
		at := stub(t, v.service).URL
		for name, value := range map[string]string{
			"VAULT_ADDR": at, "VAULT_TOKEN": "t", "VAULT_NAMESPACE": "", "AWS_ENDPOINT_URL_KMS": at, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
			"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_PROFILE": "",
		} {
			t.Setenv(name, value)
		}
		var identity envelope.Identity = must(vault.ParseTransit(transitKey, vault.Options{}))
		if strings.HasPrefix(v.name, "slot-awskms") {
			identity = must(awskms.Parse(kmsKey, awskms.Options{})).Identity()
		}
		var got []byte
		r, err := envelope.Open(t.Context(), bytes.NewReader(v.file), envelope.Options{}, identity)
		if err == nil {
			got, err = io.ReadAll(r)
		}
		want, released := cmp.Or(v.serviceExpect, opens), v.released
		if want != opens {
			released = digestOf(nil)
		}
		if class(err) != want || digestOf(got) != released {
			t.Errorf("%s: %v, %d bytes; want %s", v.name, err, len(got), want)
		}
	}
	if seen < 4 {
		t.Errorf("%d vectors have a service", seen)
	}
}
