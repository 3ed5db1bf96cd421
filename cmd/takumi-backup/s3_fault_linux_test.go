package main

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// behind lets further runs go through a proxy.
func (o *offsite) behind() *s3test.Proxy {
	o.Helper()
	p := s3test.NewProxy(o, o.server.Endpoint())
	o.env = append(o.env, "AWS_ENDPOINT_URL="+p.URL)
	return p
}

// TestS3Refused: the error says what is wrong, and what to do; there is no backup
// and no part of one, and the secret is not told.
func TestS3Refused(t *testing.T) {
	t.Parallel() // it waits, mostly
	server := s3test.Start(t)
	server.User(t, "nobody", "nobody-secret")
	for name, tc := range map[string]struct {
		env  []string
		says string
		hint string
	}{
		"wrong secret":       {[]string{"AWS_SECRET_ACCESS_KEY=wrong-secret"}, "does not accept the credentials", "AWS_SECRET_ACCESS_KEY"},
		"unknown user":       {[]string{"AWS_ACCESS_KEY_ID=stranger", "AWS_SECRET_ACCESS_KEY=wrong-secret"}, "does not accept the credentials", "AWS_PROFILE"},
		"denied":             {[]string{"AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=nobody-secret"}, "AccessDenied", "docs/OFFSITE.md"},
		"no credentials":     {[]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, "no AWS credentials", "AWS_PROFILE"},
		"no region":          {[]string{"AWS_REGION=", "AWS_ENDPOINT_URL="}, "no AWS region is set", "AWS_REGION"},
		"no server":          {[]string{"AWS_ENDPOINT_URL=http://127.0.0.1:1"}, "cannot be reached", "AWS_ENDPOINT_URL"},
		"missing bucket":     {[]string{"BACKUP_ROOT=s3://no-such-bucket/x"}, "no such bucket", "bucket's name"},
		"http, production":   {[]string{"AWS_ENDPOINT_URL=http://192.0.2.1", "TAKUMI_ENV=production", "AWS_ACCESS_KEY_ID=AKIAQ7ZK3M5T2XWY6B4D", "AWS_SECRET_ACCESS_KEY=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"}, "plain http", "https"},
		"lock, none to lock": {[]string{"TAKUMI_S3_OBJECT_LOCK=governance", "TAKUMI_S3_RETAIN=1d"}, "S3 answered", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := inBucket(t, server)
			o.env = append(o.env, tc.env...)
			sealing := o.program("seal", "--codec", "none")
			sealing.Stdin = bytes.NewReader(noise(9 << 20))
			runs := []*running{o.start(sealing)} // side by side: where nobody answers they wait
			if tc.hint != "" {
				root := o.root
				if name == "missing bucket" {
					root = "s3://no-such-bucket/x"
				}
				runs = append(runs, o.start(o.program("open", root+"/x.enc")), o.start(o.program("list", root)))
			}
			for _, r := range runs {
				r.exits(exitStore).says(tc.says).says(tc.hint)
				if strings.Contains(r.stderr.String(), "-secret\n") || strings.Contains(r.stderr.String(), "wrong-secret") || r.stdout.Len() > 0 {
					t.Errorf("%s tells %q and %q", r.Cmd, r.stdout.Bytes(), r.stderr.Bytes())
				}
			}
			o.has()
		})
	}
}

// TestS3Throttled: a server that asks for fewer requests, now and then or always.
func TestS3Throttled(t *testing.T) {
	t.Parallel() // it waits, mostly
	o := inBucket(t, s3test.Shared(t))
	p := o.behind()
	content := noise(9 << 20)
	throttle := func(every int64) {
		var n atomic.Int64
		p.Before(func(w http.ResponseWriter, _ *http.Request) bool {
			if n.Add(1)%every != 0 {
				return false
			}
			s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
			return true
		})
	}
	throttle(3)
	path := o.seal(content, "--codec", "none")
	o.opens(path, content)
	o.run(exitOK, nil, "replicate", o.root+"/stream", o.root+"/copy").says("1 copied")
	throttle(1)
	o.run(exitStore, bytes.NewReader(content), "seal").says("asks for fewer requests")
	p.Before(nil)
	o.has(slices.DeleteFunc(o.server.Keys(t, o.bucket), func(key string) bool {
		return !strings.HasPrefix(key, "copy/") && !strings.HasPrefix(key, o.key(path))
	})...)
}

