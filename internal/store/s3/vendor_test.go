package s3store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// vendor is a vendor's server with a store on it.
type vendor struct {
	*s3store.Store
	root    string
	keys    func() []string
	uploads func() int
	put     func(key string, content []byte)
	rules   *s3test.Vendor
	unit    int // a fifth of a part

	endpoint string
}

// vendors runs a test on a server within the process and, where integration tests
// are switched on, on a real one, behind the same rules.
func vendors(t *testing.T, rules func() *s3test.Vendor, o s3store.Options, versioned bool, test func(t *testing.T, v *vendor)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		m := s3test.NewMemory()
		m.Versioned = versioned
		inMemory(t, m, rules(), o, test)
	})
	if os.Getenv(s3test.Switch) != "1" {
		return
	}
	t.Run("versitygw", func(t *testing.T) {
		t.Parallel()
		server, r := s3test.Shared(t), rules()
		o := o
		o.Identify = anything
		bucket := server.Bucket(t)
		if versioned {
			bucket = server.VersionedBucket(t)
		}
		endpoint := r.Start(t, server.Forward())
		test(t, &vendor{
			endpoint: endpoint, Store: open(t, endpoint, s3store.Small(o, 5*mib, 10*mib, 5*mib)), root: "s3://" + bucket, rules: r,
			unit: mib, keys: func() []string { return server.Keys(t, bucket) }, uploads: func() int { return len(server.Uploads(t, bucket)) },
		})
	})
}

// anything takes all that is written for one backup.
func anything([]byte) (s3store.Identity, bool) { return s3store.Identity{}, true }

func inMemory(t *testing.T, m *s3test.Memory, r *s3test.Vendor, o s3store.Options, test func(t *testing.T, v *vendor)) {
	o.Identify = anything
	const unit = 10 << 10
	endpoint := r.Start(t, m)
	test(t, &vendor{
		endpoint: endpoint, Store: open(t, endpoint, s3store.Small(o, 5*unit, 10*unit, 5*unit)), root: "s3://bucket", rules: r, unit: unit,
		keys: func() []string { return m.Keys("bucket") }, uploads: m.Uploads, put: func(key string, content []byte) { m.Put("bucket", key, content) },
	})
}

