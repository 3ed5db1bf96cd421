package contracts_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

// ask makes one small query of a node that answers each request with the next
// of these functions, the last of which stays.
func ask(t *testing.T, ctx context.Context, answers ...http.HandlerFunc) (calls int, err error) {
	t.Helper()
	var asked atomic.Int64 // the client may ask again before a handler has ended
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(asked.Add(1)), len(answers))-1](w, r)
	}))
	defer server.Close()
	url := strings.Replace(server.URL, "http://", "http://someone:swordfish@", 1) + "/v3/0123456789abcdef?token=topsecrettoken"
	n, err := contracts.Dial(url, contracts.Options{FirstPause: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	_, err = contracts.Fetch(ctx, n, contracts.Query{Network: "sepolia", Block: "latest"})
	for _, secret := range []string{basic, strings.TrimRight(basic, "="), "swordfish", "someone", "0123456789abcdef", "topsecrettoken"} {
		if err != nil && strings.Contains(err.Error(), secret) || strings.Contains(n.String(), secret) {
			t.Errorf("%q is in: %v", secret, err)
		}
	}
	return int(asked.Load()), err
}

// basic is what the client of ask sends in a header.
var basic = base64.StdEncoding.EncodeToString([]byte("someone:swordfish"))

func echo(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(w, "Authorization: %s, %s", r.Header.Get("Authorization"), r.URL)
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

func says(body string) http.HandlerFunc { return status(http.StatusOK, body) }

func TestUnfitAnswers(t *testing.T) {
	// The end of every case that gets past the trouble: another chain's id.
	other := says(`{"jsonrpc":"2.0","id":1,"result":"0x1"}`)
	for name, tc := range map[string]struct {
		answers []http.HandlerFunc
		calls   int
		want    string
	}{
		"another chain":               {[]http.HandlerFunc{other}, 1, "the chain id 1, that of sepolia is 11155111"},
		"busy, then not":              {[]http.HandlerFunc{status(429, "slow down"), status(503, ""), other}, 3, "the chain id 1"},
		"beyond a rate":               {[]http.HandlerFunc{says(`{"error":{"code":-32005,"message":"limit"}}`), other}, 2, "the chain id 1"},
		"beyond a rate, another code": {[]http.HandlerFunc{says(`{"error":{"code":-32007,"message":"15/second request limit reached"}}`), other}, 2, "the chain id 1"},
		"beyond a rate, by HTTP's":    {[]http.HandlerFunc{says(`{"error":{"code":429,"message":"Your app has exceeded its compute units per second capacity"}}`), other}, 2, "the chain id 1"},
		"beyond a rate, by words":     {[]http.HandlerFunc{says(`{"error":{"code":-32000,"message":"Too Many Requests"}}`), other}, 2, "the chain id 1"},
		"beyond a rate, words alone":  {[]http.HandlerFunc{says(`{"error":"rate limit exceeded"}`), other}, 2, "the chain id 1"},
		"beyond a rate, a gateway's":  {[]http.HandlerFunc{says(`{"code":"429","message":"slow down"}`), other}, 2, "the chain id 1"},
		"beyond a rate, no envelope":  {[]http.HandlerFunc{says(`{"message":"API rate limit exceeded"}`), other}, 2, "the chain id 1"},
		"words alone":                 {[]http.HandlerFunc{says(`{"error":"no such project topsecrettoken"}`)}, 1, `error 0: "no such project [redacted]"`},
		"beyond a rate, forbidden":    {[]http.HandlerFunc{status(403, `{"error":{"code":-32029,"message":"no"}}`), other}, 2, "the chain id 1"},
		"credentials":                 {[]http.HandlerFunc{echo}, 1, "Authorization: Basic [redacted]"},
		"credentials alone":           {[]http.HandlerFunc{says(`{"error":{"code":1,"message":"who is ` + basic[:len(basic)-1] + `?"}}`)}, 1, "who is [redacted]?"},
		"another's credentials":       {[]http.HandlerFunc{status(401, "Bearer eyJhbGciOi.x.y is bad")}, 1, "Bearer [redacted] is bad"},
		"down":                        {[]http.HandlerFunc{status(502, "bad gateway")}, 5, "HTTP status 502 (asked 5 times)"},
		"refused":                     {[]http.HandlerFunc{status(401, "no project 0123456789abcdef for someone:swordfish")}, 1, `HTTP status 401: "no project [redacted]`},
		"error":                       {[]http.HandlerFunc{says(`{"error":{"code":-32000,"message":"token topsecrettoken\nis bad"}}`)}, 1, `error -32000: "token [redacted]\nis bad"`},
		"nothing":                     {[]http.HandlerFunc{says(`{"result":null}`)}, 1, "there is nothing"},
		"neither":                     {[]http.HandlerFunc{says(`{}`)}, 1, "there is nothing"},
		"no JSON":                     {[]http.HandlerFunc{says("<html>0123456789abcdef</html>")}, 1, "does not answer in JSON-RPC"},
		"another type":                {[]http.HandlerFunc{says(`{"result":{"a":1}}`)}, 1, "an unfit answer"},
		"too large a number":          {[]http.HandlerFunc{says(`{"result":"0x` + strings.Repeat("f", 65) + `"}`)}, 1, "at most 256 bits"},
		"too long":                    {[]http.HandlerFunc{says(`{"result":"` + strings.Repeat("f", 17<<20) + `"}`)}, 1, "longer than"},
		"elsewhere": {[]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}}, 1, "HTTP status 307"},
		"hangs up": {[]http.HandlerFunc{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, other}, 2, "the chain id 1"},
	} {
		calls, err := ask(t, t.Context(), tc.answers...)
		if err == nil || !strings.Contains(err.Error(), tc.want) || calls != tc.calls {
			t.Errorf("%s: after %d calls: %v", name, calls, err)
		}
	}
	// Nobody there.
	n, err := contracts.Dial("http://127.0.0.1:1/0123456789abcdef", contracts.Options{FirstPause: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := contracts.Fetch(t.Context(), n, contracts.Query{}); err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestStoppedWhileWaiting(t *testing.T) {
	why := errors.New("stopped")
	for name, answer := range map[string]http.HandlerFunc{
		"for an answer": func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() },
		"for a busy node": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3000")
			w.WriteHeader(429)
		},
	} {
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(30*time.Millisecond, func() { stop(why) })
		start := time.Now()
		if _, err := ask(t, ctx, answer); !errors.Is(err, why) || time.Since(start) > 5*time.Minute {
			t.Errorf("%s: %v after %v", name, err, time.Since(start))
		}
	}
}

func TestURLs(t *testing.T) {
	for url, want := range map[string]error{
		"https://sepolia.example/v3/key": nil,
		"http://127.0.0.1:8545":          nil,
		"http://geth.local:8545":         netsafe.ErrPlain,
		"wss://sepolia.example/v3/key":   contracts.ErrURL,
		"sepolia.example":                contracts.ErrURL,
		"https://":                       contracts.ErrURL,
		"https://a b/secret-key":         contracts.ErrURL,
		"":                               contracts.ErrURL,
	} {
		n, err := contracts.Dial(url, contracts.Options{RequireTLS: true})
		if !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), "key") {
			t.Errorf("%q: %v", url, err)
		}
		if err == nil && strings.Contains(fmt.Sprint(n), "key") {
			t.Errorf("%v", n)
		}
	}
	if _, err := contracts.Dial("http://geth.local:8545", contracts.Options{}); err != nil {
		t.Error(err)
	}
}
