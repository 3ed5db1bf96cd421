package s3store_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/store/storetest"
)

// What a folder does, a bucket does, with versions and without.
func TestPlace(t *testing.T) {
	f := fresh(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	versioned := on(t, f.server, f.server.Endpoint(), f.server.VersionedBucket(t), s3store.Quick(s3store.Options{}))
	all := map[string]*fixture{"plain": f, "versioned": versioned}
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
