package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// The program of the tests sweeps what this says, and does not wait a week.
func init() {
	if text := os.Getenv("TAKUMI_TEST_CRASH_AGE"); text != "" {
		prune.CrashAge, _ = time.ParseDuration(text)
	}
}

// offsite is a sandbox whose environment leads to a bucket of its own.
type offsite struct {
	*sandbox
	server *s3test.Server
	bucket string
	root   string // s3://bucket
}

// inBucket returns a sandbox whose BACKUP_ROOT is a new bucket.
func inBucket(t *testing.T, server *s3test.Server) *offsite {
	t.Helper()
	return inBucketOf(t, server, newSandbox(t), server.Bucket(t))
}

func inBucketOf(t *testing.T, server *s3test.Server, b *sandbox, bucket string) *offsite {
	t.Helper()
	o := &offsite{b, server, bucket, "s3://" + bucket}
	// Where several goroutines write to a bucket is where packages are tested,
	// and a few of the tests here, for races; the others are in a hurry.
	o.exe = releaseBuild(t)
	o.env = append(o.env, "AWS_ENDPOINT_URL="+server.Endpoint(), "AWS_REGION="+s3test.Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "BACKUP_ROOT="+o.root, "XDG_STATE_HOME="+t.TempDir())
	o.as(s3test.AccessKey, s3test.Secret)
	return o
}

// as lets further runs have these credentials.
func (o *offsite) as(access, secret string) {
	o.env = append(o.env, "AWS_ACCESS_KEY_ID="+access, "AWS_SECRET_ACCESS_KEY="+secret)
}

// has checks which objects the bucket holds, and that no upload was left.
func (o *offsite) has(want ...string) {
	o.Helper()
	slices.Sort(want)
	if got := o.server.Keys(o, o.bucket); !slices.Equal(got, want) {
		o.Errorf("the bucket holds %q, want %q", got, want)
	}
	if left := o.server.Uploads(o, o.bucket); len(left) > 0 {
		o.Errorf("uploads were left: %q", left)
	}
}

// key is the path of an object as a key of the bucket.
func (o *offsite) key(path string) string { return strings.TrimPrefix(path, o.root+"/") }

// object asks for what an object is.
func (o *offsite) object(path string) *s3.HeadObjectOutput {
	o.Helper()
	head, err := o.server.Client().HeadObject(o.Context(), &s3.HeadObjectInput{Bucket: &o.bucket, Key: aws.String(o.key(path))})
	if err != nil {
		o.Fatalf("%s: %v", path, err)
	}
	return head
}

