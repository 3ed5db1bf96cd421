package s3store_test

import (
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// What is archived is that, and no damage.
func TestArchived(t *testing.T) {
	t.Parallel()
	var archived atomic.Bool
	rules := &s3test.Vendor{Archived: func(key string) bool { return archived.Load() && strings.HasSuffix(key, ".enc") }}
	inMemory(t, s3test.NewMemory(), rules, s3store.Quick(s3store.Options{}), func(t *testing.T, v *vendor) {
		path := v.root + "/x.enc"
		mustSave(t, v, path, random(100_000))
		archived.Store(true)
		_, err := v.Open(t.Context(), path)
		wants(t, err, store.ErrArchived)
		if store.IsStoreFault(err) {
			t.Errorf("%v is a fault of the store", err)
		}
	})
}

// RestoreObject asks once, and what was fetched back is read, with what belongs to it.
func TestRestoreObject(t *testing.T) {
	t.Parallel()
	rules := &s3test.Vendor{Archived: func(key string) bool { return strings.HasPrefix(key, "x.enc") && key != "x.enc.envelope" }}
	inMemory(t, s3test.NewMemory(), rules, s3store.Quick(s3store.Options{}), func(t *testing.T, v *vendor) {
		path, content := v.root+"/x.enc", random(100)
		mustSave(t, v, path, content)
		mustSave(t, v, v.root+"/y.enc", content)
		_, err := v.Open(t.Context(), path)
		wants(t, err, store.ErrArchived)
		if _, err := v.RestoreObject(t.Context(), v.root+"/y.enc", 3, "Bulk"); err == nil {
			t.Error("what is in no archive was fetched back")
		}
		_, err = v.RestoreObject(t.Context(), v.root+"/none.enc", 3, "Bulk")
		wants(t, err, fs.ErrNotExist)
		for _, want := range []bool{false, true} {
			if already, err := v.RestoreObject(t.Context(), path, 3, "Bulk"); err != nil || already != want {
				t.Errorf("%v, %v", already, err)
			}
		}
		wantBackup(t, v, path, content)
	})
}

// An archive tier of INTELLIGENT_TIERING takes no days, and every other archive does.
func TestRestoreObjectTier(t *testing.T) {
	t.Parallel()
	m, asked := s3test.NewMemory(), map[string]bool{}
	endpoint := new(s3test.Vendor).Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tiered := r.URL.Path == "/bucket/x.enc"
		switch {
		case !r.URL.Query().Has("restore"):
			if tiered {
				w.Header().Set("X-Amz-Archive-Status", "DEEP_ARCHIVE_ACCESS")
			}
			m.ServeHTTP(w, r)
		case !strings.HasSuffix(r.URL.Path, ".enc"):
			s3test.Refuse(w, http.StatusForbidden, "InvalidObjectState")
		default:
			body, _ := io.ReadAll(r.Body)
			if days := strings.Contains(string(body), "<Days>3</Days>"); days == tiered {
				s3test.Refuse(w, http.StatusBadRequest, "MalformedXML")
				return
			}
			asked[r.URL.Path] = true
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	s := open(t, endpoint, s3store.Quick(s3store.Options{}))
	for _, key := range []string{"x.enc", "y.enc"} {
		m.Put("bucket", key, random(10))
		if _, err := s.RestoreObject(t.Context(), "s3://bucket/"+key, 3, "Bulk"); err != nil || !asked["/bucket/"+key] {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// What a delete marker hides is listed, and comes back whole.
func TestUndelete(t *testing.T) {
	vendors(t, func() *s3test.Vendor { return &s3test.Vendor{} }, s3store.Quick(s3store.Options{}), true, func(t *testing.T, v *vendor) {
		path, content := v.root+"/d/x.enc", random(100)
		mustSave(t, v, path, content)
		mustSave(t, v, v.root+"/d/y.enc", content)
		if err := v.Put(t.Context(), path, ".envelope", nil, []byte("slots")); err != nil {
			t.Fatal(err)
		}
		wants(t, v.Undelete(t.Context(), v.root+"/d/none.enc"), fs.ErrNotExist)
		if err := v.Undelete(t.Context(), path); err == nil {
			t.Error("it was not deleted")
		}
		for _, suffix := range []string{"", "", ".sha256", ".envelope"} { // twice, as some tools do
			v.hide(t, "d/x.enc"+suffix)
		}
		deleted, err := v.Deleted(t.Context(), v.root+"/d")
		if err != nil || len(deleted) != 1 || deleted[0].Path != path || deleted[0].Size != 100 || !deleted[0].Sidecar || time.Since(deleted[0].At) > time.Hour {
			t.Fatalf("%+v, %v", deleted, err)
		}
		if err := v.Undelete(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		wantBackup(t, v, path, content)
		v.rest(t, "d/x.enc", "d/x.enc.envelope", "d/x.enc.sha256", "d/y.enc", "d/y.enc.sha256")
	})
}

// hide deletes an object as every tool does, which leaves its versions.
func (v *vendor) hide(t *testing.T, key string) {
	t.Helper()
	bucket := strings.TrimPrefix(v.root, "s3://")
	client := awss3.New(awss3.Options{BaseEndpoint: &v.endpoint, UsePathStyle: true, Region: s3test.Region, Credentials: s3test.Credentials(s3test.AccessKey, s3test.Secret)})
	if _, err := client.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		t.Fatal(err)
	}
}
