package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// TestS3URLs: two servers, each with credentials of its own, in one command; every
// command takes and prints paths that name their server.
func TestS3URLs(t *testing.T) {
	t.Parallel()
	here, there := s3test.Shared(t), s3test.Start(t)
	o := inBucketOf(t, here, newSandbox(t), here.Bucket(t))
	credentials := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[here]\naws_access_key_id=%s\naws_secret_access_key=%s\n[there]\naws_access_key_id=%[1]s\naws_secret_access_key=%[2]s\n[wrong]\naws_access_key_id=%[1]s\naws_secret_access_key=x\n",
		s3test.AccessKey, s3test.Secret)
	if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// What the environment says leads nowhere.
	o.env = append(o.env, "AWS_SHARED_CREDENTIALS_FILE="+credentials, "AWS_ENDPOINT_URL=http://127.0.0.1:1", "BACKUP_ROOT="+t.TempDir())
	o.as("nobody", "nothing")
	query := func(s *s3test.Server, profile string) string {
		return "?profile=" + profile + "&endpoint=" + url.QueryEscape(s.Endpoint())
	}
	from, to := o.root+"/db1"+query(here, "here"), "s3://"+there.Bucket(t)+"/copies"+query(there, "there")+"&path_style=true&region="+s3test.Region
	content := noise(9 << 20)
	path := o.seal(content, "--name", "daily", "--store", from)
	if want := "/db1/stream/daily_"; !strings.HasPrefix(path, o.root+want) || !strings.HasSuffix(path, query(here, "here")) {
		t.Fatalf("the backup is at %s", path)
	}
	o.opens(path, content)
	key := keyFile(t, otherKey)
	o.run(exitOK, nil, "rewrap", "--detached", "--keep-old", "--to", "file:"+key, path)
	o.run(exitOK, nil, "replicate", from, to)
	copied := store.Join(to, "stream", store.Base(path))
	o.opens(copied, content)
	for _, root := range []string{from, to} {
		r := o.run(exitOK, nil, "list", "--json", root)
		if got := r.stdout.String(); strings.Count(got, `"state":"authentic"`) != 1 || strings.Count(got, `"sidecar":true`) != 1 {
			t.Errorf("%s lists\n%s", root, got)
		}
		if r := o.run(exitOK, nil, "verify", root); strings.Contains(r.stdout.String()+r.stderr.String(), "side") {
			t.Errorf("verify says\n%s%s", r.stdout.Bytes(), r.stderr.Bytes())
		}
	}
	o.run(exitOK, nil, "rewrap", "--keep-old", "--to", "file:"+key, copied)
	o.run(exitOK, nil, "reencrypt", "--to", "file:"+key, copied)
	o.run(exitOK, nil, "verify", "--key", "file:"+key, copied)
	if keys := here.Keys(t, o.bucket); len(keys) != 3 {
		t.Errorf("%q", keys)
	}

	o.run(exitStore, nil, "list", o.root+"?endpoint="+url.QueryEscape(here.Endpoint())).says("profile")
	o.run(exitStore, nil, "list", o.root+query(here, "wrong")).says("credentials")
	o.run(exitStore, nil, "list", o.root+query(here, "none")).says("none")
	o.run(exitUsage, nil, "list", o.root+"?path_style=perhaps").says("path_style")
}

// TestS3SwapKilled: a rewrap that was cut off between a backup and its sidecar is
// named by verify, which does not call the backup bad, and finished by the next.
func TestS3SwapKilled(t *testing.T) {
	t.Parallel()
	o := inBucket(t, s3test.Shared(t))
	p := o.behind()
	key := []string{"--keep-old", "--to", "file:" + keyFile(t, otherKey)}
	for _, command := range []string{"rewrap", "reencrypt"} {
		path, content := o.root+"/"+command+".enc", noise(9<<20)
		o.seal(content, "--codec", "none", "-o", path)
		p.Before(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, store.SidecarSuffix) {
				return false
			}
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
			return true
		})
		args := append([]string{command}, key[len(key)-2:]...)
		if command == "rewrap" {
			args = append([]string{command}, key...)
		}
		o.run(exitStore, nil, append(args, path)...)
		p.Before(nil)
		keys := []string{"--key", "file:" + keyFile(t, otherKey)}
		if r := o.run(exitOK, nil, append([]string{"verify", path}, keys...)...); !strings.Contains(r.stdout.String()+r.stderr.String(), "was killed") {
			t.Errorf("verify says\n%s%s", r.stdout.Bytes(), r.stderr.Bytes())
		}
		to := otherKey
		if command == "reencrypt" {
			o.env, to = append(o.env, "BACKUP_ENCRYPTION_KEY_FILE="+keyFile(t, otherKey)), mainKey
		}
		o.run(exitOK, nil, "rewrap", path, "--to", "file:"+keyFile(t, to), "--keep-old")
		if r := o.run(exitOK, nil, append([]string{"verify", path}, keys...)...); strings.Contains(r.stdout.String()+r.stderr.String(), "was killed") {
			t.Errorf("verify says\n%s%s", r.stdout.Bytes(), r.stderr.Bytes())
		}
	}
	o.has("rewrap.enc", "rewrap.enc.sha256", "reencrypt.enc", "reencrypt.enc.sha256")
}
