package s3store_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answersEarly reads a body as net/http does, when the answer comes before the
// last read, which finds nothing.
func answersEarly(r *http.Request) (*http.Response, error) {
	var err error
	r.Body.Close()
	if w, ok := r.Body.(io.WriterTo); ok {
		_, err = w.WriteTo(io.Discard)
	} else if _, err = r.Body.Read(make([]byte, 1)); err == io.EOF {
		err = nil
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Etag": {"x"}}, Body: http.NoBody, Request: r}, err
}

// An answer is not lost because the SDK closes the request's body early.
func TestBodyClosedEarly(t *testing.T) {
	sdk, err := smithyhttp.NewStackRequest().(*smithyhttp.Request).SetStream(strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answersEarly(sdk.Build(t.Context())); err == nil {
		t.Log("the SDK has learnt it: watched need not hide WriteTo any more")
	}
	if err := sdk.RewindStream(); err != nil {
		t.Fatal(err)
	}
	if _, err := s3store.Watched(roundTrip(answersEarly), time.Minute).RoundTrip(sdk.Build(t.Context())); err != nil {
		t.Error(err)
	}
}

// An answer without end is cut off.
func TestEndlessAnswer(t *testing.T) {
	endless := roundTrip(func(r *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader("<ListBucketResult>"), forever{})
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Etag": {"x"}}, Body: io.NopCloser(body), ContentLength: -1, Request: r}, nil
	})
	for _, query := range []string{"list-type=2", "x-id=GetObject"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/b?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s3store.Watched(endless, time.Minute).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err == nil || errors.Is(err, io.EOF) || n > 17*mib {
			t.Errorf("%s: %d bytes, %v", query, n, err)
		}
		resp.Body.Close()
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) { return len(p), nil }
