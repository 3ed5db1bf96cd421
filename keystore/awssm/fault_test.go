package awssm_test

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

// answer makes every answer, or the first n, this one.
func (s *server) answer(first int, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := len(s.calls)
	s.before = func(n int, _ string, w http.ResponseWriter, _ *http.Request) bool {
		if n > from+first {
			return false
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

const always = 1 << 30

func TestFaults(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	key := kek.Generate()
	name := newName(t)
	stores(t, open(t, name), "", key)
	digits := hex.EncodeToString(key.Bytes())
	problem := func(code, message string) string { return `{"__type":"` + code + `","Message":"` + message + `"}` }
	for title, tc := range map[string]struct {
		first, status int
		body          string
		requests      int
		kind          error // nil for success
		want          string
	}{
		"throttled three times":   {3, 400, problem("ThrottlingException", "Rate exceeded"), 4, nil, ""},
		"throttled for ever":      {always, 400, problem("ThrottlingException", "Rate exceeded"), 5, keystore.ErrUnreachable, "ThrottlingException"},
		"status 429":              {always, 429, "", 5, keystore.ErrUnreachable, "429"},
		"server error twice":      {2, 500, problem("InternalServiceError", "An error occurred on the server side."), 3, nil, ""},
		"server error for ever":   {always, 500, problem("InternalServiceError", ""), 5, keystore.ErrUnreachable, "500"},
		"a proxy's 503":           {1, 503, "<html>later</html>", 2, nil, ""},
		"a proxy's 502 for ever":  {always, 502, "<html>later</html>", 5, keystore.ErrUnreachable, "502"},
		"denied":                  {always, 400, problem("AccessDeniedException", "User: arn:aws:iam::123456789012:user/x is not authorized to perform: secretsmanager:GetSecretValue"), 1, keystore.ErrRefused, "allow secretsmanager:GetSecretValue"},
		"status 403":              {always, 403, problem("AccessDenied", ""), 1, keystore.ErrRefused, "allow secretsmanager:GetSecretValue"},
		"a proxy's 403":           {always, 403, "<html>no</html>", 1, keystore.ErrRefused, "GetSecretValue"},
		"a web server's 404":      {always, 404, "<html>none</html>", 1, keystore.ErrRefused, "GetSecretValue"},
		"KMS":                     {always, 400, problem("DecryptionFailure", ""), 1, keystore.ErrRefused, "kms:Decrypt"},
		"unknown credentials":     {always, 400, problem("UnrecognizedClientException", "The security token included in the request is invalid."), 1, keystore.ErrRefused, "aws sts get-caller-identity"},
		"expired credentials":     {always, 400, problem("ExpiredTokenException", ""), 1, keystore.ErrRefused, "renew the credentials"},
		"wrong signature scope":   {always, 400, problem("InvalidSignatureException", "Credential should be scoped to a valid region."), 1, keystore.ErrRefused, "AWS_REGION"},
		"quota":                   {always, 400, problem("LimitExceededException", ""), 1, keystore.ErrRefused, "update-secret-version-stage"},
		"the key in the message":  {always, 400, problem("AccessDeniedException", "not "+digits+" and "+base64Key(key)), 1, keystore.ErrRefused, "not [redacted] and [redacted]"},
		"terminal codes":          {always, 400, problem("ValidationException", `a\u001b[2Jb`), 1, keystore.ErrRefused, "a [2Jb"},
		"long message":            {always, 400, problem("ValidationException", strings.Repeat("word ", 5000)), 1, keystore.ErrRefused, "word…"},
		"huge":                    {always, 200, `{"SecretString":"` + strings.Repeat(digits, 20000) + `"}`, 1, keystore.ErrRefused, "more than 1048576 bytes"},
		"huge error":              {always, 400, problem("ValidationException", strings.Repeat(digits, 20000)), 1, keystore.ErrRefused, "more than 1048576 bytes"},
		"malformed":               {always, 200, `{"SecretString":"` + digits + `",]`, 1, keystore.ErrRefused, "not one of Secrets Manager"},
		"another type":            {always, 200, `{"SecretString":["` + digits + `"]}`, 1, keystore.ErrRefused, "not one of Secrets Manager"},
		"a web page":              {always, 200, `<html>` + digits, 1, keystore.ErrRefused, "not one of Secrets Manager"},
		"no value":                {always, 200, `{}`, 1, keystore.ErrRefused, "empty"},
		"another value":           {always, 200, `{"SecretString":"` + digits[:60] + `"}`, 1, keystore.ErrRefused, "60 hex digits"},
		"value of the wrong size": {always, 200, `{"SecretString":"` + strings.Repeat(digits, 2000) + `"}`, 1, keystore.ErrRefused, "more than 65536 bytes"},
	} {
		t.Run(title, func(t *testing.T) {
			s := openWith(t, awssm.Quick(awssm.Options{}), name)
			server.answer(tc.first, tc.status, tc.body)
			from := len(server.asked())
			got, err := s.Load(t.Context())
			if n := len(server.asked()) - from; n != tc.requests {
				t.Errorf("%d requests were made, want %d", n, tc.requests)
			}
			if tc.kind == nil {
				if err != nil || got.ID() != key.ID() {
					t.Error(err)
				}
				return
			}
			wants(t, err, tc.kind, tc.want, key)
			if len(err.Error()) > 1500 || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("not fit for a terminal: %q", err)
			}
		})
	}
}

// lastRead does with a request's body what net/http does: it copies the body
// by its length, and looks for more when the answer may be there already.
func lastRead(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, io.LimitReader(r.Body, r.ContentLength)); err != nil {
		return nil, err
	}
	r.Body.Close()
	_, err := io.Copy(io.Discard, r.Body)
	return &http.Response{Body: http.NoBody}, err
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// No answer is lost because of how the SDK closes the bodies of its requests.
func TestBodyClosedEarly(t *testing.T) {
	sdk, err := smithyhttp.NewStackRequest().(*smithyhttp.Request).SetStream(strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lastRead(sdk.Build(t.Context())); err == nil {
		t.Log("the SDK has learnt it: bounded need not hide WriteTo any more")
	}
	sdk.RewindStream()
	if _, err := awssm.Bounded(roundTrip(lastRead)).RoundTrip(sdk.Build(t.Context())); err != nil {
		t.Error(err)
	}
}

// A secret that was made without a value, as Terraform does.
func TestNoValueYet(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	name := newName(t)
	create(t, name, nil, nil)
	_, err := open(t, name).Load(t.Context())
	wants(t, err, keystore.ErrNotFound, "openssl rand -hex 32 | aws secretsmanager put-secret-value --secret-id "+name)
	_, err = open(t, name+"#it's").Load(t.Context())
	wants(t, err, keystore.ErrNotFound, `printf '{"%s":"%s"}' 'it'\''s' "$(openssl rand -hex 32)" | aws secretsmanager put-secret-value`)
	key := kek.Generate()
	stores(t, open(t, name), "", key)
	loads(t, name, key)
}

// A redirect is not followed, wherever it leads.
func TestRedirect(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("followed: %s %s", r.Method, r.URL) }))
	defer other.Close()
	key := kek.Generate()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server.before = func(_ int, _ string, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL, status)
			return true
		}
		err := openWith(t, awssm.Quick(awssm.Options{}), "KEY").Store(t.Context(), key, "")
		wants(t, err, keystore.ErrRefused, "redirect", key)
	}
}

