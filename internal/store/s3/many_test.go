package s3store_test

import (
	"bytes"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// A stream of more small parts than there are: part 10,001 is none, because the
// last parts are segments, and the byte that no longer fits is an error.
func TestOnePartTooMany(t *testing.T) {
	t.Parallel()
	const part, segment = 16, 64
	parts := scaled(60, 10_000)
	segments := parts / 20
	server := s3test.NewMemory()
	endpoint := new(s3test.Vendor).Start(t, server)
	mixed := (parts-segments)*part + segments*segment
	for _, c := range []struct {
		object int // what may be stored
		size   int
		fits   bool
	}{
		{parts * part, parts * part, true}, // not one part more than S3 takes
		{parts * part, parts*part + 1, false},
		{mixed, (parts + 1) * part, true},
		{mixed, (parts+1)*part + 1, true},
		{mixed, mixed, true},
		{mixed, mixed + 1, false},
	} {
		o := s3store.Small(s3store.Quick(s3store.Options{MaxParts: parts, MaxObject: int64(c.object)}), part, segment, segment)
		s := open(t, endpoint, o)
		content := random(c.size)
		if limit := s3store.PlanOf(s).Limit(); limit != int64(c.object) {
			t.Fatalf("%d bytes fit, want %d", limit, c.object)
		}
		result, err := save(t.Context(), s, "s3://bucket/x.enc", content, store.Options{Sidecar: true})
		if !c.fits {
			wants(t, err, s3store.ErrTooLarge)
		} else if err != nil || result.SHA256 != sumOf(content) || !bytes.Equal(server.Content("bucket", "x.enc"), content) {
			t.Errorf("%d bytes: %v; stored %d", c.size, err, len(server.Content("bucket", "x.enc")))
		} else if err := s.Remove(t.Context(), stat(t, s, "s3://bucket/x.enc")); err != nil {
			t.Error(err)
		}
		if keys := server.Keys("bucket"); server.Uploads()+len(keys) > 0 {
			t.Errorf("%d uploads and %q were left", server.Uploads(), keys)
		}
	}
}
