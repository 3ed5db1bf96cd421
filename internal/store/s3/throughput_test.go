package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	places "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// childEnv makes the test binary copy between a pipe and S3, as the program
// does, so that its memory can be measured.
const childEnv = "TAKUMI_S3_CHILD"

// partsEnv is the child's Options.MaxParts.
const partsEnv = "TAKUMI_S3_CHILD_PARTS"

// child copies standard input to path, or path to standard output.
func child(what, path string) error {
	parts, _ := strconv.Atoi(os.Getenv(partsEnv))
	s, err := s3store.New(s3store.Options{MaxParts: parts, Identify: places.Identify})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if what == "download" {
		o, err := s.Open(ctx, path)
		if err != nil {
			return err
		}
		defer o.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, o, make([]byte, mib))
		return err
	}
	w, err := s.Create(ctx, path, store.Options{Sidecar: true})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.CopyBuffer(w, struct{ io.Reader }{os.Stdin}, make([]byte, mib)); err != nil {
		return err
	}
	if _, err = w.Commit(); err != nil || parts == 0 {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	fmt.Printf("%s\n", status)
	return err
}

// endless is n bytes that do not pack.
func endless(n int64) io.Reader {
	block := random(8 * mib)
	readers := make([]io.Reader, 0, n/int64(len(block)))
	for range n / int64(len(block)) {
		readers = append(readers, bytes.NewReader(block))
	}
	return io.MultiReader(readers...)
}

// Upload from a pipe and download to one, next to the common tools and next to
// what the server takes from one plain connection, in turns.
func TestThroughput(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to measure")
	}
	server := s3test.Shared(t)
	for _, tool := range []string{"/usr/bin/aws", "rclone"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v; run `apt-get install awscli rclone`", err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const size, rounds = 512 * mib, 3
	bucket := server.Bucket(t)
	presign := awss3.NewPresignClient(server.Client())
	env := append(server.Env(), "RCLONE_CONFIG_T_TYPE=s3", "RCLONE_CONFIG_T_PROVIDER=Other", "RCLONE_CONFIG_T_ENV_AUTH=true",
		"RCLONE_CONFIG_T_ENDPOINT="+server.Endpoint(), "RCLONE_CONFIG="+os.DevNull)
	type way struct {
		name string
		env  string
		up   []string
		down []string
	}
	ways := []way{
		{"takumi-backup", childEnv + "=", []string{exe, "upload", "s3://" + bucket + "/t.enc"}, []string{exe, "download", "s3://" + bucket + "/t.enc"}},
		{"aws s3 cp", "", []string{"/usr/bin/aws", "--endpoint-url", server.Endpoint(), "s3", "cp", "-", "s3://" + bucket + "/a.enc"}, []string{"/usr/bin/aws", "--endpoint-url", server.Endpoint(), "s3", "cp", "s3://" + bucket + "/a.enc", "-"}},
		{"rclone", "", []string{"rclone", "rcat", "t:" + bucket + "/r.enc"}, []string{"rclone", "cat", "t:" + bucket + "/r.enc"}},
	}
	best := map[string]time.Duration{}
	memory := map[string]int64{}
	note := func(name string, took time.Duration) {
		if old, ok := best[name]; !ok || took < old {
			best[name] = took
		}
	}
	for range rounds {
		if err := clean(t, server, bucket); err != nil {
			t.Fatal(err)
		}
		for _, w := range ways {
			for _, direction := range []string{"upload", "download"} {
				args := w.up
				if direction == "download" {
					args = w.down
				}
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Env = env
				if w.env != "" {
					cmd.Env = append(env, w.env+direction)
				}
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				got := &counter{}
				if direction == "upload" {
					cmd.Stdin = endless(size)
				} else {
					cmd.Stdout = got
				}
				began := time.Now()
				if err := cmd.Run(); err != nil || direction == "download" && got.n != size {
					t.Fatalf("%s %s: %v, %d bytes\n%s", w.name, direction, err, got.n, stderr.Bytes())
				}
				note(w.name+" "+direction, time.Since(began))
				rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss / 1024
				memory[w.name+" "+direction] = max(memory[w.name+" "+direction], rss)
			}
		}
		key := "plain"
		put, err := presign.PresignPutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		req, _ := http.NewRequest(http.MethodPut, put.URL, endless(size))
		req.ContentLength = size
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		note("plain connection upload", time.Since(began))
		get, err := presign.PresignGetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if resp, err = http.Get(get.URL); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Fatal(n, err)
		}
		resp.Body.Close()
		note("plain connection download", time.Since(began))
	}
	for _, direction := range []string{"upload", "download"} {
		ours := best["takumi-backup "+direction]
		for _, name := range []string{"takumi-backup", "aws s3 cp", "rclone", "plain connection"} {
			took := best[name+" "+direction]
			t.Logf("%-9s %-17s %6.0f MB/s, %.2f times ours took, %d MiB resident", direction, name,
				float64(size)/1e6/took.Seconds(), took.Seconds()/ours.Seconds(), memory[name+" "+direction])
		}
		if fastest := min(best["aws s3 cp "+direction], best["rclone "+direction]); ours > fastest*11/10 {
			t.Errorf("%s: %v, and the faster tool took %v", direction, ours, fastest)
		}
		if rss := memory["takumi-backup "+direction]; rss >= 200 {
			t.Errorf("%s took %d MiB", direction, rss)
		}
	}
}

func clean(t *testing.T, server *s3test.Server, bucket string) error {
	var errs []error
	for _, key := range server.Keys(t, bucket) {
		_, err := server.Client().DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// A backup of 6 GiB, with parts that grow on the way, in memory that does not.
func TestSixGiB(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run it")
	}
	server := s3test.Shared(t)
	f := on(t, server, server.Endpoint(), server.Bucket(t), s3store.Options{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const size = 6<<30 + 8*mib
	path := f.root + "/six.enc"
	for _, direction := range []string{"upload", "download"} {
		cmd := exec.Command(exe, direction, path)
		cmd.Env = append(server.Env(), childEnv+"="+direction)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		sum := exec.Command("sha256sum")
		var out strings.Builder
		sum.Stdout = &out
		if direction == "upload" {
			cmd.Stdin = endless(size)
		} else {
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			sum.Stdin = pipe
			if err := sum.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if direction == "download" {
			if err := sum.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s: %v\n%s", direction, err, stderr.String())
		}
		rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss / 1024
		t.Logf("%s: %d MiB resident", direction, rss)
		if rss >= 200 {
			t.Errorf("%s took %d MiB", direction, rss)
		}
		if direction == "download" {
			line, err := load(t.Context(), f, path+store.SidecarSuffix)
			if err != nil || !strings.HasPrefix(out.String(), string(line[:64])) {
				t.Errorf("what was read has the sum %s, the sidecar %s: %v", out.String(), line, err)
			}
		}
	}
	if b := stat(t, f, path); b.Size != size || !b.Sidecar {
		t.Errorf("got %+v", b)
	}
	if left := server.Uploads(t, f.bucket); len(left) > 0 {
		t.Errorf("uploads were left: %q", left)
	}
}
