package s3store_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// What object lock keeps is not deleted, and the error says until when.
func TestLocked(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	o := s3store.Quick(s3store.Options{LockMode: types.ObjectLockModeCompliance, Retain: time.Hour, PartSize: 5 * mib})
	f := on(t, server, server.Endpoint(), server.LockedBucket(t), o)
	for name, size := range map[string]int{"small.enc": 100, "large.enc": 6 * mib} {
		path, content := f.root+"/"+name, random(size)
		mustSave(t, f, path, content)
		err := f.Remove(t.Context(), stat(t, f, path))
		locked, ok := errors.AsType[*s3store.LockedError](err)
		if left := time.Duration(0); ok {
			left = time.Until(locked.Until)
			ok = left > 30*time.Minute && left <= time.Hour
		}
		if !ok || locked.Mode != "COMPLIANCE" || locked.Path != path {
			t.Errorf("got %v", err)
		}
		wantBackup(t, f, path, content)

		// A new head makes a version; the old one stays, and a detached
		// envelope goes next to a locked backup.
		now := append([]byte("head"), content[4:]...)
		if err := newHead(t.Context(), f.Store, path, now[:4]); err != nil {
			t.Fatal(err)
		}
		wantBackup(t, f, path, now)
		if err := f.Put(t.Context(), path, ".envelope", nil, []byte("slots")); err != nil {
			t.Fatal(err)
		}
		if n := versions(t, f, name); n != 2 {
			t.Errorf("%d versions, want 2", n)
		}
	}
}

func versions(t *testing.T, f *fixture, key string) (n int) {
	t.Helper()
	out, err := f.server.Client().ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: &f.bucket, Prefix: &key})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		if *v.Key == key {
			n++
		}
	}
	return n
}

// In a bucket with versions, nothing of a removed backup stays.
func TestVersionsGo(t *testing.T) {
	server := s3test.Shared(t)
	f := on(t, server, server.Endpoint(), server.VersionedBucket(t), s3store.Quick(s3store.Options{}))
	path, content := f.root+"/x.enc", sealed(t, "x", time.Hour)
	mustSave(t, f, path, content)
	for range 2 {
		if err := newHead(t.Context(), f.Store, path, content); err != nil {
			t.Fatal(err)
		}
	}
	if n := versions(t, f, "x.enc"); n != 3 {
		t.Errorf("%d versions, want 3", n)
	}
	if err := f.Remove(t.Context(), stat(t, f, path)); err != nil {
		t.Fatal(err)
	}
	if n := versions(t, f, "x.enc") + versions(t, f, "x.enc.sha256"); n != 0 {
		t.Errorf("%d versions are left", n)
	}
	f.wantKeys(t)
}

// sealed is a backup of that name and age.
func sealed(t *testing.T, name string, age time.Duration) []byte {
	t.Helper()
	var content bytes.Buffer
	label := envelope.Label{Created: time.Now().Add(-age), Kind: "stream", Name: name, Codec: "none"}
	w, err := envelope.NewWriter(t.Context(), &content, label, kek.Generate())
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return content.Bytes()
}

