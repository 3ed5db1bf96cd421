package s3test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Serve starts a server that answers by h, a [Memory] perhaps, and has this process take it
// for S3, until the test ends.
func Serve(t testing.TB, h http.Handler) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"} {
		t.Setenv(name, value)
	}
}
