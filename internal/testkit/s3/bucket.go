package s3test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var silent = log.New(io.Discard, "", 0)

// Credentials are those of one user, for aws.Config and s3.Options.
func Credentials(access, secret string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}, nil
	})
}

// Client is one of the server's owner, for what tests look at and set up.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint()), UsePathStyle: true, Region: Region, Credentials: Credentials(AccessKey, Secret),
	})
}

// Bucket makes a bucket and returns its name.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	return s.bucket(t, &s3.CreateBucketInput{})
}

// LockedBucket makes a bucket with versions and object lock.
func (s *Server) LockedBucket(t testing.TB) string {
	t.Helper()
	return s.bucket(t, &s3.CreateBucketInput{ObjectLockEnabledForBucket: aws.Bool(true)})
}

// VersionedBucket makes a bucket that keeps the versions of what is replaced
// or deleted.
func (s *Server) VersionedBucket(t testing.TB) string {
	t.Helper()
	name := s.Bucket(t)
	_, err := s.Client().PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (s *Server) bucket(t testing.TB, in *s3.CreateBucketInput) string {
	t.Helper()
	name := "b" + strings.ToLower(rand.Text())
	in.Bucket = &name
	if _, err := s.Client().CreateBucket(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return name
}

// User makes a user who may do nothing, until Policy says otherwise.
func (s *Server) User(t testing.TB, access, secret string) {
	t.Helper()
	cmd := exec.Command(s.bin, "admin", "--access", AccessKey, "--secret", Secret, "--endpoint-url", s.Endpoint(), "--region", Region,
		"create-user", "--access", access, "--secret", secret, "--role", "user")
	cmd.Env = []string{"HOME=" + s.dir, "PATH=" + filepath.Dir(s.bin)}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making user %s: %v\n%s", access, err, out)
	}
}

// Policy allows a user actions, such as "s3:PutObject", in a bucket.
func (s *Server) Policy(t testing.TB, bucket, access string, actions ...string) {
	t.Helper()
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":[%q]},"Action":["%s"],"Resource":["arn:aws:s3:::%s","arn:aws:s3:::%s/*"]}]}`,
		access, strings.Join(actions, `","`), bucket, bucket)
	if _, err := s.Client().PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}

// Keys lists what a bucket holds.
func (s *Server) Keys(t testing.TB, bucket string) []string {
	t.Helper()
	out, err := s.Client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for _, o := range out.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

// Uploads lists the multipart uploads that were begun and not ended.
func (s *Server) Uploads(t testing.TB, bucket string) []string {
	t.Helper()
	out, err := s.Client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for _, u := range out.Uploads {
		keys = append(keys, *u.Key)
	}
	return keys
}
