package s3store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// scaled is how often a long proof is repeated.
func scaled(usual, long int) int {
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		return long
	}
	return usual
}

// behind is a store that reaches the server through a proxy.
func behind(t *testing.T, o s3store.Options) (*fixture, *s3test.Proxy) {
	t.Helper()
	server := s3test.Shared(t)
	p := s3test.NewProxy(t, server.Endpoint())
	return on(t, server, p.URL, server.Bucket(t), o), p
}

// A connection that breaks at any byte of an upload or download costs a repeated
// request and no byte.
func TestCut(t *testing.T) {
	noLeaks(t)
	f, p := behind(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	const size = 7*mib + 345
	content := random(size)
	for i := range scaled(6, 100) {
		path := fmt.Sprintf("%s/c%d.enc", f.root, i)
		p.CutUpload(rand.Int64N(size))
		mustSave(t, f, path, content)
		p.CutDownload(rand.Int64N(size))
		wantBackup(t, f, path, content)
		p.CutDownload(-1)
		if err := f.Remove(t.Context(), stat(t, f, path)); err != nil {
			t.Fatal(err)
		}
	}
	f.wantKeys(t)
}

func stat(t *testing.T, s store.Store, path string) store.Backup {
	t.Helper()
	b, _, err := s.Stat(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Any answer can get lost: the request was carried out, and nobody knows.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	was := random(6 * mib)
	for i, size := range []int{100, 5*mib + 1} {
		for lost := 0; ; lost++ {
			path := fmt.Sprintf("%s/l%d-%d.enc", f.root, i, lost)
			before := p.Requests()
			var fired atomic.Bool
			p.Before(loseAnswer(p, before+lost+1, &fired, f.server.Endpoint()))
			mustSave(t, f, path, was[:size])
			p.Before(nil)
			wantBackup(t, f, path, was[:size])
			if !fired.Load() {
				break // there are no more requests
			}
		}
	}
	// Also where the answer that was lost told the id of an upload.
	if left := f.server.Uploads(t, f.bucket); len(left) > 0 {
		t.Errorf("uploads were left: %q", left)
	}
}

// loseAnswer has request n carried out by the server, and breaks the connection.
func loseAnswer(p *s3test.Proxy, n int, fired *atomic.Bool, endpoint string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if p.Requests() != n || !fired.CompareAndSwap(false, true) {
			return false
		}
		out := r.Clone(context.WithoutCancel(r.Context()))
		out.RequestURI = ""
		out.URL.Scheme, out.URL.Host = "http", strings.TrimPrefix(endpoint, "http://")
		if resp, err := http.DefaultTransport.RoundTrip(out); err == nil {
			resp.Body.Close()
		}
		panic(http.ErrAbortHandler)
	}
}

// A server that asks for fewer requests is heeded, and given up in the end.
func TestThrottled(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	content := random(11 * mib)
	path := f.root + "/x.enc"
	var n atomic.Int32
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if n.Add(1)%3 == 0 {
			return false
		}
		s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return true
	})
	mustSave(t, f, path, content)
	wantBackup(t, f, path, content)
	f.wantKeys(t, "x.enc", "x.enc.sha256")

	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return true
	})
	_, err := save(t.Context(), f, f.root+"/y.enc", content, store.Options{Sidecar: true})
	wants(t, err, s3store.ErrThrottled)
	_, err = load(t.Context(), f, path)
	wants(t, err, s3store.ErrThrottled)

	// It begins in the middle, and taking back the upload is let through.
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") != "2" {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // or the connection breaks before the answer is read
		s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return true
	})
	_, err = save(t.Context(), f, f.root+"/y.enc", content, store.Options{Sidecar: true})
	wants(t, err, s3store.ErrThrottled, "y.enc")
	f.wantKeys(t, "x.enc", "x.enc.sha256")
}

// A sidecar that cannot be written takes the backup with it.
func TestNoSidecar(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, store.SidecarSuffix) {
			return false
		}
		s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	for _, size := range []int{10, 11 * mib} {
		_, err := save(t.Context(), f, f.root+"/x.enc", random(size), store.Options{Sidecar: true})
		wants(t, err, s3store.ErrDenied, "sha256")
	}
	f.wantKeys(t)
}

// What hangs is given up and tried again.
func TestStalled(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Hasty(s3store.Options{PartSize: 5 * mib}, 1500*time.Millisecond, 4))
	content := random(11 * mib)
	var hung atomic.Int32
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") == "1" && hung.Add(1) == 1 || r.Method == http.MethodGet && r.Header.Get("If-Match") != "" && hung.Add(1) == 2 {
			select {
			case <-r.Context().Done():
			case <-over: // a server does not learn that a client that sends is gone
			}
			panic(http.ErrAbortHandler)
		}
		return false
	})
	mustSave(t, f, f.root+"/x.enc", content)
	wantBackup(t, f, f.root+"/x.enc", content)
	f.wantKeys(t, "x.enc", "x.enc.sha256")
}

// The end of the context takes the upload back, however far it has come.
func TestStopped(t *testing.T) {
	noLeaks(t)
	f := fresh(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	over := errors.New("over")
	for _, size := range []int{0, 100, 17 * mib} {
		ctx, cancel := context.WithCancelCause(t.Context())
		w, err := f.Create(ctx, f.root+"/x.enc", store.Options{Sidecar: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(random(size)); err != nil {
			t.Fatal(err)
		}
		cancel(over)
		_, err = w.Commit()
		wants(t, err, over)
	}
	f.wantKeys(t)
}

// The server dies and comes back in the middle, at all stages.
func TestRestart(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	f := on(t, server, server.Endpoint(), server.Bucket(t), s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	content := random(27 * mib)
	var kept []string
	for i := range scaled(3, 20) {
		name := fmt.Sprintf("x%d.enc", i)
		done := make(chan error, 1)
		go func() {
			_, err := save(t.Context(), f, f.root+"/"+name, content, store.Options{Sidecar: true})
			done <- err
		}()
		time.Sleep(rand.N(250 * time.Millisecond))
		server.Kill()
		time.Sleep(50 * time.Millisecond)
		server.Restart(t)
		if err := <-done; err != nil {
			t.Logf("%s: %v", name, err)
			wants(t, err, s3store.ErrUnreachable)
			continue
		}
		wantBackup(t, f, f.root+"/"+name, content)
		kept = append(kept, name, name+store.SidecarSuffix)
	}
	// A kill may have cut off the answer that would have told an upload's id.
	if _, err := f.Sweep(t.Context(), f.root, -time.Hour, false); err != nil {
		t.Error(err)
	}
	f.wantKeys(t, kept...)
}