// tags returns those of an object.
func (o *offsite) tags(path string) map[string]string {
	o.Helper()
	out, err := o.server.Client().GetObjectTagging(o.Context(), &s3.GetObjectTaggingInput{Bucket: &o.bucket, Key: aws.String(o.key(path))})
	if err != nil {
		o.Fatalf("%s: %v", path, err)
	}
	tags := map[string]string{}
	for _, tag := range out.TagSet {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

// versions counts those of all objects, and what says that one was deleted.
func (o *offsite) versions() int {
	o.Helper()
	out, err := o.server.Client().ListObjectVersions(o.Context(), &s3.ListObjectVersionsInput{Bucket: &o.bucket})
	if err != nil {
		o.Fatal(err)
	}
	return len(out.Versions) + len(out.DeleteMarkers)
}

// noise is n bytes that do not pack.
func noise(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
	return p
}

// TestS3 keeps backups of all sizes in a bucket, and has every command that
// reads them do so.
func TestS3(t *testing.T) {
	t.Parallel()
	o := inBucket(t, s3test.Shared(t))
	o.exe = program
	var want []string
	for _, size := range []int{0, 1, 8 << 20, 9 << 20} {
		content := noise(size)
		path := fmt.Sprintf("%s/host/n%d.enc", o.root, size)
		o.seal(content, "-o", path, "--allow-empty")
		o.opens(path, content)
		want = append(want, o.key(path), o.key(path)+".sha256")
	}
	named := o.seal(noise(10), "--name", "daily", "--store", o.root+"/host/")
	if !strings.HasPrefix(named, o.root+"/host/stream/daily_") {
		t.Errorf("the backup went to %s", named)
	}
	o.has(append(want, o.key(named), o.key(named)+".sha256")...)

	o.run(exitFailed, bytes.NewReader(noise(9)), "seal", "-o", o.root+"/host/n1.enc").says("exists already and is not overwritten")
	o.opens(o.root+"/host/n1.enc", noise(1))
	if r := o.run(exitOK, nil, "inspect", named); !strings.Contains(r.stdout.String(), keyID(t, mainKey)) {
		t.Errorf("inspect says:\n%s", r.stdout.Bytes())
	}
	// The bucket, a prefix of it, and a prefix that is the beginning of a name.
	for root, want := range map[string]int{o.root: 5, o.root + "/host/stream": 1, o.root + "/hos": 0} {
		r := o.run(exitOK, nil, "list", "--json", root)
		if got := strings.Count(r.stdout.String(), `"state":"authentic"`); got != want {
			t.Errorf("%s lists %d backups, want %d:\n%s", root, got, want, r.stdout.Bytes())
		}
	}
	o.run(exitOK, nil, "verify", o.root)
	o.run(exitFailed, nil, "open", o.root+"/host/none.enc").says("file does not exist")

	key := keyFile(t, mainKey)
	o.run(exitOK, nil, "key", "rotate", "--key", "file:"+key)
	for root, want := range map[string]string{"": "5 .* no: 5 backups need it", "/none": "0 .* no: there is no backup to tell"} {
		if r := o.run(exitOK, nil, "key", "history", "--root", o.root+root); !regexp.MustCompile(keyID(t, mainKey) + ".* " + want).Match(r.stdout.Bytes()) {
			t.Errorf("the history by %s%s is\n%s", o.root, root, r.stdout.Bytes())
		}
	}
}

// TestS3Everything: a night with the database, contracts and uploads in a bucket
// and in a folder at once, and the way back from each, on another machine.
func TestS3Everything(t *testing.T) {
	t.Parallel()
	c := database(t, "offsite", schema)
	server := s3test.Shared(t)
	o := inBucketOf(t, server, operator(t, c, "offsite"), server.Bucket(t))
	beside := o.path("beside")
	o.env = append(o.env, "BACKUP_ALSO="+beside, "CONTRACTS_DIR="+o.path("contracts"), "UPLOADS_DIR="+o.path("uploads"))
	for name, text := range map[string]string{"contracts/foundry.toml": "[profile.default]\n", "uploads/a/photo": "bytes"} {
		if err := os.MkdirAll(filepath.Dir(o.path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, o.path(name), []byte(text))
	}
	made := o.run(exitOK, nil, "backup", "all", "--globals", "--manifest", "--prune").says("prune: done in ").made()
	if len(made) != 4 {
		t.Fatalf("made %q", made)
	}
	if inFolder := files(t, beside); !slices.Equal(inFolder, server.Keys(t, o.bucket)) || len(inFolder) != 10 {
		t.Errorf("the folder holds %q, the bucket %q", inFolder, server.Keys(t, o.bucket))
	}
	o.run(exitOK, nil, "verify")

	for name, root := range map[string]string{"bucket": o.root, "folder": beside} {
		o.env = append(o.env, "BACKUP_ROOT="+root)
		into := "offsite_" + name
		c.Psql(t, "postgres", "DROP DATABASE IF EXISTS "+into)
		o.run(exitOK, nil, "restore", "database", "--latest", "--into", into, "--yes").says("as the manifest has them")
		if dumpOf(t, c, into) != dumpOf(t, c, "offsite") {
			t.Errorf("the database from the %s is another", name)
		}
		for i, kind := range map[int]string{2: "contracts", 3: "uploads"} {
			to := o.path(name + "_" + kind)
			o.run(exitOK, nil, "restore", kind, strings.Replace(made[i], o.root, root, 1), "--to", to)
			if got := files(t, to); len(got) == 0 {
				t.Errorf("no %s came back from the %s", kind, name)
			}
		}
	}
}

// TestS3Also: each copy opens alone; a store that fails is named, be it the
// first, and the others have the backup.
func TestS3Also(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	content := noise(9_000_000)
	for name, tc := range map[string]struct {
		args []string // BUCKET and FOLDER stand for what they say
		code int
		says []string
	}{
		"both":           {[]string{"--store", "BUCKET", "--also", "FOLDER"}, exitOK, nil},
		"second fails":   {[]string{"--store", "FOLDER", "--also", "s3://missing/x", "--also", "BUCKET"}, exitSome, []string{"not at s3://missing/x", "complete at"}},
		"first fails":    {[]string{"--store", "s3://missing/x", "--also", "BUCKET", "--also", "FOLDER"}, exitSome, []string{"not at s3://missing/x", "complete at s3://"}},
		"each has one":   {[]string{"-o", "FOLDER/stream/x.enc", "--also", "BUCKET", "--also", "/dev/null/no-folder"}, exitSome, []string{"not at /dev/null"}},
		"all fail":       {[]string{"--store", "s3://missing/x", "--also", "/dev/null/no-folder"}, exitStore, []string{"no such bucket", "/dev/null"}},
		"taken already":  {[]string{"-o", "BUCKET/stream/taken.enc", "--also", "FOLDER"}, exitFailed, []string{"exists already"}},
		"also is myself": {[]string{"--store", "BUCKET", "--also", "BUCKET", "--also", "FOLDER"}, exitSome, []string{"not at s3://"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := inBucket(t, server)
			o.exe = program
			taken := name == "taken already"
			if taken {
				o.seal(nil, "-o", o.root+"/stream/taken.enc", "--allow-empty", "--quiet")
			}
			folder := o.path("copy")
			if err := os.MkdirAll(folder+"/stream", 0o700); err != nil {
				t.Fatal(err)
			}
			args := []string{"seal"}
			for _, arg := range tc.args {
				args = append(args, strings.NewReplacer("BUCKET", o.root, "FOLDER", folder).Replace(arg))
			}
			r := o.run(tc.code, bytes.NewReader(content), args...)
			for _, words := range tc.says {
				r.says(words)
			}
			if tc.code != exitOK && tc.code != exitSome {
				if len(files(t, o.dir)) > 0 || !taken && len(server.Keys(t, o.bucket)) > 0 {
					t.Errorf("%q and %q are left", files(t, o.dir), server.Keys(t, o.bucket))
				}
				return
			}
			kept := files(t, folder)
			if len(kept) != 2 {
				t.Fatalf("the folder holds %q", kept)
			}
			o.has(kept...)
			o.opens(o.root+"/"+kept[0], content)
			o.env = append(o.env, "AWS_ENDPOINT_URL=http://127.0.0.1:1")
			o.opens(filepath.Join(folder, kept[0]), content)
		})
	}
}

// TestS3AlsoDatabase: a store that fails takes neither the roles nor the manifest
// from the others.
func TestS3AlsoDatabase(t *testing.T) {
	t.Parallel()
	c := database(t, "offsite also", schema)
	server := s3test.Shared(t)
	o := inBucketOf(t, server, withDatabase(t, c, "offsite also"), server.Bucket(t))
	o.run(exitSome, nil, "backup", "database", "--globals", "--manifest", "--store", "s3://missing", "--also", o.root).says("not at s3://missing")
	if got := server.Keys(t, o.bucket); len(got) != 6 {
		t.Errorf("the bucket holds %q", got)
	}
	c.Psql(t, "postgres", "DROP DATABASE IF EXISTS also_restored")
	o.run(exitOK, nil, "restore", "database", "--latest", "--into", "also_restored", "--yes").says("as the manifest has them")
}

// TestS3Labels: the class, the tags, the lock and the encryption that flags or
// the environment ask for.
func TestS3Labels(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	o := inBucketOf(t, server, newSandbox(t), server.LockedBucket(t))
	small := o.seal(noise(100), "--object-lock", "compliance", "--retain", "1d")
	o.env = append(o.env, "TAKUMI_S3_OBJECT_LOCK=governance", "TAKUMI_S3_RETAIN=30d")
	large := o.seal(noise(9<<20), "--name", "large")
	o.env = append(o.env, "TAKUMI_S3_TAGS=false")
	plain := o.seal(noise(100), "--name", "plain")
	for _, tc := range []struct {
		path, mode string
		retain     time.Duration
		tags       int
	}{{small, "COMPLIANCE", values.Day, 2}, {large, "GOVERNANCE", 30 * values.Day, 2}, {plain, "GOVERNANCE", 30 * values.Day, 0}} {
		for _, suffix := range []string{"", ".sha256"} {
			head := o.object(tc.path + suffix)
			mode := string(head.ObjectLockMode)
			if left := time.Until(aws.ToTime(head.ObjectLockRetainUntilDate)); mode != tc.mode || left > tc.retain || left < tc.retain-time.Hour {
				t.Errorf("%s%s: locked by %s for %s", tc.path, suffix, mode, left)
			}
		}
		tags := o.tags(tc.path)
		if len(tags) != tc.tags || tc.tags > 0 && (tags["takumi-backup-kind"] != "stream" || len(tags["takumi-backup-id"]) != 32) {
			t.Errorf("%s has the tags %q", tc.path, tags)
		}
	}
}

// TestS3Rewrap changes keys in a bucket: by an exchange of the head, next to a
// locked object, and with a new payload.
func TestS3Rewrap(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	other := keyFile(t, otherKey)
	for name, tc := range map[string]struct {
		locked bool
		args   []string
	}{
		"rewrap": {false, []string{"rewrap"}}, "detached": {true, []string{"rewrap", "--detached"}}, "reencrypt": {false, []string{"reencrypt"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bucket := server.VersionedBucket
			if tc.locked {
				bucket = server.LockedBucket
			}
			o := inBucketOf(t, server, newSandbox(t), bucket(t))
			if tc.locked {
				o.env = append(o.env, "TAKUMI_S3_OBJECT_LOCK=compliance", "TAKUMI_S3_RETAIN=1d")
			}
			content := map[string][]byte{o.root + "/a.enc": noise(100), o.root + "/b/b.enc": noise(9 << 20)}
			for path, c := range content {
				o.seal(c, "-o", path)
			}
			o.run(exitOK, nil, append(tc.args, o.root, "--to", "file:"+other)...)
			o.env = append(o.env, "BACKUP_ENCRYPTION_KEY_FILE="+other)
			for path, c := range content {
				o.opens(path, c)
			}
			o.run(exitOK, nil, "verify", o.root)
			if name != "reencrypt" { // which is asked for a new payload each time
				o.run(exitOK, nil, append(tc.args, o.root, "--to", "file:"+other)...).says("2 skipped")
			}
			if left := server.Uploads(t, o.bucket); len(left) > 0 {
				t.Errorf("uploads were left: %q", left)
			}
		})
	}
}

// TestS3Prune deletes in buckets that keep versions, and says what they do not
// let go of, and why.
func TestS3Prune(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	for name, bucket := range map[string]func(testing.TB) string{"plain": server.Bucket, "versions": server.VersionedBucket, "locks": server.LockedBucket} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := inBucketOf(t, server, newSandbox(t), bucket(t))
			if name == "locks" {
				o.env = append(o.env, "TAKUMI_S3_OBJECT_LOCK=compliance", "TAKUMI_S3_RETAIN=2d")
			}
			var old, locked string
			for _, age := range []int{50, 40, 1} {
				path := o.aged(age, mainKey)
				to := "s3://" + o.bucket + "/database/" + filepath.Base(path)
				if age == 40 {
					old = o.key(to)
				}
				if age == 50 {
					locked = to
				}
			}
			o.run(exitOK, nil, "replicate", o.path("store"), o.root)
			before := server.Keys(t, o.bucket)
			o.run(exitOK, nil, "prune").says("1 kept, 0 left alone, 2 to delete")
			o.has(before...)
			if name != "locks" {
				o.run(exitOK, nil, "prune", "--apply").says("1 kept, 0 left alone, 2 deleted")
				if got := server.Keys(t, o.bucket); len(got) != 2 {
					t.Errorf("the bucket holds %q", got)
				}
				if got := o.versions(); got != 2 {
					t.Errorf("%d versions are left", got)
				}
				return
			}
			r := o.run(exitSome, nil, "prune", "--apply", "--json").says("object lock (compliance) keeps it until ").says("2 could not be deleted")
			if n := strings.Count(r.stdout.String(), "object lock (compliance)"); n != 2 {
				t.Errorf("%d of 2 are told:\n%s", n, r.stdout.Bytes())
			}
			o.has(before...)
			o.opensSome(old, locked)
		})
	}
}