// rest checks what is left, and that no upload is.
func (v *vendor) rest(t *testing.T, want ...string) {
	t.Helper()
	if got := v.keys(); !slices.Equal(got, want) {
		t.Errorf("%q are left, want %q", got, want)
	}
	if n := v.uploads(); n > 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// life does all that a backup goes through in its life.
func (v *vendor) life(t *testing.T) {
	ctx, large := t.Context(), 9*v.unit
	if v.rules.EqualParts {
		large = 21 * v.unit
	}
	for _, size := range []int{100, large} {
		path, content := v.root+"/daily/plus/a+b c%3D&.enc", random(size)
		mustSave(t, v, path, content)
		wantBackup(t, v, path, content)
		_, err := save(ctx, v, path, random(200), store.Options{Sidecar: true})
		wants(t, err, store.ErrExists)

		// As a rewrap does it: a new head, and the rest as it was.
		now := append(random(4200), content[90:]...)
		if err := rehead(ctx, v, path, now[:4200], 90, sha256.Sum256(now)); err != nil {
			t.Fatal(err)
		}
		wantBackup(t, v, path, now)
		now = random(size + v.unit)
		if err := changes["Replace"](ctx, v.Store, path, now); err != nil {
			t.Fatal(err)
		}
		wantBackup(t, v, path, now)

		found := 0
		for b, err := range v.Walk(ctx, v.root+"/daily", false) {
			if err != nil {
				t.Fatal(err)
			}
			if found++; b.Path != path || !b.Sidecar || b.Size != int64(len(now)) {
				t.Errorf("found %+v", b)
			}
		}
		if found != 1 {
			t.Errorf("%d backups were found", found)
		}
		if err := v.Put(ctx, path, ".envelope", nil, []byte("slots")); err != nil {
			t.Fatal(err)
		}
		if err := v.Remove(ctx, stat(t, v, path), ".envelope"); err != nil {
			t.Fatal(err)
		}
		v.rest(t)
	}
}

// rehead replaces the first off bytes of a file by head.
func rehead(ctx context.Context, s store.Store, path string, head []byte, off int64, sum [sha256.Size]byte) error {
	r, err := s.Replace(ctx, path)
	if err != nil {
		return err
	}
	if _, err = r.Write(head); err == nil {
		err = r.CopyFrom(ctx, off, io.Discard)
	}
	if err == nil {
		_, err = r.Finish()
	}
	if err == nil {
		err = proves(ctx, r, sum)
	}
	if err == nil {
		err = r.Swap(ctx)
	}
	return errors.Join(err, r.Abort())
}

// proves reads what is to take a file's place.
func proves(ctx context.Context, r store.Replacement, sum [sha256.Size]byte) error {
	o, err := r.Open(ctx)
	if err != nil {
		return err
	}
	defer o.Close()
	all, err := io.ReadAll(o)
	if err != nil {
		return err
	}
	part := make([]byte, 50)
	if _, err := o.ReadAt(part, int64(len(all)/2)); err != nil && err != io.EOF {
		return err
	}
	if sha256.Sum256(all) != sum || !bytes.HasPrefix(all[len(all)/2:], bytes.TrimRight(part, "\x00")) {
		return errors.New("the new file is another")
	}
	return nil
}

// Whatever a vendor lacks, a backup goes through its whole life there.
func TestVendors(t *testing.T) {
	// Each rule is there once; all of them before a real server are a long proof.
	real := map[string]bool{"R2": true, "B2": true, "GCS": true, "AWS, versions": true, "no list of versions": true}
	for name, rules := range map[string]s3test.Vendor{
		"AWS": {}, "R2": {EqualParts: true}, "B2": {NoConditions: true, NoSums: true, Tags: http.StatusBadRequest},
		"GCS": {RewriteEncoding: true, IgnoresCond: true, NoSums: true}, "B2, versions": {NoConditions: true, NoSums: true},
		"AWS, versions": {}, "no list of versions": {NoVersions: true}, "no checksums": {NoSums: true},
		"no tags": {Tags: http.StatusNotImplemented},
	} {
		t.Run(name, func(t *testing.T) {
			o := s3store.Quick(s3store.Options{Tags: func(string, []byte) map[string]string { return map[string]string{"kind": "x"} }})
			life, versioned := func(t *testing.T, v *vendor) { v.life(t) }, strings.HasSuffix(name, "versions")
			if !real[name] && scaled(0, 1) == 0 {
				m := s3test.NewMemory()
				m.Versioned = versioned
				inMemory(t, m, &rules, o, life)
				return
			}
			vendors(t, func() *s3test.Vendor { v := rules; return &v }, o, versioned, life)
		})
	}
	t.Run("opaque ETags", func(t *testing.T) {
		for _, rules := range []s3test.Vendor{{}, {NoSums: true}} {
			m := s3test.NewMemory()
			m.Opaque = true
			inMemory(t, m, &rules, s3store.Quick(s3store.Options{}), func(t *testing.T, v *vendor) { v.life(t) })
		}
	})
	t.Run("unordered", func(t *testing.T) {
		m := s3test.NewMemory()
		m.Unordered = true
		inMemory(t, m, &s3test.Vendor{}, s3store.Quick(s3store.Options{}), func(t *testing.T, v *vendor) { v.life(t) })
	})
}

// A byte that is changed on the way is noticed before anything is said to be there,
// also where the server compares nothing, and what was there stays as it was.
func TestCorrupted(t *testing.T) {
	for name, opaque := range map[string]bool{"MD5": false, "opaque": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := s3test.NewMemory()
			m.Opaque = opaque
			var corrupts atomic.Bool
			rules := &s3test.Vendor{NoSums: true, Corrupts: func(r *http.Request) bool { return r.Method == http.MethodPut && corrupts.Load() }}
			inMemory(t, m, rules, s3store.Quick(s3store.Options{}), func(t *testing.T, v *vendor) {
				was := random(11 * v.unit)
				mustSave(t, v, v.root+"/was.enc", was)
				corrupts.Store(true)
				for _, size := range []int{100, 11 * v.unit} {
					_, err := save(t.Context(), v, v.root+"/x.enc", random(size), store.Options{Sidecar: true})
					wants(t, err, s3store.ErrAltered)
				}
				now := append(random(4096), was[1:]...)
				wants(t, rehead(t.Context(), v, v.root+"/was.enc", now[:4096], 1, sha256.Sum256(now)), s3store.ErrAltered)
				corrupts.Store(false)
				wantBackup(t, v, v.root+"/was.enc", was)
				v.rest(t, "was.enc", "was.enc.sha256")
			})
		})
	}
}

// An answer of 200 to completing that completes nothing is not a success.
func TestEmptyComplete(t *testing.T) {
	o := s3store.Hasty(s3store.Options{}, time.Minute, 3)
	vendors(t, func() *s3test.Vendor { return &s3test.Vendor{EmptyComplete: true} }, o, false, func(t *testing.T, v *vendor) {
		_, err := save(t.Context(), v, v.root+"/x.enc", random(11*v.unit), store.Options{Sidecar: true})
		wants(t, err, s3store.ErrForeign)
		v.rest(t)
	})
}

