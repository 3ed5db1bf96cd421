package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const token = "0123456789abcdefghijklmn"

// On a busy machine reading a small store takes its time as well.
func init() { awaited = 50 * time.Second }

func noSession() (*audit.Session, error) { return nil, errors.New("no session") }

// pemPair writes a certificate for backup.example, and its key.
func pemPair(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"backup.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(cert, text, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return cert, key, pool
}

// TestExposed: what other hosts reach needs a token and TLS, what is in backups a token,
// and a token is long; each refusal says what helps.
func TestExposed(t *testing.T) {
	t.Parallel()
	cert, key, _ := pemPair(t)
	for name, tc := range map[string]struct {
		o    Options
		want error
	}{
		"loopback":             {Options{Listen: "127.0.0.1:0"}, nil},
		"another loopback":     {Options{Listen: "127.8.8.8:0"}, nil},
		"loopback of IPv6":     {Options{Listen: "[::1]:0"}, nil},
		"localhost":            {Options{Listen: "localhost:0"}, nil},
		"all addresses":        {Options{Listen: ":0"}, ErrExposed},
		"all of IPv4":          {Options{Listen: "0.0.0.0:0"}, ErrExposed},
		"all of IPv6":          {Options{Listen: "[::]:0"}, ErrExposed},
		"an address":           {Options{Listen: "192.0.2.1:0"}, ErrExposed},
		"a mapped address":     {Options{Listen: "[::ffff:192.0.2.1]:0"}, ErrExposed},
		"without TLS":          {Options{Listen: ":0", Token: []byte(token)}, ErrExposed},
		"without a token":      {Options{Listen: ":0", Cert: cert, Key: key}, ErrExposed},
		"with both":            {Options{Listen: ":0", Cert: cert, Key: key, Token: []byte(token)}, nil},
		"a short token":        {Options{Listen: "127.0.0.1:0", Token: []byte(token[1:])}, ErrToken},
		"an empty token":       {Options{Listen: "127.0.0.1:0", Token: []byte{}}, ErrToken},
		"contents, no token":   {Options{Listen: "127.0.0.1:0", Source: Source{Session: noSession}}, ErrContents},
		"contents and a token": {Options{Listen: "127.0.0.1:0", Token: []byte(token), Source: Source{Session: noSession}}, nil},
	} {
		_, err := tc.o.check(t.Context())
		if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if class, hint := fail.Of(err); err != nil && (class != fail.Usage || hint == "") {
			t.Errorf("%s: class %v, hint %q", name, class, hint)
		}
	}
	for name, o := range map[string]Options{
		"no port":          {Listen: "127.0.0.1"},
		"a bad port":       {Listen: "127.0.0.1:nothing"},
		"a key alone":      {Listen: "127.0.0.1:0", Key: key},
		"a missing file":   {Listen: "127.0.0.1:0", Cert: cert + "x", Key: key},
		"swapped":          {Listen: "127.0.0.1:0", Cert: key, Key: cert},
		"a name of nobody": {Listen: "nobody.invalid:0"},
	} {
		if _, err := o.check(t.Context()); err == nil {
			t.Errorf("%s is taken", name)
		} else if class, _ := fail.Of(err); class != fail.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGuard: only GET and HEAD are answered, only for this host, and only with the token,
// which counts in no URL; every answer has the headers that confine it.
func TestGuard(t *testing.T) {
	t.Parallel()
	cert, key, _ := pemPair(t)
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") })
	open := newGuard(Options{Hosts: []string{"Proxy.example"}}, pages)
	closed := newGuard(Options{Token: []byte(token), Cert: cert, Key: key}, pages)
	for name, tc := range map[string]struct {
		guard  http.Handler
		method string
		host   string
		auth   func(*http.Request)
		want   int
	}{
		"GET":                     {open, "GET", "127.0.0.1:8480", nil, 200},
		"HEAD":                    {open, "HEAD", "localhost", nil, 200},
		"POST":                    {open, "POST", "127.0.0.1", nil, 405},
		"PUT":                     {open, "PUT", "127.0.0.1", nil, 405},
		"DELETE":                  {open, "DELETE", "127.0.0.1", nil, 405},
		"OPTIONS":                 {open, "OPTIONS", "127.0.0.1", nil, 405},
		"TRACE":                   {open, "TRACE", "127.0.0.1", nil, 405},
		"a made-up method":        {open, "GETS", "127.0.0.1", nil, 405},
		"IPv6":                    {open, "GET", "[::1]:8480", nil, 200},
		"IPv6 without a port":     {open, "GET", "[::1]", nil, 200},
		"a final dot":             {open, "GET", "LOCALHOST.:80", nil, 200},
		"a proxy's name":          {open, "GET", "proxy.example", nil, 200},
		"rebound DNS":             {open, "GET", "attacker.example:8480", nil, 421},
		"a name with localhost":   {open, "GET", "localhost.attacker.example", nil, 421},
		"127.0.0.1 as a name":     {open, "GET", "127.0.0.1.attacker.example", nil, 421},
		"another address":         {open, "GET", "192.0.2.1:8480", nil, 421},
		"no host":                 {open, "GET", "", nil, 421},
		"the certificate's":       {closed, "GET", "backup.example", nil, 401},
		"none of it":              {closed, "GET", "other.example", nil, 421},
		"basic":                   {closed, "GET", "backup.example", func(r *http.Request) { r.SetBasicAuth("any", token) }, 200},
		"basic, as the name":      {closed, "GET", "backup.example", func(r *http.Request) { r.SetBasicAuth(token, "") }, 401},
		"bearer":                  {closed, "HEAD", "127.0.0.1", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, 200},
		"a wrong one":             {closed, "GET", "127.0.0.1", func(r *http.Request) { r.SetBasicAuth("any", token[1:]+"x") }, 401},
		"a longer one":            {closed, "GET", "127.0.0.1", func(r *http.Request) { r.SetBasicAuth("any", token+"x") }, 401},
		"an empty one":            {closed, "GET", "127.0.0.1", func(r *http.Request) { r.SetBasicAuth("", "") }, 401},
		"no scheme":               {closed, "GET", "127.0.0.1", func(r *http.Request) { r.Header.Set("Authorization", token) }, 401},
		"in the URL":              {closed, "GET", "127.0.0.1", func(r *http.Request) { r.URL.RawQuery = "token=" + token }, 401},
		"in a cookie":             {closed, "GET", "127.0.0.1", func(r *http.Request) { r.Header.Set("Cookie", "token="+token) }, 401},
		"POST with the token":     {closed, "POST", "127.0.0.1", func(r *http.Request) { r.SetBasicAuth("any", token) }, 405},
		"a wrong host, the token": {closed, "GET", "attacker.example", func(r *http.Request) { r.SetBasicAuth("any", token) }, 421},
	} {
		r := httptest.NewRequest(tc.method, "/", nil)
		r.Host = tc.host
		if tc.auth != nil {
			tc.auth(r)
		}
		w := httptest.NewRecorder()
		tc.guard.ServeHTTP(w, r)
		if w.Code != tc.want || (tc.want == 200) != (w.Body.String() == "the page") {
			t.Errorf("%s: %d, %q; want %d", name, w.Code, w.Body, tc.want)
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'sha256-", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"X-Frame-Options": "DENY", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(header); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") {
			t.Errorf("%s: the policy is %q", name, csp)
		}
		if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: it asks for %q", name, w.Header().Get("WWW-Authenticate"))
		}
	}
}

// TestBusy: no more requests are answered at a time than may be; the others wait a
// moment and are sent away.
func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		most, now := 0, make(chan int, 1)
		now <- 0
		g := newGuard(Options{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			n := <-now + 1
			most = max(most, n)
			now <- n
			<-hold
			now <- <-now - 1
		}))
		codes := make(chan int, 2*maxRequests)
		for range 2 * maxRequests {
			go func() {
				w := httptest.NewRecorder()
				r := httptest.NewRequest("GET", "/", nil)
				r.Host = "localhost"
				g.ServeHTTP(w, r)
				codes <- w.Code
			}()
		}
		time.Sleep(waiting + time.Second)
		close(hold)
		count := make(map[int]int)
		for range 2 * maxRequests {
			count[<-codes]++
		}
		if most != maxRequests || count[200] != maxRequests || count[503] != maxRequests {
			t.Errorf("%d at a time; %v", most, count)
		}
	})
}

