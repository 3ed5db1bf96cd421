package s3store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
)

// bottomless is a server that takes parts of any size, and knows no more than
// an upload of many needs.
type bottomless struct {
	mu       sync.Mutex
	uploads  map[string]map[int][]byte
	objects  map[string][]byte
	requests int
}

func (b *bottomless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	query, key := r.URL.Query(), r.URL.Path
	id := query.Get("uploadId")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	switch {
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost && query.Has("uploads"):
		id = strconv.Itoa(b.requests)
		b.uploads[id] = map[int][]byte{}
		fmt.Fprintf(w, `<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>`, id)
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		n, _ := strconv.Atoi(query.Get("partNumber"))
		b.uploads[id][n] = b.objects["/"+strings.TrimPrefix(r.Header.Get("X-Amz-Copy-Source"), "/")]
		fmt.Fprint(w, `<CopyPartResult><ETag>"part"</ETag></CopyPartResult>`)
	case r.Method == http.MethodPut && id != "":
		n, _ := strconv.Atoi(query.Get("partNumber"))
		b.uploads[id][n] = body
		w.Header().Set("ETag", `"part"`)
	case r.Method == http.MethodPut:
		b.objects[key] = body
	case r.Method == http.MethodPost:
		whole := []byte{}
		for n := 1; n <= len(b.uploads[id]); n++ {
			whole = append(whole, b.uploads[id][n]...)
		}
		if strings.Count(string(body), "<Part>") != len(b.uploads[id]) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		b.objects[key] = whole
		delete(b.uploads, id)
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"whole"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodDelete && id == "":
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		delete(b.uploads, id)
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<Error><Code>NoSuchUpload</Code></Error>`)
	}
}

// A stream of more small parts than there are: part 10,001 is none, because the
// last parts are segments, and the byte that no longer fits is an error.
func TestOnePartTooMany(t *testing.T) {
	t.Parallel()
	const part, segment = 16, 64
	parts := scaled(60, 10_000)
	segments := parts / 20
	server := &bottomless{uploads: map[string]map[int][]byte{}, objects: map[string][]byte{}}
	endpoint := httptest.NewServer(server)
	defer endpoint.Close()
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
		o := s3store.Small(s3store.Quick(s3store.Options{MaxParts: parts, MaxObject: int64(c.object)}), part, part, segment, segment)
		s := open(t, endpoint.URL, o)
		content := random(c.size)
		if limit := s3store.PlanOf(s).Limit(); limit != int64(c.object) {
			t.Fatalf("%d bytes fit, want %d", limit, c.object)
		}
		result, err := save(t.Context(), s, "s3://bucket/x.enc", content, store.Options{Sidecar: true})
		if !c.fits {
			wants(t, err, s3store.ErrTooLarge)
		} else if sum := sha256.Sum256(content); err != nil || result.SHA256 != hex.EncodeToString(sum[:]) || !bytes.Equal(server.objects["/bucket/x.enc"], content) {
			t.Errorf("%d bytes: %v; stored %d", c.size, err, len(server.objects["/bucket/x.enc"]))
		}
		delete(server.objects, "/bucket/x.enc")
		delete(server.objects, "/bucket/x.enc.sha256")
		if len(server.uploads)+len(server.objects) > 0 {
			t.Errorf("%d uploads and %d objects were left", len(server.uploads), len(server.objects))
		}
	}
}