// opensSome checks that backups, by path or key, are what they were.
func (o *offsite) opensSome(paths ...string) {
	o.Helper()
	for _, path := range paths {
		o.opens(o.root+"/"+o.key(path), []byte(agedDump))
	}
}

// TestS3Replicate copies in all directions; what is there is left alone, what is
// rotten is not copied, and another's backup is not replaced.
func TestS3Replicate(t *testing.T) {
	t.Parallel()
	o := inBucket(t, s3test.Shared(t))
	o.exe = program
	here, back := o.path("store"), o.path("back")
	content := noise(9_000_000)
	o.env = append(o.env, "BACKUP_ROOT="+here)
	path := o.seal(content, "--name", "daily")
	old := o.aged(90, mainKey)
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-90*values.Day)); err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(path, here+"/")

	o.run(exitOK, nil, "replicate", "--dry-run", here, o.root+"/a").says("2 to copy")
	o.has()
	r := o.run(exitOK, nil, "replicate", "--newer-than", "7d", "--json", here, o.root+"/a").says("1 copied")
	var line replicated
	if err := json.Unmarshal(r.stdout.Bytes(), &line); err != nil || line.To != o.root+"/a/"+name || !line.Done || line.Action != "copy" || len(line.SHA256) != 64 {
		t.Errorf("%v: %s", err, r.stdout.Bytes())
	}
	o.run(exitOK, nil, "replicate", here, o.root+"/a/").says("1 copied").says("1 there already")
	o.run(exitOK, nil, "replicate", o.root+"/a", o.root+"/b").says("2 copied")
	o.run(exitOK, nil, "replicate", o.root+"/b", back).says("2 copied")
	if !bytes.Equal(readFile(t, filepath.Join(back, name)), readFile(t, path)) {
		t.Error("what came back is another file")
	}
	o.opens(o.root+"/b/"+name, content)

	// A rewrapped backup follows, and a detached envelope too, once the new key is at hand.
	other := keyFile(t, otherKey)
	o.run(exitOK, nil, "rewrap", path, "--to", "file:"+other)
	o.run(exitOK, nil, "replicate", "--key", "file:"+other, here, o.root+"/a").says("1 copied").says("1 there already")
	o.run(exitOK, nil, "open", o.root+"/a/"+name, "--key", "file:"+other, "-o", "replaced")
	o.run(exitOK, nil, "rewrap", "--detached", old, "--to", "file:"+other)
	o.run(exitOK, nil, "replicate", "--key", "file:"+other, here, o.root+"/a").says("1 copied").says("1 there already")
	o.run(exitOK, nil, "open", o.root+"/a/database/"+filepath.Base(old), "--key", "file:"+other, "-o", "beside")
	o.run(exitOK, nil, "replicate", old, o.root+"/new").says("1 copied")
	o.run(exitOK, nil, "open", o.root+"/new/"+filepath.Base(old), "--key", "file:"+other, "-o", "fresh")

	// An envelope that is gone here does not stay there, where it opens the backup
	// for a key that was taken back.
	o.run(exitOK, nil, "rewrap", old, "--to", "file:"+other)
	o.run(exitOK, nil, "replicate", "--key", "file:"+other, "--newer-than", "1h", here, o.root+"/a").says("1 copied").says("1 there already")
	o.run(exitKey, nil, "open", o.root+"/a/database/"+filepath.Base(old))
	if keys := o.server.Keys(t, o.bucket); slices.Contains(keys, "a/database/"+filepath.Base(old)+envelope.DetachedSuffix) {
		t.Errorf("the bucket holds %q", keys)
	}

	// What may never have been finished is not blessed with a sidecar.
	if err := os.Remove(old + ".sha256"); err != nil {
		t.Fatal(err)
	}
	if r := o.run(exitOK, nil, "list", "-l", here); !strings.Contains(r.stdout.String(), old+" (incomplete)\n") || strings.Count(r.stdout.String(), "incomplete") != 1 {
		t.Errorf("list shows\n%s", r.stdout.Bytes())
	}
	o.run(exitFailed, nil, "replicate", old, o.root+"/e").says("it has no sidecar")
	o.run(exitOK, nil, "replicate", "--without-sidecar", old, o.root+"/e").says("1 copied")

	// Rot stays where it is, and another backup of that name too.
	damage(t, path, -1)
	o.run(exitSome, nil, "replicate", "--without-sidecar", here, o.root+"/c").says("is not what its sidecar says")
	o.has(slices.DeleteFunc(o.server.Keys(t, o.bucket), func(key string) bool { return key == "c/"+name })...)
	o.run(exitUsage, nil, "replicate", o.root+"/b/"+name, o.root+"/b/stream").says("are in one another") // itself
	o.seal(noise(5), "-o", o.root+"/d/"+name)
	o.run(exitFailed, nil, "replicate", o.root+"/b/"+name, o.root+"/d/stream").says("another backup is there")
	o.opens(o.root+"/d/"+name, noise(5))
	o.run(exitOK, nil, "replicate", "--replace-others", o.root+"/b/"+name, o.root+"/d/stream")
	o.opens(o.root+"/d/"+name, content)
}