// TestCached: what is dear is read by one, when somebody asks, and not before it is old;
// what cannot be read anew stays, with the reason; and nobody waits for long.
func TestCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		takes, fault := time.Second, error(nil)
		var reads atomic.Int64
		c := &cached[int]{ctx: t.Context(), read: func(context.Context) (int, error) {
			n := int(reads.Add(1))
			time.Sleep(takes)
			return n, fault
		}}
		for range 10 {
			go c.get(t.Context())
		}
		if r := c.get(t.Context()); r.value != 1 || r.err != nil || reads.Load() != 1 {
			t.Errorf("at first: %+v, after %d", r, reads.Load())
		}
		time.Sleep(held - 2*time.Second)
		if r := c.get(t.Context()); r.value != 1 || reads.Load() != 1 {
			t.Errorf("while it is new: %+v, after %d", r, reads.Load())
		}
		time.Sleep(3 * time.Second)
		if r := c.get(t.Context()); r.value != 1 {
			t.Errorf("while it is read anew: %+v", r)
		}
		time.Sleep(2 * time.Second)
		if r := c.get(t.Context()); r.value != 2 || reads.Load() != 2 {
			t.Errorf("when it was read anew: %+v", r)
		}
		time.Sleep(time.Hour)
		if r := c.get(t.Context()); r.value != 3 {
			t.Errorf("when it is very old: %+v", r)
		}
		fault = errors.New("gone")
		time.Sleep(2*held + time.Second)
		r := c.get(t.Context())
		if r.value != 3 || r.err != fault || time.Since(r.at) < held {
			t.Errorf("when it cannot be read: %+v", r)
		}
		if c.get(t.Context()); reads.Load() != 4 {
			t.Error("what fails is tried at once again")
		}
		// A slow one is read no longer than a tenth of the time, and not waited for.
		fault, takes = nil, time.Minute
		time.Sleep(held + time.Second)
		for _, waits := range []time.Duration{awaited, 0} {
			asked := time.Now()
			if r := c.get(t.Context()); r.value != 3 || time.Since(asked) != waits {
				t.Errorf("a slow one: %+v, after %v", r, time.Since(asked))
			}
		}
		time.Sleep(2 * time.Minute)
		if r := c.get(t.Context()); r.value != 5 || r.err != nil || reads.Load() != 5 {
			t.Errorf("a slow one: %+v, after %d", r, reads.Load())
		}
		time.Sleep(9 * time.Minute)
		c.get(t.Context())
		time.Sleep(2 * time.Minute)
		if reads.Load() != 6 {
			t.Errorf("after 11 minutes there were %d readings", reads.Load())
		}
	})
}