// What a server makes of the request that holds the key is not passed on.
func TestEcho(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	keys := generate(2)
	name := newName(t)
	server.after = func(_ int, action, body string) *failure {
		if action == "CreateSecret" || action == "PutSecretValue" {
			return refused("ValidationException", "cannot take "+body)
		}
		return nil
	}
	err := open(t, name).Store(t.Context(), keys[0], "")
	wants(t, err, keystore.ErrRefused, "[redacted]", keys...)
	err = open(t, name).Store(t.Context(), keys[1], keys[0].ID())
	wants(t, err, keystore.ErrRefused, "[redacted]", keys...)
	if strings.Contains(err.Error(), "deserial") {
		t.Error(err)
	}
}

func TestSlow(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	key := kek.Generate()
	name := newName(t)
	stores(t, open(t, name), "", key)
	stall := func(_ int, _ string, w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	half := func(_ int, _ string, w http.ResponseWriter, r *http.Request) bool {
		io.WriteString(w, `{"SecretString":"`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	cut := func(_ int, _ string, w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"SecretString":"`)
		return true
	}
	set := func(before func(int, string, http.ResponseWriter, *http.Request) bool) {
		server.mu.Lock()
		defer server.mu.Unlock()
		server.before = before
	}
	for title, before := range map[string]func(int, string, http.ResponseWriter, *http.Request) bool{"no answer": stall, "half an answer": half, "a cut answer": cut} {
		set(before)
		s := openWith(t, awssm.Hasty(awssm.Options{}, 300*time.Millisecond, 20*time.Second, 3), name)
		from := len(server.asked())
		_, err := s.Load(t.Context())
		wants(t, err, keystore.ErrUnreachable, "cannot be reached")
		if n := len(server.asked()) - from; n != 3 {
			t.Errorf("%s: %d requests, want 3", title, n)
		}
	}
	set(stall)
	s := openWith(t, awssm.Hasty(awssm.Options{}, time.Minute, 400*time.Millisecond, 3), name)
	_, err := s.Load(t.Context())
	wants(t, err, keystore.ErrUnreachable, "400ms")

	ctx, cancel := context.WithCancel(t.Context())
	set(func(_ int, _ string, _ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	s = openWith(t, awssm.Quick(awssm.Options{}), name)
	if _, err := s.Load(ctx); err != context.Canceled {
		t.Errorf("got %v, want the context's own error", err)
	}
	if _, err := s.Versions(ctx); err != context.Canceled {
		t.Errorf("got %v, want the context's own error", err)
	}
	set(nil)
	if _, err := s.Load(t.Context()); err != nil {
		t.Errorf("it works again, and still: %v", err)
	}
	server.Close()
	_, err = s.Load(t.Context())
	wants(t, err, keystore.ErrUnreachable, "connection refused")
}
