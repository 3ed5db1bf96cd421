package s3test_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

func TestMain(m *testing.M) { os.Exit(s3test.Main(m)) }

func TestServer(t *testing.T) {
	s := s3test.Start(t)
	bucket := s.LockedBucket(t)
	s.User(t, "guest", "guest-secret")
	s.Policy(t, bucket, "guest", "s3:PutObject")
	s.Kill()
	if _, err := http.Get(s.Endpoint()); err == nil {
		t.Error("it answers after Kill")
	}
	s.Restart(t)
	if keys, uploads := s.Keys(t, bucket), s.Uploads(t, bucket); len(keys)+len(uploads) != 0 {
		t.Errorf("a new bucket holds %q and %q", keys, uploads)
	}
}

func TestProxy(t *testing.T) {
	s := s3test.Shared(t)
	p := s3test.NewProxy(t, s.Endpoint())
	get := func() (int, error) {
		resp, err := http.Get(p.URL)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return resp.StatusCode, err
	}
	if status, err := get(); status != http.StatusForbidden || err != nil {
		t.Errorf("an unsigned request: %d, %v", status, err)
	}
	p.CutDownload(20)
	if _, err := get(); err == nil {
		t.Error("an answer was not cut")
	}
	p.CutUpload(1000)
	if _, err := http.Post(p.URL, "", strings.NewReader(strings.Repeat("x", 2000))); err == nil {
		t.Error("a request was not cut")
	}
	p.Before(func(w http.ResponseWriter, _ *http.Request) bool {
		s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return true
	})
	if status, err := get(); status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("a refused request: %d, %v", status, err)
	}
}