// TestStop: TLS and the token are asked for, and a request that is under way when the
// server is stopped is answered.
func TestStop(t *testing.T) {
	t.Parallel()
	cert, key, pool := pemPair(t)
	began, hold := make(chan struct{}), make(chan struct{})
	s := sample(t)
	read := s.Keys
	s.Keys = func() (r ring, err error) {
		close(began)
		<-hold
		return read()
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	url, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Source: s.Source, Listen: ":0", Cert: cert, Key: key, Token: []byte(token), Log: t.Errorf}, func(u string) { url <- u })
	}()
	var at string
	select {
	case at = <-url:
	case err := <-ended:
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(at, "https://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "backup.example"}, DisableKeepAlives: true}}
	get := func(scheme, path string, ok bool) (int, string, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", scheme+"://127.0.0.1:"+port+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := client.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text), err
	}
	if code, _, err := get("https", "/", false); code != http.StatusUnauthorized {
		t.Errorf("without the token: %d, %v", code, err)
	}
	if code, text, err := get("http", "/", true); code == http.StatusOK || strings.Contains(text, "uploads") {
		t.Errorf("without TLS: %d, %v", code, err)
	}
	answered := make(chan string, 1)
	go func() {
		code, text, err := get("https", "/", true)
		if err != nil || code != http.StatusOK {
			t.Errorf("while it stopped: %d, %v", code, err)
		}
		answered <- text
	}()
	<-began
	stop()
	close(hold)
	if text := <-answered; !strings.Contains(text, "takumi-backup") {
		t.Errorf("while it stopped: %.200s", text)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, _, err := get("https", "/", true); err == nil {
		t.Error("it answers after its end")
	}
}

// TestLog: what strangers can make the server say is not passed on; what it fails by is.
func TestLog(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	p := panics{func(format string, args ...any) { told.WriteString(args[0].(string)) }}
	for _, line := range []string{"http: TLS handshake error from 192.0.2.1:1: EOF\n", "http: panic serving 127.0.0.1:1: x\n"} {
		if n, err := p.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if _, err := (panics{}).Write([]byte("http: panic\n")); err != nil { // nobody listens
		t.Error(err)
	}
	if told.String() != "http: panic serving 127.0.0.1:1: x\n" {
		t.Errorf("told: %q", &told)
	}
}
