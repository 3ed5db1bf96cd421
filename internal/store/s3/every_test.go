package s3store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// step is what a store is asked for, of a bucket with one backup unless it is the first.
type step struct {
	name  string
	first bool
	set   func()       // the bucket, before
	do    func() error // and how the caller sees that it is done
	holds func() error // what is so afterwards
}

// refusing is a server within the process that refuses one request.
type refusing struct {
	*s3test.Memory
	left    atomic.Int64 // until it does
	refused atomic.Pointer[string]
}

func (r *refusing) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.left.Add(-1) == 0 {
		what := req.Method + " " + req.URL.String()
		r.refused.Store(&what)
		s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	r.Memory.ServeHTTP(w, req)
}

// TestEveryRefusal has each request of everything that a store does refused in turn. What is
// said to be done is done; what failed is done the next time; and Sweep clears away all that
// is left.
func TestEveryRefusal(t *testing.T) {
	t.Parallel()
	const unit = 10 << 10
	var server atomic.Pointer[refusing]
	endpoint := new(s3test.Vendor).Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { server.Load().ServeHTTP(w, r) }))
	o := s3store.Restless(s3store.Options{Identify: anything, Tags: func(string, []byte) map[string]string { return map[string]string{"kind": "x"} }})
	o = s3store.Small(o, 5*unit, 10*unit, 5*unit)
	buckets := 0
	for _, versioned := range []bool{false, true} {
		for n, more := 0, true; more; n++ {
			for point, again := 1, true; again; point++ {
				r := &refusing{Memory: s3test.NewMemory()}
				r.Versioned = versioned
				server.Store(r)
				buckets++ // nothing is known yet of another one
				bucket := fmt.Sprint("bucket", buckets)
				s := open(t, endpoint, o)
				all := steps(t, s, r.Memory, bucket, unit)
				step := all[n]
				more = n < len(all)-1
				if !step.first {
					r.Put(bucket, "d/x.enc", was)
					r.Put(bucket, "d/x.enc.sha256", []byte(sumOf(was)+"  x.enc\n"))
				}
				if step.set != nil {
					step.set()
				}
				r.left.Store(int64(point))
				err := step.do()
				what := r.refused.Load()
				if again = what != nil; !again {
					what = new(string)
				}
				if err != nil && (!again || !errors.Is(err, s3store.ErrDenied)) {
					t.Fatalf("versions %v, %s, request %d, %s: %v", versioned, step.name, point, *what, err)
				}
				if err != nil {
					if err := step.do(); err != nil {
						t.Errorf("versions %v, %s, request %d, %s: the next time: %v", versioned, step.name, point, *what, err)
					}
				}
				r.left.Store(0) // nothing more
				if _, err := s.Sweep(t.Context(), "s3://"+bucket, -time.Hour, false); err != nil {
					t.Error(err)
				}
				if fault := step.holds(); fault != nil || r.Uploads() > 0 {
					t.Errorf("versions %v, %s, request %d, %s: %v was said, and %v; %d uploads", versioned, step.name, point, *what, err, fault, r.Uploads())
				}
			}
		}
	}
}

var was = random(90 << 10)