// What answers 200 and is no S3 server is never taken for one, whatever was asked.
func TestForeign(t *testing.T) {
	t.Parallel()
	m := s3test.NewMemory()
	var foreign atomic.Pointer[func(*http.Request) bool]
	rules := &s3test.Vendor{Foreign: func(r *http.Request) bool { f := foreign.Load(); return f != nil && (*f)(r) }}
	inMemory(t, m, rules, s3store.Hasty(s3store.Options{}, time.Minute, 2), func(t *testing.T, v *vendor) {
		mustSave(t, v, v.root+"/was.enc", random(11*v.unit))
		b := stat(t, v, v.root+"/was.enc")
		all := func(*http.Request) bool { return true }
		foreign.Store(&all)
		everything(t, v.Store, v.root, func(what string, err error) { wants(t, err, s3store.ErrForeign) })
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			one := func(r *http.Request) bool { return r.Method == method }
			foreign.Store(&one)
			if method != http.MethodDelete { // which sealing does not need
				if _, err := save(t.Context(), v, v.root+"/x.enc", random(11*v.unit), store.Options{Sidecar: true}); err == nil {
					t.Errorf("%s: sealed", method)
				}
			}
			if method == http.MethodDelete {
				wants(t, v.Remove(t.Context(), b), s3store.ErrForeign)
			}
		}
		foreign.Store(nil)
		if _, err := v.Sweep(t.Context(), v.root, -time.Hour, false); err != nil {
			t.Error(err)
		}
		v.rest(t, "was.enc", "was.enc.sha256")
	})
}

// A list that does not say where it goes on is an error, and no end.
func TestCutLists(t *testing.T) {
	vendors(t, func() *s3test.Vendor { return &s3test.Vendor{CutLists: true} }, s3store.Quick(s3store.Options{}), false, func(t *testing.T, v *vendor) {
		mustSave(t, v, v.root+"/x.enc", random(10))
		var err error
		for _, err = range v.Walk(t.Context(), v.root, false) {
		}
		wants(t, err, s3store.ErrForeign, "part of a list")
		wants(t, v.Remove(t.Context(), stat(t, v, v.root+"/x.enc")), s3store.ErrForeign)
		_, err = v.Sweep(t.Context(), v.root, time.Hour, true)
		wants(t, err, s3store.ErrForeign)
		v.rest(t, "x.enc", "x.enc.sha256")
	})
}

// Of two writers of one name, on a server that passes conditions over, the second
// to finish is told.
func TestIgnoredConditions(t *testing.T) {
	for name, rules := range map[string]s3test.Vendor{"ignored": {IgnoresCond: true}, "refused": {NoConditions: true}} {
		t.Run(name, func(t *testing.T) {
			vendors(t, func() *s3test.Vendor { v := rules; return &v }, s3store.Quick(s3store.Options{}), false, func(t *testing.T, v *vendor) {
				for _, size := range []int{100, 11 * v.unit} {
					path, mine := v.root+"/x.enc", random(size)
					first, err := v.Create(t.Context(), path, store.Options{Sidecar: true})
					if err != nil {
						t.Fatal(err)
					}
					defer first.Abort()
					second, err := v.Create(t.Context(), path, store.Options{Sidecar: true})
					if err != nil {
						t.Fatal(err)
					}
					defer second.Abort()
					_, err = first.Write(mine)
					_, err2 := second.Write(random(size))
					if err := errors.Join(err, err2); err != nil {
						t.Fatal(err)
					}
					if _, err := first.Commit(); err != nil {
						t.Fatal(err)
					}
					_, err = second.Commit()
					wants(t, err, store.ErrExists)
					wantBackup(t, v, path, mine)
					// And so are two who change it.
					r, err := v.Replace(t.Context(), path)
					if err != nil {
						t.Fatal(err)
					}
					now := append(random(200), mine[50:]...)
					if err := rehead(t.Context(), v, path, now[:200], 50, sha256.Sum256(now)); err != nil {
						t.Fatal(err)
					}
					if _, err = r.Write(mine); err == nil {
						_, err = r.Finish()
					}
					if err == nil {
						err = r.Swap(t.Context())
					}
					wants(t, err, store.ErrChanged)
					if err := r.Abort(); err != nil {
						t.Error(err)
					}
					wantBackup(t, v, path, now)
					if err := v.Remove(t.Context(), stat(t, v, path)); err != nil {
						t.Fatal(err)
					}
				}
				v.rest(t)
			})
		})
	}
}

