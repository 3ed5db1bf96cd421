package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// server answers 401 without a token or a client's certificate, and says which one it got.
func server(t *testing.T) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch token := r.Header.Get("Authorization"); {
		case token != "":
			fmt.Fprintf(w, `{"by": %q}`, strings.TrimPrefix(token, "Bearer "))
		case len(r.TLS.PeerCertificates) > 0:
			fmt.Fprint(w, `{"by": "certificate"}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// files are an authority, a client's certificate with its key, and tokens, in a folder.
func files(t *testing.T, s *httptest.Server) (dir string) {
	dir = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	for name, text := range map[string]string{
		"ca.pem": block("CERTIFICATE", s.Certificate().Raw), "client.pem": block("CERTIFICATE", cert),
		"client.key": block("PRIVATE KEY", secret), "token": "of a file\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask makes a request with the client of KUBECONFIG, and returns by what the server knew it.
func ask(t *testing.T, list ...string) (string, error) {
	t.Helper()
	t.Setenv("KUBECONFIG", strings.Join(list, string(filepath.ListSeparator)))
	c, err := New(true)
	if err != nil {
		return "", err
	}
	c.pause = time.Millisecond
	var answer struct{ By string }
	err = c.Do(t.Context(), http.MethodGet, "/api", nil, &answer)
	return answer.By, err
}

const form = `{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "alice"}}],
"clusters": [{"name": "k", "cluster": {"server": %q, "certificate-authority": "ca.pem"}}], "users": [{"name": "alice", "user": {%s}}]}`

func TestKubeconfigsCredentials(t *testing.T) {
	s := server(t)
	dir := files(t, s)
	path := filepath.Join(dir, "config")
	data := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	for user, want := range map[string]string{
		`"client-certificate": "client.pem", "client-key": "client.key"`:                                                    "certificate",
		`"client-certificate": "` + dir + `/client.pem", "client-key-data": "` + data("client.key") + `"`:                   "certificate",
		`"client-certificate-data": "` + data("client.pem") + `", "client-key": "client.key"`:                               "certificate",
		`"client-certificate-data": "` + data("client.pem") + `", "client-certificate": "gone", "client-key": "client.key"`: "certificate",
		`"tokenFile": "token"`: "of a file", `"token": "a token"`: "a token", `"token": "a token", "tokenFile": "token"`: "of a file",
	} {
		put(t, path, fmt.Sprintf(form, s.URL, user))
		if got, err := ask(t, path); err != nil || got != want {
			t.Errorf("%.60s: %q, %v", user, got, err)
		}
	}
	for user, want := range map[string]string{
		``:                           "user alice of " + path + " has no credentials that this program reads",
		`"exec": {"command": "aws"}`: "user alice of " + path + " has no credentials that this program reads",
		`"auth-provider": {"name": "oidc"}, "username": "alice", "password": "canary"`: "has no credentials that this program reads",
		`"client-certificate": "client.pem", "client-key": "gone"`:                     "gone: no such file",
		`"client-certificate": "client.pem"`:                                           "the client certificate of user alice",
		`"client-certificate-data": "canary"`:                                          "is not a kubeconfig",
	} {
		put(t, path, fmt.Sprintf(form, s.URL, user))
		_, err := ask(t, path)
		if class, hint := fail.Of(err); err == nil || class != fail.Usage || hint == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v (%s)", user, err, hint)
		}
	}
	put(t, path, fmt.Sprintf(form, s.URL, `"tokenFile": "gone"`))
	if _, err := ask(t, path); err == nil || !strings.Contains(err.Error(), "gone: no such file") || hintOf(err) != "look at the token's file" {
		t.Errorf("a token's file that is missing: %v (%s)", err, hintOf(err))
	}
}

func hintOf(err error) string {
	_, hint := fail.Of(err)
	return hint
}

// A list is joined: what is missing is left out, and the first definition counts.
func TestKubeconfigLists(t *testing.T) {
	s := server(t)
	dir, other := files(t, s), t.TempDir()
	first, second, gone := filepath.Join(other, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "gone")
	put(t, second, fmt.Sprintf(form, s.URL, `"tokenFile": "token"`))
	for text, want := range map[string]string{
		`{}`: "of a file", `{"current-context": "c"}`: "of a file",
		`{"users": [{"name": "alice", "user": {"token": "of the first"}}]}`:                 "of the first",
		`{"current-context": "c", "contexts": [{"name": "c", "context": {"user": "bob"}}]}`: "",
	} {
		put(t, first, text)
		if got, err := ask(t, gone, "", first, second); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if _, err := ask(t, gone); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is missing: %v", err)
	}
}

// The API server's refusals have different cures.
func TestRefusals(t *testing.T) {
	c := new(Client)
	for status, want := range map[int]string{http.StatusUnauthorized: "expired", http.StatusForbidden: "Role"} {
		if err := c.judge("GET", "/api", status, nil, nil, nil); !strings.Contains(hintOf(err), want) {
			t.Errorf("%d: %v (%s)", status, err, hintOf(err))
		}
	}
}