// Who may write can put a backup that is due for deletion over a good one: that
// takes no version of it along.
func TestForgedVersion(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	f := on(t, server, server.Endpoint(), server.VersionedBucket(t), s3store.Quick(s3store.Options{}))
	for name, over := range map[string][]byte{
		"older": sealed(t, "x", 2*time.Hour), "another": sealed(t, "y", time.Hour), "nothing": {}, "noise": random(100),
	} {
		path := f.root + "/" + name + ".enc"
		mustSave(t, f, path, sealed(t, "x", time.Hour))
		if _, err := save(t.Context(), f, path, over, store.Options{Replace: true}); err != nil {
			t.Fatal(err)
		}
		err := f.Remove(t.Context(), stat(t, f, path))
		if _, ok := errors.AsType[*s3store.OtherBackupError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
		if v, s := versions(t, f, name+".enc"), versions(t, f, name+".enc.sha256"); v != 2 || s != 1 {
			t.Errorf("%s: %d versions, %d of the sidecar are left", name, v, s)
		}
	}
}

// Who may not list versions, where there are some, deletes nothing and is told.
func TestVersionsDenied(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	p := s3test.NewProxy(t, server.Endpoint())
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if !r.URL.Query().Has("versions") {
			return false
		}
		s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	for bucket, versioned := range map[string]bool{server.VersionedBucket(t): true, server.Bucket(t): false} {
		f := on(t, server, p.URL, bucket, s3store.Quick(s3store.Options{}))
		path := f.root + "/x.enc"
		mustSave(t, f, path, random(10))
		err := f.Remove(t.Context(), stat(t, f, path))
		if versioned {
			wants(t, err, s3store.ErrDenied, "versions")
			f.wantKeys(t, "x.enc", "x.enc.sha256")
		} else {
			if err != nil {
				t.Error(err)
			}
			f.wantKeys(t)
		}
	}
}

// A lock on what belongs to a backup keeps the backup, so that the one goes with
// the other.
func TestLockedBeside(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	bucket := server.LockedBucket(t)
	f := on(t, server, server.Endpoint(), bucket, s3store.Quick(s3store.Options{}))
	path := f.root + "/x.enc"
	mustSave(t, f, path, random(10))
	locking := open(t, server.Endpoint(), s3store.Quick(s3store.Options{LockMode: types.ObjectLockModeGovernance, Retain: time.Hour}))
	if err := locking.Put(t.Context(), path, ".envelope", nil, []byte{}); err != nil {
		t.Fatal(err)
	}
	err := f.Remove(t.Context(), stat(t, f, path), ".envelope")
	if locked, ok := errors.AsType[*s3store.LockedError](err); !ok || locked.Path != path+".envelope" {
		t.Errorf("got %v", err)
	}
	f.wantKeys(t, "x.enc", "x.enc.envelope", "x.enc.sha256")
}

// Class, encryption and tags are what the options say.
func TestAttributes(t *testing.T) {
	server := s3test.Shared(t)
	var heads []int
	f := on(t, server, server.Endpoint(), server.Bucket(t), s3store.Quick(s3store.Options{
		PartSize: 5 * mib,
		Tags: func(path string, head []byte) map[string]string {
			heads = append(heads, len(head))
			return map[string]string{"kind": "database", "id": "a b+c=d/e"}
		},
	}))
	for _, size := range []int{100, 6 * mib} {
		path := f.root + "/" + strings.Repeat("x", 1+size%7) + ".enc"
		mustSave(t, f, path, random(size))
		tags, err := server.Client().GetObjectTagging(t.Context(), &awss3.GetObjectTaggingInput{
			Bucket: &f.bucket, Key: aws.String(strings.TrimPrefix(path, f.root+"/")),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, tag := range tags.TagSet {
			got[*tag.Key] = *tag.Value
		}
		if len(got) != 2 || got["kind"] != "database" || got["id"] != "a b+c=d/e" {
			t.Errorf("tags %v", got)
		}
	}
	if len(heads) != 2 || heads[0] != 100 || heads[1] != 5*mib {
		t.Errorf("the tags were made of heads of %v bytes", heads)
	}
}

// Sweep ends what a crash left, and nothing that is young or somebody else's.
func TestSweep(t *testing.T) {
	server := s3test.Shared(t)
	f := on(t, server, server.Endpoint(), server.Bucket(t), s3store.Quick(s3store.Options{}))
	client := server.Client()
	for _, key := range []string{"daily/x.enc", "daily/film.mp4", "daily2/y.enc"} {
		if _, err := client.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &f.bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	for _, suffix := range []string{"/z.enc.reencrypt-partial", "/z.enc.segment-00012", "/z.enc", "/z.txt.segment-00012", "/z.enc.segment-",
		"/z.enc.sha256", "/gone.enc.sha256", "/gone.enc.envelope", "/gone.txt.sha256"} {
		if err := f.Put(t.Context(), f.root+"/daily", suffix, nil, []byte{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		age   time.Duration
		dry   bool
		found int
	}{{time.Hour, false, 0}, {-time.Hour, true, 5}, {-time.Hour, false, 5}, {-time.Hour, false, 0}} {
		swept, err := f.Sweep(t.Context(), f.root+"/daily", c.age, c.dry)
		if err != nil || len(swept) != c.found {
			t.Errorf("%+v: %+v, %v", c, swept, err)
		}
		for _, one := range swept {
			if one.Err != nil || time.Since(one.Begun) > time.Hour || !strings.HasPrefix(one.Path, f.root+"/daily/") {
				t.Errorf("got %+v", one)
			}
		}
	}
	if left := server.Uploads(t, f.bucket); len(left) != 2 || left[0] != "daily/film.mp4" || left[1] != "daily2/y.enc" {
		t.Errorf("uploads were left: %q", left)
	}
	if keys := server.Keys(t, f.bucket); len(keys) != 5 {
		t.Errorf("the bucket holds %q", keys)
	}
}

// Another object takes the name while one is read.
func TestChangedWhileRead(t *testing.T) {
	f := fresh(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	path := f.root + "/x.enc"
	mustSave(t, f, path, random(6*mib))
	o, err := f.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := save(t.Context(), f, path, random(6*mib), store.Options{Replace: true}); err != nil {
		t.Fatal(err)
	}
	_, err = o.ReadAt(make([]byte, 10), mib)
	wants(t, err, store.ErrChanged)
}