// TestCloudBackup: the nightly script as Takumi's crontabs call it.
func TestCloudBackup(t *testing.T) {
	t.Parallel()
	c := database(t, "cloud", schema)
	server := s3test.Shared(t)
	o := inBucketOf(t, server, operator(t, c, "cloud"), server.Bucket(t))
	o.env = append(o.env, "BACKUP_ROOT="+o.path("store"), "CLOUD_BACKUP=true")
	for n, env := range [][]string{{"S3_BUCKET=missing", "CLOUD_BUCKET=" + o.bucket + "/a"}, {"CLOUD_BUCKET=", "S3_BUCKET=" + o.root + "/b"}, {"BACKUP_ALSO=" + o.root + "/c"}} {
		o.env = append(o.env, env...)
		made := strings.Fields(o.script(exitOK, "automated-backup.sh").stdout.String()) // the roles and the database
		keys := server.Keys(t, o.bucket)
		for _, path := range made {
			// With the manifest, three backups and their sidecars.
			if want := string(rune('a'+n)) + "/database/" + filepath.Base(path); len(made) != 2 || len(keys) != 6*(n+1) || !slices.Contains(keys, want) {
				t.Errorf("the bucket holds %q, want %q too", keys, want)
			}
		}
	}
	// The copy is missing: the backup stands, nothing is pruned, and it is told.
	o.env = append(o.env, "BACKUP_ALSO=s3://missing")
	o.script(exitSome, "automated-backup.sh").says("not at s3://missing").says("prune: left out")
}
