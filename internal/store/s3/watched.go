package s3store

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// maxAnswer is more than any answer but an object: a page of 1,000 keys of
// 1,024 bytes, each escaped.
const maxAnswer = 16 * mib

// watched ends a request when nothing moves, however long it may take when
// something does, and bounds answers that are not objects.
type watched struct {
	base   http.RoundTripper
	limits limits
}

type unansweredKey struct{}

// unanswered returns a context whose requests are counted when they get no
// answer, or one that leaves open whether they were carried out.
func unanswered(ctx context.Context) (context.Context, *atomic.Int32) {
	tally := new(atomic.Int32)
	return context.WithValue(ctx, unansweredKey{}, tally), tally
}

// RoundTrip implements http.RoundTripper.
func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	answer := w.limits.answer
	query := r.URL.Query()
	if r.Method == http.MethodPost && query.Has("uploadId") || r.Header.Get("X-Amz-Copy-Source") != "" {
		answer = w.limits.assemble
	}
	timer := time.AfterFunc(answer, func() { cancel(errStalled) })
	end := func() { timer.Stop(); cancel(nil) }
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &sending{r.Body, timer, max(w.limits.stall, answer)}
	}
	resp, err := w.base.RoundTrip(r)
	if tally, ok := ctx.Value(unansweredKey{}).(*atomic.Int32); ok && (err != nil || resp.StatusCode >= 500) {
		tally.Add(1)
	}
	if err != nil {
		if context.Cause(ctx) == errStalled {
			err = errStalled
		}
		end()
		return nil, err
	}
	timer.Stop()
	left := int64(maxAnswer)
	if resp.StatusCode < 300 && r.Method == http.MethodGet && query.Get("x-id") == "GetObject" {
		left = resp.ContentLength // an object; -1 is caught by who asked
	}
	resp.Body = &receiving{resp.Body, ctx, timer, w.limits.stall, left, end}
	return resp, nil
}

// sending is a request's body. It has no WriteTo, on purpose: the SDK closes
// the body as soon as an answer begins, and the WriteTo of its body then fails,
// in the last, empty read that net/http still makes, which drops the connection
// with the answer. Read does not.
type sending struct {
	io.ReadCloser
	timer *time.Timer
	stall time.Duration
}

func (s *sending) Read(p []byte) (int, error) {
	s.timer.Reset(s.stall)
	return s.ReadCloser.Read(p)
}

// receiving is an answer's body. Time counts only while somebody reads.
type receiving struct {
	io.ReadCloser
	ctx   context.Context
	timer *time.Timer
	stall time.Duration
	left  int64
	end   func()
}

func (r *receiving) Read(p []byte) (int, error) {
	r.timer.Reset(r.stall)
	n, err := r.ReadCloser.Read(p)
	r.timer.Stop()
	if r.left -= int64(n); r.left < 0 {
		return 0, errTooLarge
	}
	if err != nil && err != io.EOF && context.Cause(r.ctx) == errStalled {
		err = errStalled
	}
	return n, err
}

func (r *receiving) Close() error {
	defer r.end()
	return r.ReadCloser.Close()
}
