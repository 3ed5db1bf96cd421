package verify

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	places "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// bucket is a place in an empty bucket, whose server shows each request.
func bucket(t *testing.T, seen func(*http.Request)) (root string, memory *s3test.Memory) {
	memory = s3test.NewMemory()
	s3test.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen(r)
		memory.ServeHTTP(w, r)
	}))
	return "s3://bucket/p", memory
}

// TestProofsOfABucket: what was proved in a bucket is known the next time, by the object's
// own ETag, and what replaces an object is not.
func TestProofsOfABucket(t *testing.T) {
	root, memory := bucket(t, func(*http.Request) {})
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

// TestFewRequests: each file of a good backup in a bucket is asked for once.
func TestFewRequests(t *testing.T) {
	var mu sync.Mutex
	requests := make(map[string]int)
	root, memory := bucket(t, func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests[r.Method+" "+path.Base(r.URL.Path)]++
	})
	key := kek.Generate()
	file := root + "/x.enc"
	data := seal(t, bytes.Repeat([]byte("content"), 300_000), envelope.Label{Created: time.Now(), Kind: "stream", Name: "x"}, pack.None, key)
	memory.Put("bucket", "p/x.enc", data)
	memory.Put("bucket", "p/x.enc.sha256", sidecarOf(data, "x.enc"))
	place, err := places.Open(root, places.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []Level{Checksum, Auth, Content} {
		clear(requests)
		if b := NewChecker(Options{Place: place, Keys: ringOf(key), Level: level}).One(t.Context(), file); b.Worst() == Error {
			t.Fatalf("%v: %+v", level, b.Findings)
		}
		// The head of the backup comes first, and then the rest of it.
		want := map[string]int{"GET x.enc": 2, "GET x.enc.sha256": 1, "GET x.enc.envelope": 1}
		if !maps.Equal(requests, want) {
			t.Errorf("%v: %v, want %v", level, requests, want)
		}
	}
}
