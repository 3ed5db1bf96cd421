package s3store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// changes are the two ways to change a backup of more than one part.
var changes = map[string]func(ctx context.Context, f *s3store.Store, path string, now []byte) error{
	"Rewrap": func(ctx context.Context, f *s3store.Store, path string, now []byte) error {
		return newHead(ctx, f, path, now[:1000])
	},
	"Replace": func(ctx context.Context, f *s3store.Store, path string, now []byte) error {
		r, err := f.Replace(ctx, path)
		if err != nil {
			return err
		}
		if _, err = r.Write(now); err == nil {
			_, err = r.Finish()
		}
		if err == nil {
			err = r.Swap(ctx)
		}
		return errors.Join(err, r.Abort())
	},
}

// newHead gives a backup another head of the same length.
func newHead(ctx context.Context, f *s3store.Store, path string, head []byte) error {
	r, err := f.Replace(ctx, path)
	if err != nil {
		return err
	}
	if _, err = r.Write(head); err == nil {
		err = r.CopyFrom(ctx, int64(len(head)), io.Discard)
	}
	if err == nil {
		_, err = r.Finish()
	}
	if err == nil {
		err = r.Swap(ctx)
	}
	return errors.Join(err, r.Abort())
}

// Any answer to a change can get lost, and the change is made all the same.
func TestChangeLostAnswers(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Small(s3store.Quick(s3store.Options{PartSize: 5 * mib}), 5*mib, 10*mib, 5*mib))
	was := random(11 * mib)
	for name, change := range changes {
		path := f.root + "/" + name + ".enc"
		mustSave(t, f, path, was)
		for lost, done := 0, false; !done; lost += scaled(5, 1) {
			now := append(random(1000), was[1000:]...)
			var fired atomic.Bool
			p.Before(loseAnswer(p, p.Requests()+lost+1, &fired, f.server.Endpoint()))
			if err := change(t.Context(), f.Store, path, now); err != nil {
				t.Fatalf("%s, answer %d: %v", name, lost, err)
			}
			p.Before(nil)
			wantBackup(t, f, path, now)
			done = !fired.Load()
		}
	}
	if _, err := f.Sweep(t.Context(), f.root, -time.Hour, false); err != nil {
		t.Error(err)
	}
	f.wantKeys(t, "Replace.enc", "Replace.enc.sha256", "Rewrap.enc", "Rewrap.enc.sha256")
}

// Of two changes of one backup that were begun alike, one is made.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	f := fresh(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	was := random(9 * mib)
	for name, change := range changes {
		path := f.root + "/" + name + ".enc"
		mustSave(t, f, path, was)
		r, err := f.Replace(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Abort()
		if _, err = r.Write(was[:1000]); err == nil {
			err = r.CopyFrom(t.Context(), 1000, io.Discard)
		}
		if err == nil {
			_, err = r.Finish()
		}
		if err != nil {
			t.Fatal(err)
		}
		now := append(random(1000), was[1000:]...)
		if err := change(t.Context(), f.Store, path, now); err != nil {
			t.Fatal(err)
		}
		wants(t, r.Swap(t.Context()), store.ErrChanged)
		wantBackup(t, f, path, now)
	}
}

// A Swap that was killed behind its first step is finished by the next Replace.
func TestSwapKilled(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	p := s3test.NewProxy(t, server.Endpoint())
	for name, bucket := range map[string]string{"plain": server.Bucket(t), "versions": server.VersionedBucket(t)} {
		f := on(t, server, p.URL, bucket, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
		for _, size := range []int{100, 9 * mib} {
			path, now := fmt.Sprintf("%s/%d.enc", f.root, size), random(size)
			mustSave(t, f, path, random(10))
			p.Before(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, store.SidecarSuffix) {
					return false
				}
				s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
				return true
			})
			wants(t, changes["Replace"](t.Context(), f.Store, path, now), s3store.ErrDenied, "sha256")
			p.Before(nil)
			killed, err := f.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if sum, ok := killed.(*s3store.Object).Noted(); !ok || sum != sha256.Sum256(now) {
				t.Errorf("%s: %x, %v is noted", name, sum, ok)
			}
			killed.Close()
			for range 2 {
				r, err := f.Replace(t.Context(), path)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if err := r.Abort(); err != nil {
					t.Error(err)
				}
				wantBackup(t, f, path, now)
			}
		}
		f.wantKeys(t, "100.enc", "100.enc.sha256", "9437184.enc", "9437184.enc.sha256")
	}
}

// Of two hosts that change a backup at the same time, the last to make the object
// makes the sidecar, and the other is told.
func TestChangedByTwo(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	other := on(t, f.server, f.server.Endpoint(), f.bucket, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	was := random(9 * mib)
	for _, method := range []string{http.MethodHead, http.MethodPut} {
		for name, change := range changes {
			path := f.root + "/" + name + method + ".enc"
			mustSave(t, f, path, was)
			mine, theirs := append(random(1000), was[1000:]...), append(random(1000), was[1000:]...)
			var once sync.Once
			p.Before(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == method && strings.HasSuffix(r.URL.Path, store.SidecarSuffix) {
					once.Do(func() {
						if err := changes["Rewrap"](t.Context(), other.Store, path, theirs); err != nil {
							t.Error(err)
						}
					})
				}
				return false
			})
			wants(t, change(t.Context(), f.Store, path, mine), store.ErrChanged)
			p.Before(nil)
			wantBackup(t, f, path, theirs)
		}
	}
}
