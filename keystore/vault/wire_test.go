package vault

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// wire is a fake with one key in it, and the environment that leads there.
func wire(t *testing.T) (*fake, *kek.Key) {
	t.Helper()
	f := newFake(t)
	(&site{addr: f.URL}).environment(t, "root")
	return f, stores(t, source(t, "secret/key"), "")
}

// answers makes a fake answer requests for a path, times times or, for -1, for ever.
func answers(f *fake, path string, times, status int, body string) {
	var mu sync.Mutex
	f.intercept(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(r.URL.Path, path) || times == 0 {
			return false
		}
		times--
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}, nil)
}

// What comes back later is asked for again, with a limit.
func TestAskedAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		tries  int // of one that lasts
		kind   error
		word   string
	}{
		{"throttled", 429, `{"errors":["rate limit quota exceeded"]}`, 4, keystore.ErrUnreachable, "(429): rate limit quota exceeded"},
		{"behind", 412, `{"errors":["required index state not present"]}`, 4, keystore.ErrUnreachable, "caught up"},
		{"broken", 500, `{"errors":["internal error"]}`, 4, keystore.ErrUnreachable, "(500): internal error"},
		{"proxy", 502, `<html><h1>Bad Gateway</h1></html>`, 4, keystore.ErrUnreachable, "(502): it does not say why"},
		{"busy", 503, `{"errors":["overloaded, try again later"]}`, 4, keystore.ErrUnreachable, "(503): overloaded"},
		{"sealed", 503, `{"errors":["Vault is sealed"]}`, 1, keystore.ErrUnreachable, "vault operator unseal"},
		{"denied", 403, `{"errors":["permission denied"]}`, 1, keystore.ErrRefused, "secret/data/key"},
		{"absent", 404, `{"errors":[]}`, 1, keystore.ErrNotFound, "no secret key"},
		{"wrong", 400, `{"errors":["what is this"]}`, 1, keystore.ErrRefused, "(400): what is this"},
		{"new mount", 400, `{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}`, 1, keystore.ErrUnreachable, "not ready yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, key := wire(t)
			s := source(t, "secret/key")
			if c.tries > 1 {
				answers(f, "/data/", c.tries-1, c.status, c.body)
				loads(t, s, key)
			}
			seen := f.counted("^GET .*/data/")
			answers(f, "/data/", -1, c.status, c.body)
			loadRefused(t, s, c.kind, c.word)
			if got := f.counted("^GET .*/data/") - seen; got != c.tries {
				t.Errorf("%d tries, want %d", got, c.tries)
			}
		})
	}
}

func TestAgain(t *testing.T) {
	for err, want := range map[error]bool{
		fmt.Errorf("x: %w", netsafe.ErrPlain):         false,
		fmt.Errorf("x: %w", http.ErrSchemeMismatch):   false,
		&net.OpError{Op: "remote error", Err: io.EOF}: false,
		&net.OpError{Op: "dial", Err: io.EOF}:         true,
		io.ErrUnexpectedEOF:                           true,
	} {
		if got, _ := again(t.Context(), nil, err); got != want {
			t.Errorf("%v: tried again: %v, want %v", err, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	c := newConnection(Options{})
	later := &http.Response{Header: http.Header{"Retry-After": {"3600"}}}
	for tries := range 12 {
		got, longest := c.backoff(0, 0, tries, nil), min(c.pause<<tries, c.longer)
		if got < longest/2 || got > longest {
			t.Errorf("pause %d is %v, want between %v and %v", tries, got, longest/2, longest)
		}
		if got := c.backoff(0, 0, tries, later); got != c.longer {
			t.Errorf("asked for an hour, pause %d is %v, want %v", tries, got, c.longer)
		}
	}
}

func TestOddAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		body, word string
	}{
		"huge":                {`{"data":"` + strings.Repeat("x", maxAnswer) + `"}`, "larger than 1 MiB"},
		"no JSON":             {`<html>`, "does not answer as Vault does"},
		"a list":              {`[]`, "does not answer as Vault does"},
		"empty":               {``, "does not answer as Vault does"},
		"no data":             {`{}`, "not version 2"},
		"data of another":     {`{"data":{"data":7,"metadata":{}}}`, "does not answer as Vault does"},
		"metadata of another": {`{"data":{"data":{},"metadata":[]}}`, "does not answer as Vault does"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := wire(t)
			answers(f, "/data/", -1, 200, c.body)
			loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, c.word)
		})
	}
	t.Run("huge error", func(t *testing.T) {
		f, _ := wire(t)
		answers(f, "/data/", -1, 400, strings.Repeat("x", maxAnswer+1))
		loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, "larger than 1 MiB")
	})
	for name, body := range map[string]string{"versions of another kind": `{"data":{"versions":"x"}}`, "no versions": `{"data":{}}`} {
		t.Run(name, func(t *testing.T) {
			f, _ := wire(t)
			answers(f, "/metadata/", -1, 200, body)
			_, err := source(t, "secret/key").Versions(t.Context())
			refused(t, err, keystore.ErrRefused, "does not answer as Vault does")
		})
	}
}

// slow makes a fake keep requests for secrets waiting until the test is over.
func slow(t *testing.T, f *fake, beginning string) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	f.intercept(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if beginning != "" {
			io.WriteString(w, beginning)
			w.(http.Flusher).Flush()
		}
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return true
	}, nil)
}

