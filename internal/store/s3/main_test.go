package s3store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	places "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

const mib = 1 << 20

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		if err := child(what, os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Nothing of the caller's leads astray, and no metadata service is asked.
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": s3test.AccessKey, "AWS_SECRET_ACCESS_KEY": s3test.Secret, "AWS_REGION": s3test.Region,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		os.Setenv(name, value)
	}
	os.Exit(s3test.Main(m))
}

// open returns a store at endpoint.
func open(t testing.TB, endpoint string, o s3store.Options) *s3store.Store {
	t.Helper()
	o.Endpoint = endpoint
	if o.Identify == nil {
		o.Identify = places.Identify
	}
	s, err := s3store.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fixture is a store with a bucket of its own, which has to be clean in the end.
type fixture struct {
	*s3store.Store
	server *s3test.Server
	bucket string
	root   string
}

func fresh(t testing.TB, o s3store.Options) *fixture {
	t.Helper()
	server := s3test.Shared(t)
	return on(t, server, server.Endpoint(), server.Bucket(t), o)
}

func on(t testing.TB, server *s3test.Server, endpoint, bucket string, o s3store.Options) *fixture {
	t.Helper()
	return &fixture{open(t, endpoint, o), server, bucket, "s3://" + bucket}
}

// as returns a store with other credentials.
func as(access, secret string) func(*awss3.Options) {
	return func(o *awss3.Options) { o.Credentials = aws.NewCredentialsCache(s3test.Credentials(access, secret)) }
}

// random is n bytes that no two calls share.
func random(n int) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(n), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	_, _ = src.Read(p)
	return p
}

// save writes a backup in pieces of odd sizes.
func save(ctx context.Context, s store.Store, path string, content []byte, o store.Options) (store.Result, error) {
	w, err := s.Create(ctx, path, o)
	if err != nil {
		return store.Result{}, err
	}
	defer w.Abort()
	for piece := range slices.Chunk(content, 777_777) {
		if _, err := w.Write(piece); err != nil {
			return store.Result{}, err
		}
	}
	return w.Commit()
}

func mustSave(t testing.TB, s store.Store, path string, content []byte) {
	t.Helper()
	result, err := save(t.Context(), s, path, content, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := (store.Result{Path: path, Size: int64(len(content)), SHA256: sumOf(content)}); result != want {
		t.Errorf("got %+v, want %+v", result, want)
	}
}

func sumOf(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// load reads all of a file.
func load(ctx context.Context, s store.Store, path string) ([]byte, error) {
	o, err := s.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err == nil && int64(len(p)) != o.Size() {
		err = fmt.Errorf("%d bytes of %d", len(p), o.Size())
	}
	return p, err
}

// wantBackup checks that a backup is whole, and its sidecar too.
func wantBackup(t testing.TB, s store.Store, file string, want []byte) {
	t.Helper()
	got, err := load(t.Context(), s, file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the %d bytes read differ from the %d written", file, len(got), len(want))
	}
	line, err := load(t.Context(), s, file+store.SidecarSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if want := sumOf(want) + "  " + store.Base(file) + "\n"; string(line) != want {
		t.Errorf("sidecar %q, want %q", line, want)
	}
}

// wantKeys checks what the bucket holds, and that no upload was left in it.
func (f *fixture) wantKeys(t testing.TB, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := f.server.Keys(t, f.bucket); !slices.Equal(got, want) {
		t.Errorf("the bucket holds %q, want %q", got, want)
	}
	if left := f.server.Uploads(t, f.bucket); len(left) > 0 {
		t.Errorf("uploads were left: %q", left)
	}
}

func wants(t testing.TB, err error, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got %v, want %v", err, target)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), s3test.Secret) || len(err.Error()) > 500 {
		t.Errorf("the error tells too much: %v", err)
	}
}

// noLeaks checks that no goroutine outlives the test.
func noLeaks(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for try := 0; runtime.NumGoroutine() > before+idle && try < 3000; try++ {
			time.Sleep(20 * time.Millisecond)
		}
		if n := runtime.NumGoroutine(); n > before+idle {
			stacks := make([]byte, 1<<20)
			t.Errorf("%d goroutines, %d before\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
		}
	})
}

// idle is room for what idle connections keep: two goroutines for each.
const idle = 40
