package s3store_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
)

// What a folder does, a bucket does, with versions and without.
func TestPlace(t *testing.T) { place(t, s3test.Shared(t)) }

func TestPlaceMinIO(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run it")
	}
	place(t, s3test.StartMinIO(t))
}

func place(t *testing.T, server *s3test.Server) {
	all := map[string]*fixture{
		"plain":     on(t, server, server.Endpoint(), server.Bucket(t), s3store.Quick(s3store.Options{PartSize: 5 * mib})),
		"versioned": on(t, server, server.Endpoint(), server.VersionedBucket(t), s3store.Quick(s3store.Options{})),
	}
	for name, f := range all {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			storetest.Run(t, f, func(*testing.T) string { return fmt.Sprintf("%s/r%d", f.root, n.Add(1)) })
		})
	}
	for name, f := range all {
		if left := f.server.Uploads(t, f.bucket); len(left) > 0 {
			t.Errorf("%s: uploads were left: %q", name, left)
		}
	}
}