func TestSlow(t *testing.T) {
	for name, beginning := range map[string]string{"silent": "", "stuck in the middle": `{"data":{`} {
		t.Run(name, func(t *testing.T) {
			f, _ := wire(t)
			slow(t, f, beginning)
			s := source(t, "secret/key")
			s.conn.attempt = 20 * time.Millisecond
			loadRefused(t, s, keystore.ErrUnreachable, "did not answer in time", f.URL)
		})
		t.Run(name+", in all", func(t *testing.T) {
			f, _ := wire(t)
			slow(t, f, beginning)
			s := source(t, "secret/key")
			s.conn.total = 20 * time.Millisecond
			loadRefused(t, s, keystore.ErrUnreachable, "did not answer in time")
		})
		t.Run(name+", cancelled", func(t *testing.T) {
			f, _ := wire(t)
			slow(t, f, beginning)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := source(t, "secret/key").Load(ctx); err != context.DeadlineExceeded {
				t.Errorf("got %v, want the context's own error", err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	f, _ := wire(t)
	n := f.counted("")
	s := source(t, "secret/key")
	_, loadErr := s.Load(canceled())
	_, versionsErr := s.Versions(canceled())
	for _, err := range []error{loadErr, versionsErr, s.Store(canceled(), kek.Generate(), "")} {
		if err != context.Canceled {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
	if f.counted("") != n {
		t.Error("requests were sent")
	}
}

func TestHeaders(t *testing.T) {
	f, key := wire(t)
	t.Setenv("VAULT_NAMESPACE", "team/a")
	t.Setenv("VAULT_WRAP_TTL", "60")
	loads(t, source(t, "secret/key"), key)
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.requests[len(f.requests)-1]
	for name, want := range map[string]string{"X-Vault-Namespace": "team/a", "X-Vault-Token": "root", "X-Vault-Request": "true", "X-Vault-Wrap-Ttl": ""} {
		if got := strings.TrimSuffix(last.Header.Get(name), "/"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// A standby may send us to the active node, with what we were about to write.
func TestRedirect(t *testing.T) {
	active, key := wire(t)
	var loops bool
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if loops {
			http.Redirect(w, r, r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, active.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(standby.Close)
	t.Setenv("VAULT_ADDR", standby.URL)
	s := source(t, "secret/key")
	next := stores(t, s, key.ID())
	loads(t, s, next)
	loops = true
	loadRefused(t, s, keystore.ErrUnreachable, "standby", "active node")
}

func TestUnreachable(t *testing.T) {
	wire(t)
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	loadRefused(t, source(t, "secret/key"), keystore.ErrUnreachable, "cannot be reached", "http://127.0.0.1:1", "vault status")
	t.Setenv("VAULT_ADDR", "http://user:hunter2@127.0.0.1:1")
	_, err := source(t, "secret/key").Load(t.Context())
	refused(t, err, keystore.ErrUnreachable, " http://127.0.0.1:1 ")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %q holds a password", err)
	}
}

func TestLoginOnce(t *testing.T) {
	f, key := wire(t)
	const jwt = "eyJ.account"
	f.vouch(jwt)
	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("VAULT_K8S_ROLE", "backup")
	t.Setenv("VAULT_K8S_TOKEN_PATH", tokenFile(t, jwt+"\n", 0o644))
	s := source(t, "secret/key")
	load := func() {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				got, err := s.Load(t.Context())
				if err != nil || got.ID() != key.ID() {
					t.Error(got, err)
				}
			})
		}
		wg.Wait()
	}
	load()
	if n := f.counted("PUT /v1/auth/kubernetes/login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	// Near the end of the lease the token is renewed, and after it replaced.
	ahead := func(d time.Duration) {
		f.mu.Lock()
		f.ahead = d
		f.mu.Unlock()
		s.conn.now = func() time.Time { return time.Now().Add(d) }
	}
	ahead(50 * time.Minute)
	load()
	if n := f.counted("renew-self"); n != 1 {
		t.Errorf("%d renewals, want 1", n)
	}
	ahead(3 * time.Hour)
	load()
	if n := f.counted("PUT /v1/auth/kubernetes/login"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

func TestKubernetesRefused(t *testing.T) {
	f, _ := wire(t)
	const jwt = "eyJ.account"
	f.vouch(jwt)
	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("VAULT_K8S_ROLE", "other")
	t.Setenv("VAULT_K8S_TOKEN_PATH", tokenFile(t, jwt, 0o600))
	loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, "login by Kubernetes failed", "VAULT_K8S_ROLE")
	answers(f, "/login", -1, 503, `{"errors":["Vault is sealed"]}`)
	loadRefused(t, source(t, "secret/key"), keystore.ErrUnreachable, "login by Kubernetes failed", "sealed")
	t.Setenv("VAULT_K8S_TOKEN_PATH", "/nowhere/token")
	loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, "service account", "VAULT_K8S_TOKEN_PATH")
	t.Setenv("VAULT_K8S_TOKEN_PATH", tokenFile(t, strings.Repeat("x", maxTokenFile+1), 0o600))
	loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, "too large")
	t.Setenv("VAULT_K8S_TOKEN_PATH", t.TempDir())
	loadRefused(t, source(t, "secret/key"), keystore.ErrRefused, "not a regular file")
}
