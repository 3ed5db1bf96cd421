// Package netsafe keeps secrets off plain http: with [Transport], an http.Client sends no
// request over plain http except to this machine.
package netsafe

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// ErrPlain is what a refused request's error wraps.
var ErrPlain = errors.New("a request over plain http to another machine was refused")

// Transport returns a RoundTripper that passes requests to base (nil is
// http.DefaultTransport), but fails before sending anything of those that [Check] refuses,
// redirected ones included. It is safe for concurrent use when base is.
func Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return transport{base}
}

type transport struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := Check(r.URL); err != nil {
		if r.Body != nil {
			r.Body.Close() // as http.RoundTripper demands
		}
		return nil, err
	}
	return t.base.RoundTrip(r)
}

// Check returns an error that wraps ErrPlain and names the host, unless u is https, or its
// host is localhost or a loopback address (127.0.0.0/8, ::1). Names are not looked up,
// since their address may change before the request.
func Check(u *url.URL) error {
	if u.Scheme == "https" || loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrPlain, u.Redacted())
}

// Proxy is for an http.Transport's field of that name, called before every request: it
// refuses what [Check] refuses, except metadata services ([IsMetadata]), and else follows
// the environment.
func Proxy(r *http.Request) (*url.URL, error) {
	if err := Check(r.URL); err != nil && !IsMetadata(r.URL.Hostname()) {
		return nil, err
	}
	return http.ProxyFromEnvironment(r)
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
