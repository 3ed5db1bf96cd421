package s3store_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// A bucket that locks everything by default takes streams of any length.
func TestLockedSegments(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	bucket := server.LockedBucket(t)
	_, err := server.Client().PutObjectLockConfiguration(t.Context(), &awss3.PutObjectLockConfigurationInput{
		Bucket: &bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(1)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const part = 5 * mib
	o := s3store.Small(s3store.Quick(s3store.Options{PartSize: part, MaxParts: 4, MaxObject: 6 * part}), part, 2*part, part)
	f := on(t, server, server.Endpoint(), bucket, o)
	content := random(4 * part)
	mustSave(t, f, f.root+"/x.enc", content)
	wantBackup(t, f, f.root+"/x.enc", content)
	if keys := server.Keys(t, bucket); len(keys) < 3 { // what the lock keeps
		t.Errorf("the bucket holds %q", keys)
	}
}

// Everything of one backup is locked until the same moment.
func TestOneLock(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	f := on(t, server, server.Endpoint(), server.LockedBucket(t), s3store.Quick(s3store.Options{LockMode: types.ObjectLockModeGovernance, Retain: time.Hour}))
	w, err := f.Create(t.Context(), f.root+"/x.enc", store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	w.(*s3store.Writer).Beside(".envelope", []byte("slots"))
	time.Sleep(1100 * time.Millisecond)
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	ends := map[time.Time]bool{}
	for _, key := range []string{"x.enc", "x.enc.envelope", "x.enc.sha256"} {
		head, err := server.Client().HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &f.bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		ends[aws.ToTime(head.ObjectLockRetainUntilDate)] = true
	}
	if len(ends) != 1 || ends[time.Time{}] {
		t.Errorf("locked until %v", ends)
	}
}
