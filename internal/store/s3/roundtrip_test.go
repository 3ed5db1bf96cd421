package s3store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
)

// Whole backups of lengths around every boundary: the head of 64 KiB, one part,
// many parts.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	f := fresh(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	var keys []string
	for _, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 5*mib - 1, 5 * mib, 5*mib + 1, 10 * mib, 10*mib + 1, 31*mib + 17} {
		path := fmt.Sprintf("%s/daily/b%d.enc", f.root, size)
		content := random(size)
		mustSave(t, f, path, content)
		wantBackup(t, f, path, content)
		if _, err := save(t.Context(), f, path, []byte("another"), store.Options{Sidecar: true}); err == nil {
			t.Error("it was replaced")
		} else {
			wants(t, err, store.ErrExists)
		}
		key := strings.TrimPrefix(path, f.root+"/")
		keys = append(keys, key, key+store.SidecarSuffix)
	}
	f.wantKeys(t, keys...)
}
