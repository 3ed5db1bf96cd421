package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// waiting is how long a request waits for its turn.
const waiting = 2 * time.Second

// guard refuses what is not to be answered: a request that would change something, one
// for another host (a name that an attacker's page lets point here), one without the
// token, and one too many.
type guard struct {
	pages  http.Handler
	slots  chan struct{}
	hosts  []string
	named  func(host string) bool // by the certificate; nil without TLS
	token  []byte                 // its SHA-256; nil: nobody is asked
	policy string
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	turn := time.NewTimer(waiting)
	defer turn.Stop()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-turn.C:
		w.Header().Set("Retry-After", "5")
		plain(w, http.StatusServiceUnavailable, "too many requests are being answered: try again in a moment")
		return
	case <-r.Context().Done():
		return
	}
	h := w.Header()
	for name, value := range map[string]string{
		"Content-Security-Policy":      g.policy,
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
		"X-Robots-Tag":                 "noindex",
	} {
		h.Set(name, value)
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		plain(w, http.StatusMethodNotAllowed, "nothing can be changed here")
	case !g.forUs(r.Host):
		plain(w, http.StatusMisdirectedRequest, "this is not the host that was asked for: come by 127.0.0.1 or localhost, or give serve the name with --host")
	case !g.knows(r):
		h.Set("WWW-Authenticate", `Basic realm="takumi-backup: any name, and the token as the password", charset="UTF-8"`)
		plain(w, http.StatusUnauthorized, "the token is missing or wrong")
	default:
		g.pages.ServeHTTP(w, r)
	}
}

func (g *guard) forUs(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(g.hosts, func(own string) bool { return strings.EqualFold(own, host) }) || g.named != nil && g.named(host)
}

// knows reports whether a request has the token, as the password of HTTP's Basic, which
// browsers ask for, or as a Bearer's, for scripts. One in the URL does not count, for
// URLs are logged.
func (g *guard) knows(r *http.Request) bool {
	if g.token == nil {
		return true
	}
	_, given, ok := r.BasicAuth()
	if !ok {
		given, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], g.token) == 1 && ok
}
