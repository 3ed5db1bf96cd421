package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string
}

// policyOf reads one of docs/OFFSITE.md for a bucket and a user, without some
// actions.
func policyOf(t *testing.T, role, bucket, user string, without ...string) policy {
	t.Helper()
	page := string(readFile(t, filepath.Join("..", "..", "docs", "OFFSITE.md")))
	found := regexp.MustCompile("(?s)<!-- policy: " + role + " -->\n```json\n(.*?)```").FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("docs/OFFSITE.md has no policy of a %s", role)
	}
	var p policy
	if err := json.Unmarshal([]byte(strings.ReplaceAll(found[1], "BUCKET", bucket)), &p); err != nil {
		t.Fatal(err)
	}
	for i := range p.Statement {
		s := &p.Statement[i]
		s.Principal = map[string]string{"AWS": user}
		s.Action = slices.DeleteFunc(s.Action, func(action string) bool { return slices.Contains(without, action) })
	}
	p.Statement = slices.DeleteFunc(p.Statement, func(s statement) bool { return len(s.Action) == 0 })
	return p
}

// acts makes further runs those of a user whose policy is a role's.
func (o *offsite) acts(role string, without ...string) {
	o.Helper()
	o.allow(role, policyOf(o.T, role, o.bucket, role, without...))
}

func (o *offsite) allow(role string, p policy) {
	o.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		o.Fatal(err)
	}
	body := string(text)
	if _, err := o.server.Client().PutBucketPolicy(o.Context(), &s3.PutBucketPolicyInput{Bucket: &o.bucket, Policy: &body}); err != nil {
		o.Fatalf("%v\n%s", err, text)
	}
	o.as(role, role+"-secret")
}

// TestS3Policies: each policy of docs/OFFSITE.md allows what it is for, and no
// more.
func TestS3Policies(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, role := range []string{"writer", "reader", "pruner", "changer"} {
		server.User(t, role, role+"-secret")
	}
	content := noise(9 << 20)
	// kept is a bucket with a backup of today, and two that prune deletes.
	kept := func(t *testing.T) (*offsite, string) {
		o := inBucketOf(t, server, newSandbox(t), server.VersionedBucket(t))
		for _, age := range []int{1, 40, 50} {
			o.aged(age, mainKey)
		}
		o.run(exitOK, nil, "replicate", "--quiet", o.path("store"), o.root)
		return o, o.seal(content, "--name", "daily")
	}
	denied := func(o *offsite, args ...string) {
		o.Helper()
		cmd := o.program(args...)
		cmd.Stdin = bytes.NewReader(content)
		r := o.start(cmd)
		_ = r.Wait()
		if code := r.ProcessState.ExitCode(); code != exitStore && code != exitSome || !strings.Contains(r.stderr.String(), "AccessDenied") {
			o.Errorf("%s: exit code %d\n%s", cmd, code, r.stderr.Bytes())
		}
	}
	t.Run("writer", func(t *testing.T) {
		t.Parallel()
		o := inBucketOf(t, server, newSandbox(t), server.LockedBucket(t))
		o.acts("writer")
		lock := []string{"--object-lock", "governance", "--retain", "1d"}
		small, large := o.seal([]byte("small"), lock...), o.seal(content, append(lock, "--codec", "none", "--name", "large")...)
		o.has(o.key(small), o.key(small)+".sha256", o.key(large), o.key(large)+".sha256")
		o.run(exitFailed, bytes.NewReader(content), "seal", "-o", large).says("exists already")
		for _, args := range [][]string{{"open", large}, {"inspect", large}, {"list"}, {"prune"}, {"rewrap", large, "--to", "file:" + keyFile(t, otherKey)}} {
			denied(o, args...)
		}
		for _, action := range []string{"s3:PutObject", "s3:AbortMultipartUpload"} {
			o.acts("writer", action)
			denied(o, "seal")
		}
		if n := len(server.Keys(t, o.bucket)); n != 4 {
			t.Errorf("%d objects", n)
		}
		o.as(s3test.AccessKey, s3test.Secret)
		o.opens(large, content)
	})
	t.Run("writer of large backups", func(t *testing.T) {
		t.Parallel()
		o := inBucketOf(t, server, newSandbox(t), server.VersionedBucket(t))
		o.env = append(o.env, "TAKUMI_S3_MAX_PARTS=20", "TAKUMI_S3_PART_SIZE=5M") // segments from the second part on
		o.acts("writer")
		denied(o, "seal", "--codec", "none", "-o", o.root+"/x.enc")
		p := policyOf(t, "writer", o.bucket, "writer")
		p.Statement = append(p.Statement, policyOf(t, "large", o.bucket, "writer").Statement...)
		o.allow("writer", p)
		o.run(exitOK, bytes.NewReader(content), "seal", "--codec", "none", "-o", o.root+"/y.enc")
		denied(o, "open", o.root+"/y.enc")
		o.as(s3test.AccessKey, s3test.Secret)
		o.opens(o.root+"/y.enc", content)
		// What the first could not take back is swept.
		if keys := server.Keys(t, o.bucket); len(keys) < 3 || !strings.HasPrefix(keys[0], "x.enc.segment-") {
			t.Errorf("the bucket holds %q", keys)
		}
		o.exe, o.env = program, append(o.env, "TAKUMI_TEST_CRASH_AGE=1ns")
		o.run(exitOK, nil, "prune", "--apply").says("removed what a writer left behind: ")
		o.has("y.enc", "y.enc.sha256")
	})
	t.Run("reader", func(t *testing.T) {
		t.Parallel()
		o, path := kept(t)
		before := server.Keys(t, o.bucket)
		o.acts("reader")
		o.opens(path, content)
		o.run(exitOK, nil, "verify", o.root)
		o.run(exitOK, nil, "inspect", path)
		if r := o.run(exitOK, nil, "list"); strings.Count(r.stdout.String(), ".enc\n") != 4 {
			t.Errorf("list shows\n%s", r.stdout.Bytes())
		}
		denied(o, "seal")
		denied(o, "prune", "--apply")
		denied(o, "rewrap", path, "--to", "file:"+keyFile(t, otherKey))
		o.has(before...)
		for _, action := range []string{"s3:ListBucket", "s3:GetObject"} {
			o.acts("reader", action)
			denied(o, "verify", o.root)
		}
	})
	t.Run("pruner", func(t *testing.T) {
		t.Parallel()
		o, path := kept(t)
		o.acts("pruner")
		denied(o, "seal")
		for _, action := range []string{"s3:DeleteObjectVersion", "s3:GetObject", "s3:ListBucket"} {
			o.acts("pruner", action)
			denied(o, "prune", "--apply")
		}
		o.acts("pruner")
		o.run(exitOK, nil, "prune", "--apply").says("2 deleted")
		if n := o.versions(); n != 4 {
			t.Errorf("%d versions are left", n)
		}
		o.opens(path, content)
	})
	t.Run("changer", func(t *testing.T) {
		t.Parallel()
		o, path := kept(t)
		other := keyFile(t, otherKey)
		o.acts("changer")
		o.run(exitOK, nil, "rewrap", path, "--to", "file:"+other, "--keep-old")
		o.run(exitOK, nil, "reencrypt", path, "--to", "file:"+other)
		o.env = append(o.env, "BACKUP_ENCRYPTION_KEY_FILE="+other)
		o.opens(path, content)
		o.run(exitOK, nil, "replicate", path, o.root+"/copy")
		o.opens(o.root+"/copy/"+filepath.Base(path), content)
	})
}
