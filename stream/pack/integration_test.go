package pack_test

import (
	"os"
	"testing"
)

// integration leaves a test that needs installed tools out of a plain
// `go test ./...`.
func integration(t *testing.T) {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to use the zstd and gzip programs")
	}
}
