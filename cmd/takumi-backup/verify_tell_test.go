package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestVerifyFailPing: the ping of a failure says why, also when there is no report,
// or a single file. A report that can no longer be written does not hide what was
// found.
func TestVerifyFailPing(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	var mu sync.Mutex
	var told string
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/ping/start": // here the report could still be written
			os.Remove(b.path("reports"))
		case "/ping/fail":
			told = string(text)
		}
	}))
	defer service.Close()
	b.env = append(b.env, "XDG_STATE_HOME="+b.tmp, "HEALTHCHECK_URL="+service.URL+"/ping")
	b.run(exitOK, strings.NewReader("words"), "seal", "-o", b.path("a.enc"))
	fails := func(want int, why string, args ...string) *running {
		t.Helper()
		r := b.run(want, nil, append([]string{"verify", "--notify"}, args...)...)
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(told, why) {
			t.Errorf("%q: told is %q, and not %q", args, told, why)
		}
		told = ""
		return r
	}
	fails(exitKey, "loading the key", "--key", "file:missing", "a.enc")
	fails(exitFailed, "there are no backups in", b.tmp)
	fails(exitStore, "missing/r.json", "--report", b.path("missing/r.json"), "a.enc")
	sealed := readFile(t, b.path("a.enc"))
	sealed[len(sealed)-1] ^= 1
	writeFile(t, b.path("a.enc"), sealed)
	fails(exitDamaged, "error: a.enc: damaged: ", "a.enc")
}
