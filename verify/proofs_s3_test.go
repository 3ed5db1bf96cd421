package verify

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	places "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestProofsOfABucket: what was proved in a bucket is known the next time, by the object's
// own ETag, and what replaces an object is not.
func TestProofsOfABucket(t *testing.T) {
	memory := s3test.NewMemory()
	server := httptest.NewServer(memory)
	defer server.Close()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"} {
		t.Setenv(name, value)
	}
	const root = "s3://bucket/p"
	key, state, now := kek.Generate(), t.TempDir(), time.Now().UTC().Truncate(time.Second)
	put := func(n int) {
		label := envelope.Label{Created: now.AddDate(0, 0, n-9), Kind: "stream", Name: "words"}
		memory.Put("bucket", fmt.Sprintf("p/%d.enc", n), seal(t, []byte("words"), label, pack.None, key))
	}
	put(1)
	put(2)
	place, err := places.Open(root, places.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	verified := func() (checked int) {
		t.Helper()
		m, err := OpenMemory(state)
		if err != nil {
			t.Fatal(err)
		}
		r := run(t, &Job{Options: Options{Place: place, Keys: ringOf(key), Level: Auth}, Paths: []string{root}, Memory: m, NewerOnly: true})
		for _, b := range r.Backups.All() {
			if b.Checked {
				checked++
			}
		}
		return checked
	}
	for i, want := range []int{2, 0} {
		if got := verified(); got != want {
			t.Errorf("run %d checks %d, want %d", i, got, want)
		}
	}
	m, err := OpenMemory(state)
	if err != nil {
		t.Fatal(err)
	}
	list, err := backup.Gather(t.Context(), place, root, backup.Options{Keys: ringOf(key)}, nil)
	if err != nil || list.Len() != 2 {
		t.Fatal(list.Len(), err)
	}
	for _, b := range list.All() {
		if whole, _ := m.Whole(&b); !whole {
			t.Errorf("%s is not known to be whole", b.Path)
		}
	}
	put(2)
	if got := verified(); got != 1 {
		t.Errorf("after a replacement %d are checked, want 1", got)
	}
}
