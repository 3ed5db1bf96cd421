package main

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
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

// TestPastedKey: a key in the place of a path is printed nowhere.
func TestPastedKey(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	b.seal([]byte("content"), "-o", "a.enc")
	to := "file:" + keyFile(t, otherKey)
	pasted := strings.Repeat("8f1c5a0e", 8)
	for _, args := range [][]string{
		{"verify", "--json", "--report", b.path("r.html")}, {"verify"}, {"rewrap", "--json", "--to", to}, {"rewrap", "--to", to},
		{"reencrypt", "--json", "--to", to}, {"inspect", "--json"},
	} {
		r := b.run(exitSome, nil, append(args, "a.enc", pasted)...).says("[redacted]")
		if strings.Contains(r.stdout.String()+r.stderr.String(), pasted) {
			t.Errorf("%q: %s%s", args, &r.stdout, &r.stderr)
		}
	}
	if strings.Contains(string(readFile(t, b.path("r.html"))), pasted) {
		t.Error("the report shows the key")
	}
}

// TestCollectEagerly: the limit grows with the cores, and an operator's limit stays.
func TestCollectEagerly(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, tc := range []struct {
		cores        int
		before, want int64
	}{
		{1, math.MaxInt64, 192 << 20}, {64, math.MaxInt64, 1 << 30}, {1, 1 << 40, 1 << 40},
	} {
		runtime.GOMAXPROCS(tc.cores)
		debug.SetMemoryLimit(tc.before)
		end := collectEagerly()
		if got := debug.SetMemoryLimit(-1); got != tc.want {
			t.Errorf("%d cores, limit %d: %d, want %d", tc.cores, tc.before, got, tc.want)
		}
		if end(); debug.SetMemoryLimit(-1) != tc.before {
			t.Errorf("%d cores: the limit %d is not restored", tc.cores, tc.before)
		}
	}
}
