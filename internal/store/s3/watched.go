package s3store

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer exceeds any answer but an object: a page of 1,000 keys of 1,024 bytes, each
// escaped.
const maxAnswer = 16 * mib

// watched ends a request when no bytes move for a while, and bounds answers that are not
// objects.
type watched struct {
	base   http.RoundTripper
	limits limits
}

type unansweredKey struct{}

// unanswered returns a context that counts its requests without an answer, or with one that
// leaves the outcome open.
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
	// Not in the signature, because some servers rewrite it before they check that (Google
	// Cloud Storage).
	r.Header = r.Header.Clone()
	r.Header.Set("Accept-Encoding", "identity")
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &sending{r.Body, timer, max(w.limits.stall, answer)}
	}
	resp, err := w.base.RoundTrip(r)
	if err == nil && resp.StatusCode < 300 {
		timer.Reset(answer)
		if err = checkAnswer(r, query, resp); err != nil {
			resp.Body.Close()
		}
	}
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

// errForeign is a success that no S3 server sends: the outcome of the request is unknown.
var errForeign = errors.New("the answer is not one of an S3 server")

// checkAnswer fails unless a success has the least that every S3 answer to such a request has.
// It does not read the body.
func checkAnswer(r *http.Request, query url.Values, resp *http.Response) error {
	copied := r.Header.Get("X-Amz-Copy-Source") != ""
	var root string
	switch {
	case copied && query.Has("partNumber"):
		root = "CopyPartResult"
	case r.Method == http.MethodPost && query.Has("uploads"):
		root = "InitiateMultipartUploadResult"
	case r.Method == http.MethodPost && query.Has("uploadId"):
		root = "CompleteMultipartUploadResult"
	case r.Method == http.MethodGet && query.Has("uploads"):
		root = "ListMultipartUploadsResult"
	case r.Method == http.MethodGet && query.Has("uploadId"):
		root = "ListPartsResult"
	case r.Method == http.MethodGet && query.Has("versions"):
		root = "ListVersionsResult"
	case r.Method == http.MethodGet && query.Has("list-type"):
		root = "ListBucketResult"
	case r.Method == http.MethodGet && query.Has("tagging"):
		return nil
	case r.Method == http.MethodDelete, r.Method == http.MethodPost:
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			return errForeign
		}
		return nil
	default: // of an object or a part
		if resp.Header.Get("ETag") == "" {
			return errForeign
		}
		return nil
	}
	var read bytes.Buffer
	d := xml.NewDecoder(io.TeeReader(io.LimitReader(resp.Body, maxAnswer), &read))
	for {
		token, err := d.Token()
		if err != nil && err != io.EOF && !errors.As(err, new(*xml.SyntaxError)) {
			return err
		}
		start, ok := token.(xml.StartElement)
		switch {
		case ok && (start.Name.Local == root || root[0] == 'C' && start.Name.Local == "Error"): // which the SDK knows of
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(&read, resp.Body), resp.Body}
			return nil
		case ok, err != nil:
			return errForeign
		}
	}
}

// sending is a request's body, without WriteTo on purpose: the SDK closes the body as soon
// as an answer begins, and then WriteTo fails in the last, empty read of net/http, which
// drops the connection with the answer. Read does not.
type sending struct {
	io.ReadCloser
	timer *time.Timer
	stall time.Duration
}

func (s *sending) Read(p []byte) (int, error) {
	s.timer.Reset(s.stall)
	return s.ReadCloser.Read(p)
}

// receiving is an answer's body. Time counts only during a Read.
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