// points is how many connections are cut.
func points() int {
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		return 100
	}
	return 3
}

// hasNoPart is has, but lets stand uploads without a part: the answer that named
// them was lost, so that nobody can end them but prune.
func (o *offsite) hasNoPart(want ...string) {
	o.Helper()
	if got := o.server.Keys(o, o.bucket); !slices.Equal(got, want) {
		o.Errorf("the bucket holds %q, want %q", got, want)
	}
	client := o.server.Client()
	uploads, err := client.ListMultipartUploads(o.Context(), &s3.ListMultipartUploadsInput{Bucket: &o.bucket})
	if err != nil {
		o.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		parts, err := client.ListParts(o.Context(), &s3.ListPartsInput{Bucket: &o.bucket, Key: u.Key, UploadId: u.UploadId})
		if err != nil || len(parts.Parts) > 0 {
			o.Errorf("an upload of %s was left, with %d parts (%v)", *u.Key, len(parts.Parts), err)
		}
	}
}

// TestS3Cut breaks the connection at random bytes of what is sent and received:
// the backup is whole all the same, and no part is left.
func TestS3Cut(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	content := noise(12 << 20)
	for name, cut := range map[string]func(p *s3test.Proxy, at int64){"up": (*s3test.Proxy).CutUpload, "down": (*s3test.Proxy).CutDownload} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := inBucket(t, server)
			p := o.behind()
			random := rand.New(rand.NewPCG(8, uint64(len(name))))
			for n := range points() {
				at := random.Int64N(int64(len(content)))
				if n%3 == 2 {
					at = random.Int64N(4096) // among the first requests
				}
				cut(p, at)
				path := o.seal(content, "--codec", "none", "--quiet", "-o", o.root+"/x.enc")
				if path != "" {
					t.Fatal(path)
				}
				cut(p, at)
				o.opens(o.root+"/x.enc", content)
				o.hasNoPart("x.enc", "x.enc.sha256")
				cut(p, at)
				o.run(exitOK, nil, "replicate", o.root+"/x.enc", o.root+"/copy")
				o.hasNoPart("copy/x.enc", "copy/x.enc.sha256", "x.enc", "x.enc.sha256")
				cut(p, -1)
				o.opens(o.root+"/copy/x.enc", content)
				o.bucket = server.Bucket(t)
				o.root = "s3://" + o.bucket
			}
		})
	}
}

// TestS3ServerDies: a server that comes back within a moment costs no more than
// that.
func TestS3ServerDies(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	o := inBucket(t, server)
	content := noise(20 << 20)
	cmd := o.program("seal", "--codec", "none", "-o", o.root+"/x.enc")
	w := heldPipe(t, cmd)
	seal := o.start(cmd)
	half := len(content) / 2
	if _, err := w.Write(content[:half]); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	rest := make(chan error)
	go func() {
		_, err := w.Write(content[half:])
		w.Close()
		rest <- err
	}()
	server.Restart(t)
	if err := <-rest; err != nil {
		t.Fatal(err)
	}
	seal.exits(exitOK)
	o.has("x.enc", "x.enc.sha256")
	o.opens(o.root+"/x.enc", content)
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		return // minutes of attempts
	}

	// One that does not come back: after minutes, an error.
	o.patience *= 10
	seal, w = o.sealsOn("y.enc")
	server.Kill()
	w.Close()
	seal.exits(exitStore).says("cannot be reached").says("cleaning up failed too")
	server.Restart(t)
	if got := server.Keys(t, o.bucket); len(got) != 2 {
		t.Errorf("the bucket holds %q", got)
	}
	o.sweeps(len(server.Uploads(t, o.bucket)))
}

