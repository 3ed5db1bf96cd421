package report

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/verify"
)

func TestMain(m *testing.M) {
	pause = time.Millisecond
	os.Exit(m.Run())
}

// service records what it is sent.
type service struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int // the first, the second, …; then 200
	paths   []string
	bodies  []string
}

func newService(t *testing.T, answers ...int) *service {
	s := &service{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.paths, s.bodies = append(s.paths, r.Method+" "+r.URL.Path), append(s.bodies, string(body))
		if n := len(s.paths); n <= len(s.answers) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(s.answers[n-1])
		}
	}))
	t.Cleanup(s.Close)
	return s
}

const secretPath = "/T00000/B1-secret"

func notifier(t *testing.T, settings map[string]string) *Notifier {
	t.Helper()
	n, err := New(func(name string) string { return settings[name] }, true)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSlack(t *testing.T) {
	t.Parallel()
	s := newService(t)
	if err := notifier(t, map[string]string{"SLACK_WEBHOOK_URL": s.URL + secretPath}).Done(t.Context(), nasty(), nil, ""); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Text        string
		Attachments []struct{ Color, Text string }
	}
	if err := json.Unmarshal([]byte(s.bodies[0]), &got); err != nil || len(got.Attachments) != 1 {
		t.Fatalf("%s: %v", s.bodies[0], err)
	}
	text := got.Text + got.Attachments[0].Text
	if got.Attachments[0].Color != "danger" || strings.ContainsAny(text, "<>\u202e\x1b\x00") || !strings.Contains(text, "&lt;!channel&gt;") {
		t.Errorf("got %q", text)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	s := newService(t, http.StatusBadGateway) // the second try arrives
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte(s.URL+secretPath+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sample()
	for range 30 {
		r.Findings = append(r.Findings, verify.Finding{Severity: verify.Warning, Code: verify.SideFile, Message: "left"})
	}
	key := strings.Repeat("8f1c5a0e", 8)
	if err := notifier(t, map[string]string{"ALERT_WEBHOOK_URL_FILE": path}).Done(t.Context(), r, errors.New("the key "+key+" is wrong"), ""); err != nil {
		t.Fatal(err)
	}
	var got message
	dec := json.NewDecoder(strings.NewReader(s.bodies[1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || len(s.bodies) != 2 {
		t.Fatal(err, s.paths)
	}
	if got.Status != failed || got.Host != "db1.example" || got.Subject != "takumi-backup verify on db1.example: 1 of 72 backups failed, 33 warnings" {
		t.Errorf("got %+v", got)
	}
	if len(got.Findings) != maxTold || got.Omitted != 14 || got.Findings[0].Code != string(verify.Damaged) || got.Summary.Backups != 72 {
		t.Errorf("got %+v", got)
	}
	if got.Error != "the key [redacted] is wrong" {
		t.Errorf("got %s", got.Error)
	}
}

// TestWhen: who is told of what.
func TestWhen(t *testing.T) {
	t.Parallel()
	fine := &verify.Report{Backups: verify.ListOf(verify.Backup{Proven: verify.Content})}
	stopped := &verify.Report{Backups: fine.Backups, Interrupted: true}
	for _, c := range []struct {
		name   string
		report *verify.Report
		fault  error
		want   []string
	}{
		{"all is well", fine, nil, []string{"POST /ping", "POST /ping/start"}},
		{"a warning", &verify.Report{Findings: []verify.Finding{{Severity: verify.Warning}}}, nil, []string{"POST /hook", "POST /ping", "POST /ping/start"}},
		{"no backups", &verify.Report{}, nil, []string{"POST /hook", "POST /ping", "POST /ping/start"}},
		{"an error", sample(), nil, []string{"POST /hook", "POST /ping/fail", "POST /ping/start"}},
		{"stopped", stopped, nil, []string{"POST /hook", "POST /ping/fail", "POST /ping/start"}},
		{"strict", fine, errors.New("strict"), []string{"POST /hook", "POST /ping/fail", "POST /ping/start"}},
		{"no report", nil, errors.New("no store"), []string{"POST /hook", "POST /ping/fail", "POST /ping/start"}},
	} {
		s := newService(t)
		n := notifier(t, map[string]string{"ALERT_WEBHOOK_URL": s.URL + "/hook", "HEALTHCHECK_URL": s.URL + "/ping"})
		if err := errors.Join(n.Start(t.Context()), n.Done(t.Context(), c.report, c.fault, "the log")); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if m := newMessage(c.report, c.fault); c.fault != nil && !strings.Contains(m.Subject, "failed") {
			t.Errorf("%s: the subject is %q", c.name, m.Subject)
		}
		for i, path := range s.paths {
			if logged := s.bodies[i] == "the log"; logged != strings.HasSuffix(path, "/fail") {
				t.Errorf("%s, %s: got %s", c.name, path, s.bodies[i])
			}
		}
		if slices.Sort(s.paths); !slices.Equal(s.paths, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, s.paths, c.want)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("8f1c5a0e", 8)
	// A key that the cut would halve is redacted all the same.
	text := tail(strings.Repeat("x", 100) + " " + key + " " + strings.Repeat("ä", maxLog/2-20))
	if len(text) > maxLog || !utf8.ValidString(text) || strings.Contains(text, "8f1c5a0e") || !strings.HasSuffix(text, "ä") {
		t.Errorf("%d bytes: %.60s", len(text), text)
	}
	if got := tail("short\xff"); got != "short\uFFFD" {
		t.Errorf("got %q", got)
	}
}

// TestUnreachable: what fails says so, after two tries where a second can help,
// and repeats no address.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	gone := &service{Server: &httptest.Server{URL: "http://127.0.0.1:1"}} // a port that nobody is given by chance
	for name, c := range map[string]struct {
		service *service
		tries   int
		want    string
	}{
		"broken":     {newService(t, 500, 503, 500), 2, "503 Service Unavailable"},
		"busy":       {newService(t, 429, 429, 429), 2, "429"},
		"wrong":      {newService(t, 404, 404), 1, "404 Not Found"},
		"redirected": {newService(t, 307, 307), 1, "307"}, // and not followed
		"gone":       {gone, 0, "refused"},
	} {
		for _, variable := range []string{"SLACK_WEBHOOK_URL", "ALERT_WEBHOOK_URL", "HEALTHCHECK_URL"} {
			c.service.paths = nil
			n := notifier(t, map[string]string{variable: c.service.URL + secretPath})
			err := n.Done(t.Context(), sample(), nil, "")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s, %s: %v", name, variable, err)
			}
			if len(c.service.paths) != c.tries {
				t.Errorf("%s, %s: %q", name, variable, c.service.paths)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := notifier(t, map[string]string{"HEALTHCHECK_URL": gone.URL + secretPath}).Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	with := func(pairs ...string) map[string]string {
		m := map[string]string{"ALERT_EMAIL_TO": "a@example.org, b@example.org", "ALERT_EMAIL_FROM": "c@example.org", "ALERT_SMTP_HOST": "mail.example.org"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name     string
		settings map[string]string
		want     error // in production
	}{
		{"nothing", nil, ErrNobody},
		{"a path", map[string]string{"SLACK_WEBHOOK_URL": "hooks.example.org/secret"}, ErrSetting},
		{"no URL", map[string]string{"SLACK_WEBHOOK_URL": "https://x y/secret%zz"}, ErrSetting},
		{"plain http", map[string]string{"ALERT_WEBHOOK_URL": "http://example.org/secret"}, ErrSetting},
		{"another scheme", map[string]string{"HEALTHCHECK_URL": "ftp://localhost/secret"}, ErrSetting},
		{"https", map[string]string{"HEALTHCHECK_URL": "https://example.org/secret"}, nil},
		{"a file that is missing", map[string]string{"HEALTHCHECK_URL_FILE": "/does/not/exist"}, os.ErrNotExist},
		{"mail", with(), nil},
		{"no sender", with("ALERT_EMAIL_FROM", ""), ErrSetting},
		{"no address", with("ALERT_EMAIL_TO", "x"), ErrSetting},
		{"no port", with("ALERT_SMTP_PORT", "smtp"), ErrSetting},
		{"port 0", with("ALERT_SMTP_PORT", "0"), ErrSetting},
		{"tls", with("ALERT_SMTP_TLS", "tls"), nil},
		{"unknown tls", with("ALERT_SMTP_TLS", "no"), ErrSetting},
		{"off in production", with("ALERT_SMTP_TLS", "off"), ErrSetting},
		{"off on this machine", with("ALERT_SMTP_TLS", "off", "ALERT_SMTP_HOST", "127.0.0.1"), nil},
	} {
		n, err := New(func(name string) string { return c.settings[name] }, true)
		if told := len(n.channels) == 1 || n.ping != nil; told != (c.want == nil) {
			t.Errorf("%s: somebody is told: %v", c.name, told)
		}
		if !errors.Is(err, c.want) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Those who can be told are, whatever is wrong with the others; all of that is said.
	some := with("ALERT_EMAIL_FROM", "", "SLACK_WEBHOOK_URL_FILE", "/does/not/exist", "ALERT_WEBHOOK_URL", "https://example.org/secret")
	n, err := New(func(name string) string { return some[name] }, true)
	if len(n.channels) != 1 || n.channels[0].name != "the webhook" || !errors.Is(err, os.ErrNotExist) || !errors.Is(err, ErrSetting) {
		t.Errorf("some: %+v, %v", n.channels, err)
	}
	off := with("ALERT_SMTP_TLS", "off")
	if _, err := New(func(name string) string { return off[name] }, false); err != nil {
		t.Error(err)
	}
	off["ALERT_SMTP_PASSWORD"] = "secret"
	if _, err := New(func(name string) string { return off[name] }, false); !errors.Is(err, ErrSetting) {
		t.Errorf("a password without TLS: %v", err)
	}
}

// mailServer takes one mail after the other, with STARTTLS when it has a
// certificate, and returns what clients said.
func mailServer(t *testing.T, certificate *tls.Certificate) (port string, said func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all bytes.Buffer
	var wg sync.WaitGroup
	serve := func(c net.Conn) {
		defer func() { c.Close() }()
		c.SetDeadline(time.Now().Add(time.Minute))
		in, secure, data := bufio.NewScanner(c), false, false
		answer := func(text string) { io.WriteString(c, text+"\r\n") }
		answer("220 test ESMTP")
		for in.Scan() {
			text := in.Text()
			mu.Lock()
			all.WriteString(text + "\n")
			mu.Unlock()
			verb, _, _ := strings.Cut(strings.ToUpper(text), " ")
			switch {
			case data:
				if data = text != "."; !data {
					answer("250 taken")
				}
			case verb == "EHLO" && certificate != nil && !secure:
				answer("250-test\r\n250 STARTTLS")
			case verb == "EHLO":
				answer("250-test\r\n250 AUTH PLAIN")
			case verb == "STARTTLS":
				answer("220 go on")
				c, secure = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*certificate}}), true
				in = bufio.NewScanner(c)
			case verb == "AUTH":
				answer("235 welcome")
			case verb == "DATA":
				data = true
				answer("354 go on")
			case verb == "QUIT":
				answer("221 bye")
				return
			default:
				answer("250 ok")
			}
		}
	}
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() { listener.Close(); wg.Wait() })
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, func() string { mu.Lock(); defer mu.Unlock(); return all.String() }
}

func TestMail(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	certificate, trusted := web.TLS.Certificates[0], x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		roots       *x509.CertPool
		security    string
		arrives     bool
	}{
		{"plain, on this machine", nil, nil, "", true},
		{"STARTTLS", &certificate, trusted, "starttls", true},
		{"STARTTLS of a stranger", &certificate, x509.NewCertPool(), "starttls", false},
		{"STARTTLS that is not offered", nil, trusted, "starttls", false},
	} {
		port, said := mailServer(t, c.certificate)
		settings := map[string]string{
			"ALERT_EMAIL_TO": "ops@example.org, more@example.org", "ALERT_EMAIL_FROM": "backup@example.org", "ALERT_SMTP_HOST": "127.0.0.1",
			"ALERT_SMTP_PORT": port, "ALERT_SMTP_TLS": c.security, "ALERT_SMTP_USER": "u", "ALERT_SMTP_PASSWORD": "pass-secret",
		}
		if c.security == "" {
			settings["ALERT_SMTP_USER"] = ""
		}
		e := environment{get: func(name string) string { return settings[name] }, production: true, roots: c.roots}
		send := e.mail()
		if e.err != nil {
			t.Fatal(e.err)
		}
		r := nasty()
		err := send(t.Context(), newMessage(r, nil))
		text := said()
		if !c.arrives {
			if err == nil || strings.Contains(text, "DATA") || strings.Contains(text, "AUTH") || strings.Contains(err.Error(), "pass-secret") {
				t.Errorf("%s: %v\n%s", c.name, err, text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, text)
			continue
		}
		_, text, _ = strings.Cut(text, "DATA\n")
		msg, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, text)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
		if err != nil || !strings.HasPrefix(subject, "takumi-backup verify on <script>") || !strings.HasSuffix(subject, ": 2 of 72 backups failed, 3 warnings") {
			t.Errorf("%s: %s, %v", c.name, subject, err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(msg.Body))
		if err != nil || !strings.Contains(string(body), "ERROR: damaged") || strings.ContainsAny(string(body), "\u202e\x1b\x00") {
			t.Errorf("%s: %s, %v", c.name, body, err)
		}
		if to := msg.Header.Get("To"); !strings.Contains(to, "ops@example.org") || !strings.Contains(to, "more@example.org") {
			t.Errorf("%s: to %s", c.name, to)
		}
	}
}
