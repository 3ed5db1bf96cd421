package netsafe_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

func TestCheck(t *testing.T) {
	for address, allowed := range map[string]bool{
		"https://vault.example":        true,
		"https://192.0.2.1:8200":       true,
		"http://localhost":             true,
		"http://LocalHost:8200":        true,
		"http://127.0.0.1:8200":        true,
		"http://127.255.0.9":           true,
		"http://[::1]:8200":            true,
		"http://[::ffff:127.0.0.1]":    true,
		"http://vault.example":         false,
		"http://localhost.example":     false,
		"http://127.0.0.1.example":     false,
		"http://127.0.0.1@example.com": false,
		"http://0.0.0.0":               false,
		"http://[::]":                  false,
		"http://[::ffff:192.0.2.1]":    false,
		"http://192.0.2.1":             false,
		"http://169.254.169.254":       false,
		"http:///path":                 false,
		"ws://vault.example":           false,
		"//vault.example":              false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		err = netsafe.Check(u)
		if allowed && err != nil || !allowed && !errors.Is(err, netsafe.ErrPlain) {
			t.Errorf("%s: got %v, want allowed: %v", address, err, allowed)
		}
	}
}

// recorder counts what would be sent.
type recorder struct{ sent int }

func (r *recorder) RoundTrip(*http.Request) (*http.Response, error) {
	r.sent++
	return nil, errors.New("sent")
}

type body struct {
	*strings.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

func TestNothingIsSent(t *testing.T) {
	base, content := &recorder{}, &body{Reader: strings.NewReader("secret")}
	r, err := http.NewRequest(http.MethodPost, "http://user:password@vault.example/v1", content)
	if err != nil {
		t.Fatal(err)
	}
	_, err = netsafe.Transport(base).RoundTrip(r)
	if !errors.Is(err, netsafe.ErrPlain) || base.sent != 0 {
		t.Errorf("got %v, and %d requests were sent", err, base.sent)
	}
	if !content.closed || content.Len() != len("secret") {
		t.Error("the body was read, or not closed")
	}
	if strings.Contains(err.Error(), "password") {
		t.Errorf("the error repeats a password: %v", err)
	}
}

func TestRedirectToPlain(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://vault.example/", http.StatusTemporaryRedirect))
	defer server.Close()
	client := &http.Client{Transport: netsafe.Transport(nil)}
	_, err := client.Get(server.URL)
	if !errors.Is(err, netsafe.ErrPlain) {
		t.Errorf("a redirect to plain http: got %v", err)
	}
}