// What a server cannot do is known before a byte of the source is read, and is
// asked once for each folder.
func TestAbilitiesFirst(t *testing.T) {
	vendors(t, func() *s3test.Vendor { return &s3test.Vendor{NoConditions: true, Tags: http.StatusNotImplemented} },
		s3store.Quick(s3store.Options{Tags: func(string, []byte) map[string]string { return map[string]string{"a": "b"} }}), false, func(t *testing.T, v *vendor) {
			for range 2 {
				w, err := v.Create(t.Context(), v.root+"/x.enc", store.Options{Sidecar: true})
				if err != nil {
					t.Fatal(err)
				}
				sent := v.rules.Received()
				if sent > 4096 {
					t.Errorf("%d bytes were sent", sent)
				}
				if err := w.Abort(); err != nil {
					t.Fatal(err)
				}
				v.rest(t)
			}
		})
	m := s3test.NewMemory()
	m.Opaque = true // and nothing can be read back
	rules := &s3test.Vendor{NoSums: true}
	endpoint := rules.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead || r.Method == http.MethodGet && r.URL.Query().Get("uploadId") == "" {
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
			return
		}
		m.ServeHTTP(w, r)
	}))
	_, err := open(t, endpoint, s3store.Quick(s3store.Options{})).Create(t.Context(), "s3://bucket/x.enc", store.Options{Sidecar: true})
	wants(t, err, s3store.ErrUnsupported, "checksum")
}

// Every byte that a key can have comes through, and keys that no path can name are
// passed over.
func TestKeys(t *testing.T) {
	t.Parallel()
	inMemory(t, s3test.NewMemory(), &s3test.Vendor{}, s3store.Quick(s3store.Options{}), func(t *testing.T, v *vendor) {
		v.put("a/\x01\x1f.enc", nil)
		v.put("a//b.enc", nil)
		v.put("a/\xff.enc", nil)
		var want []string
		for b := byte(' '); b < 0x7f; b++ {
			if b == '/' || b == '\\' || b == '.' {
				continue
			}
			want = append(want, v.root+"/a/"+store.EscapeKey("x"+string(b)+"é%3F?y")+".enc")
		}
		for i, path := range want {
			was := random(10 + i)
			mustSave(t, v, path, was)
			if i%9 == 0 || strings.Contains(path, "/x+") {
				was = random(9*v.unit + i)
				if err := changes["Replace"](t.Context(), v.Store, path, was); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
			}
			wantBackup(t, v, path, was)
		}
		var got []string
		for b, err := range v.Walk(t.Context(), v.root, false) {
			if err != nil {
				t.Fatal(err)
			}
			if !b.Sidecar {
				t.Errorf("%s has no sidecar", b.Path)
			}
			got = append(got, b.Path)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	})
}

// An endpoint that names the bucket already is refused.
func TestBucketInEndpoint(t *testing.T) {
	for _, endpoint := range []string{"http://127.0.0.1:1/bucket", "http://127.0.0.1:1/bucket/", "http://bucket.localhost:1", "http://127.0.0.1:1/a/bucket"} {
		everything(t, open(t, endpoint, s3store.Quick(s3store.Options{})), "s3://bucket/prefix", func(_ string, err error) {
			wants(t, err, s3store.ErrNoBucket, "names the bucket")
		})
	}
}

// A sidecar that cannot be looked for is not a missing one.
func TestSidecarNotLookedFor(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{http.StatusForbidden: s3store.ErrDenied, http.StatusInternalServerError: s3store.ErrUnreachable, http.StatusNotFound: nil} {
		m := s3test.NewMemory()
		m.Put("bucket", "x.enc", random(10))
		endpoint := new(s3test.Vendor).Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, store.SidecarSuffix) {
				w.WriteHeader(status)
				return
			}
			m.ServeHTTP(w, r)
		}))
		found := 0
		for b, err := range open(t, endpoint, s3store.Restless(s3store.Options{})).Walk(t.Context(), "s3://bucket", false) {
			if found++; b.Path != "s3://bucket/x.enc" || b.Sidecar {
				t.Errorf("%d: %+v", status, b)
			}
			if !errors.Is(err, want) {
				t.Errorf("%d: got %v, want %v", status, err, want)
			}
		}
		if found != 1 {
			t.Errorf("%d: %d backups were found", status, found)
		}
	}
}

// More than 8 GiB go to a server that wants equal parts, of which nothing is kept.
func TestNineGiB(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run it")
	}
	server, rules := s3test.Start(t), &s3test.Vendor{EqualParts: true}
	bucket := server.Bucket(t)
	s := open(t, rules.Start(t, server.Forward()), s3store.Options{})
	w, err := s.Create(t.Context(), "s3://"+bucket+"/x.enc", store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	const size = 9 << 30
	block := random(mib)
	for range size / mib {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	result, err := w.Commit()
	if err != nil || result.Size != size {
		t.Fatalf("%+v, %v", result, err)
	}
	o, err := s.Open(t.Context(), result.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, o); err != nil || hex.EncodeToString(sum.Sum(nil)) != result.SHA256 {
		t.Errorf("what was read is another: %v", err)
	}
	if left := server.Uploads(t, bucket); len(left) > 0 {
		t.Errorf("uploads were left: %q", left)
	}
}