func steps(t *testing.T, s *s3store.Store, server *s3test.Memory, bucket string, unit int) []step {
	ctx, root := t.Context(), "s3://"+bucket
	path, head, now := root+"/d/x.enc", append(random(unit), was[50:]...), append(random(unit), was[unit:]...)
	holds := func(want []byte, beside ...string) func() error {
		return func() error {
			keys := []string{"d/x.enc", "d/x.enc.sha256"}
			if beside != nil {
				keys = []string{"d/x.enc", "d/x.enc.envelope", "d/x.enc.sha256"}
			}
			line, envelope := string(server.Content(bucket, "d/x.enc.sha256")), string(server.Content(bucket, "d/x.enc.envelope"))
			if got := server.Keys(bucket); !slices.Equal(got, keys) || line != sumOf(want)+"  x.enc\n" || sumOf(server.Content(bucket, "d/x.enc")) != sumOf(want) || envelope != strings.Join(beside, "") {
				return fmt.Errorf("there are %q, the sidecar is %q, the envelope %q", got, line, envelope)
			}
			return nil
		}
	}
	unchanged := holds(was)
	var made time.Time
	send := func(method, key string) {
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/"+bucket+"/"+key, http.NoBody))
	}
	enveloped := func() { server.Put(bucket, "d/x.enc.envelope", []byte("slots")) }
	one := func(b store.Backup, root bool, err error) error {
		if err == nil && (root || b.Path != path || !b.Sidecar || b.Size != int64(len(was))) {
			err = fmt.Errorf("found %+v", b)
		}
		return err
	}
	// Who is told that it failed looks again, and finds it done.
	put := func(old, now []byte) func() error {
		return func() error {
			err := s.Put(ctx, path, ".envelope", old, now)
			if errors.Is(err, store.ErrChanged) && string(server.Content(bucket, "d/x.enc.envelope")) == string(now) {
				return nil
			}
			return err
		}
	}
	all := []step{
		{name: "save", first: true, do: func() error {
			_, err := save(ctx, s, path, was, store.Options{Sidecar: true})
			return err
		}, holds: unchanged},
		{name: "rewrap", do: func() error {
			off := int64(50)
			if sumOf(server.Content(bucket, "d/x.enc")) == sumOf(head) { // only the sidecar was missing
				off = int64(unit)
			}
			return rehead(ctx, s, path, head[:unit], off, sha256.Sum256(head))
		}, holds: holds(head)},
		{name: "replace", do: func() error { return changes["Replace"](ctx, s, path, now) }, holds: holds(now)},
		{name: "put", do: put(nil, []byte("slots")), holds: holds(was, "slots")},
		{name: "walk", do: func() (err error) {
			n := 0
			for b, walkErr := range s.Walk(ctx, root, false) {
				n++
				err = errors.Join(err, one(b, false, walkErr))
			}
			if n != 1 {
				err = errors.Join(err, fmt.Errorf("%d were found", n))
			}
			return err
		}, holds: unchanged},
		{name: "stat", do: func() error { return one(s.Stat(ctx, path)) }, holds: unchanged},
		{name: "stat of a root", do: func() error {
			_, isRoot, err := s.Stat(ctx, root+"/d")
			if err == nil && !isRoot {
				err = errors.New("it is no root")
			}
			return err
		}, holds: unchanged},
		{name: "load", do: func() error {
			got, err := load(ctx, s, path)
			if err == nil && sumOf(got) != sumOf(was) {
				err = errors.New("it differs")
			}
			return err
		}, holds: unchanged},
		{name: "put another", set: enveloped, do: put([]byte("slots"), []byte("more")), holds: holds(was, "more")},
		{name: "put nothing", set: enveloped, do: put([]byte("slots"), nil), holds: unchanged},
		{name: "remove", set: func() {
			enveloped()
			head := httptest.NewRecorder()
			server.ServeHTTP(head, httptest.NewRequest("HEAD", "/"+bucket+"/d/x.enc", http.NoBody))
			made, _ = http.ParseTime(head.Header().Get("Last-Modified"))
		}, do: func() error {
			err := s.Remove(ctx, store.Backup{Path: path, Size: int64(len(was)), ModTime: made}, ".envelope")
			if errors.Is(err, store.ErrChanged) && server.Content(bucket, "d/x.enc") == nil {
				return nil
			}
			return err
		}, holds: func() error {
			if left := server.Keys(bucket); len(left) > 0 {
				return fmt.Errorf("%q are there", left)
			}
			return nil
		}},
		{name: "sweep", set: func() {
			send(http.MethodPost, "d/x.enc?uploads")
			server.Put(bucket, "d/x.enc.segment-00001", nil)
			server.Put(bucket, "d/gone.enc.sha256", nil)
		}, do: func() error {
			swept, err := s.Sweep(ctx, root, -time.Hour, false)
			for _, left := range swept {
				err = errors.Join(err, left.Err)
			}
			return err
		}, holds: unchanged},
	}
	hidden := func() {
		for _, key := range []string{"d/x.enc", "d/x.enc.sha256"} {
			send(http.MethodDelete, key)
		}
	}
	if server.Versioned {
		differ := slices.IndexFunc(all, func(s step) bool { return s.name == "put another" })
		all = append(all[differ:], step{name: "list what is deleted", set: hidden, do: func() error {
			deleted, err := s.Deleted(ctx, root)
			if err == nil && (len(deleted) != 1 || deleted[0].Path != path || !deleted[0].Sidecar) {
				err = fmt.Errorf("deleted are %+v", deleted)
			}
			return err
		}, holds: func() error { return nil }}, step{name: "undelete", set: hidden, do: func() error {
			err := s.Undelete(ctx, path)
			if err != nil && unchanged() == nil {
				return nil
			}
			return err
		}, holds: unchanged})
	}
	return all
}