// sweeps has prune end the uploads that are left, and delete what was to take
// another object's place.
func (o *offsite) sweeps(uploads int) {
	o.Helper()
	keys := o.server.Keys(o, o.bucket)
	o.exe = program                        // which can be told not to wait a week
	o.run(exitOK, nil, "prune", "--apply") // it might be a backup that is being made
	if got := len(o.server.Uploads(o, o.bucket)); got != uploads {
		o.Errorf("%d of %d uploads are left at once", got, uploads)
	}
	o.env = append(o.env, "TAKUMI_TEST_CRASH_AGE=1ns")
	dry := o.run(exitOK, nil, "prune")
	applied := o.run(exitOK, nil, "prune", "--apply")
	if n, m := strings.Count(dry.stderr.String(), "would remove an upload that was never completed: "), strings.Count(applied.stderr.String(), "removed an upload that was never completed: "); n != uploads || m != uploads {
		o.Errorf("%d uploads, %d would be removed, and %d were", uploads, n, m)
	}
	o.has(slices.DeleteFunc(keys, func(key string) bool { return strings.HasSuffix(key, ".reencrypt-partial") })...)
}

// sealsOn starts a seal to the bucket that does not end before its input is closed, and
// returns when it has sent a part.
func (o *offsite) sealsOn(name string) (*running, *os.File) {
	o.Helper()
	cmd := o.program("seal", "--codec", "none", "-o", o.root+"/"+name)
	w := heldPipe(o.T, cmd)
	seal := o.start(cmd)
	go w.Write(noise(20 << 20))
	client := o.server.Client()
	eventually(o, "a part is sent", func() bool {
		uploads, err := client.ListMultipartUploads(o.Context(), &s3.ListMultipartUploadsInput{Bucket: &o.bucket})
		if err != nil || len(uploads.Uploads) != 1 {
			return false
		}
		parts, err := client.ListParts(o.Context(), &s3.ListPartsInput{Bucket: &o.bucket, Key: &name, UploadId: uploads.Uploads[0].UploadId})
		return err == nil && len(parts.Parts) > 0
	})
	return seal, w
}

// TestS3Stopped: after a signal nothing is left; after a kill, what prune sweeps.
func TestS3Stopped(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	for name, sig := range map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := inBucket(t, server)
			seal, _ := o.sealsOn("x.enc")
			seal.Process.Signal(sig)
			if sig != syscall.SIGKILL {
				seal.exits(exitSignal)
				o.has()
				return
			}
			seal.exits(-1)
			if r := o.run(exitOK, nil, "list"); !strings.Contains(r.stderr.String(), "there are no backups") {
				t.Errorf("list shows\n%s%s", r.stdout.Bytes(), r.stderr.Bytes())
			}
			o.sweeps(1)
			o.seal(noise(9), "-o", o.root+"/x.enc") // the name is free
		})
	}
}

// TestS3ReplicateStopped: a run that was killed at any moment goes on.
func TestS3ReplicateStopped(t *testing.T) {
	t.Parallel()
	o := inBucket(t, s3test.Shared(t))
	p := o.behind()
	from := o.path("from")
	if err := os.Mkdir(from, 0o700); err != nil {
		t.Fatal(err)
	}
	names := []string{"a.enc", "b.enc", "c.enc"}
	for _, name := range names {
		o.seal(noise(9<<20), "--codec", "none", "-o", from+"/"+name)
	}
	// Each run is killed when it has asked for more things than the one before:
	// in the long run, at each of its requests.
	step := int64(2)
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		step = 1
	}
	for n, runs := int64(1), 0; ; n, runs = n+step, runs+1 {
		replicate := o.program("replicate", "--workers", "1", from, o.root)
		var asked atomic.Int64
		reached := make(chan struct{})
		p.Before(func(http.ResponseWriter, *http.Request) bool {
			switch now := asked.Add(1); {
			case now == n:
				close(reached)
				fallthrough
			case now > n:
				panic(http.ErrAbortHandler)
			}
			return false
		})
		r := o.start(replicate)
		done := make(chan struct{})
		go func() { _ = r.Wait(); close(done) }()
		select {
		case <-reached:
			_ = r.Process.Kill()
			<-done
			continue
		case <-done:
		}
		if code := r.ProcessState.ExitCode(); code != exitOK {
			t.Fatalf("exit code %d\n%s", code, r.stderr.Bytes())
		}
		t.Logf("done after %d runs that were killed", runs)
		break
	}
	p.Before(nil)
	o.sweeps(len(o.server.Uploads(t, o.bucket)))
	var want []string
	for _, name := range names {
		o.opens(o.root+"/"+name, noise(9<<20))
		want = append(want, name, name+".sha256")
	}
	o.has(want...)
}
