package awsclient

import (
	"errors"
	"io"
	"net/http"
)

// ErrTooLarge is the failure of reading an answer that Bounded cuts.
var ErrTooLarge = errors.New("the answer is too large")

// Bounded lets answers of at most max bytes through.
func Bounded(base http.RoundTripper, max int) http.RoundTripper { return bounded{base, max} }

type bounded struct {
	base http.RoundTripper
	max  int
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		// The SDK closes the body as soon as an answer begins. Its WriteTo then fails in
		// the last, empty read of net/http, which drops the connection with the answer.
		// Read does not.
		r = r.WithContext(r.Context()) // a copy, for the request is not ours to change
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	resp, err := b.base.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, b.max}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
