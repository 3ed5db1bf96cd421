package s3store_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// late signs as if the clock were an hour late.
type late struct{ *v4.Signer }

func (l late) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, o ...func(*v4.SignerOptions)) error {
	return l.Signer.SignHTTP(ctx, c, r, hash, service, region, at.Add(-time.Hour), o...)
}

// everything tries what a store can be asked for.
func everything(t *testing.T, s *s3store.Store, root string, check func(what string, err error)) {
	t.Helper()
	_, err := s.Create(t.Context(), root+"/x.enc", store.Options{Sidecar: true})
	check("Create", err)
	_, err = s.Open(t.Context(), root+"/x.enc")
	check("Open", err)
	for _, err := range s.Walk(t.Context(), root, false) {
		check("Walk", err)
	}
	_, _, err = s.Stat(t.Context(), root+"/x.enc")
	check("Stat", err)
	_, _, err = s.Stat(t.Context(), root)
	check("Stat of a root", err)
	check("Remove", s.Remove(t.Context(), store.Backup{Path: root + "/x.enc"}))
	check("Put", s.Put(t.Context(), root+"/x.enc", ".envelope", nil, []byte{}))
	check("Put of nothing", s.Put(t.Context(), root+"/x.enc", ".envelope", []byte{}, nil))
	_, err = s.Replace(t.Context(), root+"/x.enc")
	check("Replace", err)
	_, err = s.Sweep(t.Context(), root, time.Hour, false)
	check("Sweep", err)
	_, err = s.RestoreObject(t.Context(), root+"/x.enc", 1, "Bulk")
	check("RestoreObject", err)
	_, err = s.Deleted(t.Context(), root)
	check("Deleted", err)
	check("Undelete", s.Undelete(t.Context(), root+"/x.enc"))
}

// What a server refuses is said at once, in words that tell what to do, and as
// a fault of the store.
func TestRefused(t *testing.T) {
	server := s3test.Shared(t)
	server.User(t, "stranger", "stranger-secret")
	bucket := server.Bucket(t)
	for name, c := range map[string]struct {
		bucket string
		tune   func(*awss3.Options)
		kind   error
		word   string
	}{
		"wrong secret":   {bucket, as(s3test.AccessKey, "wrong"), s3store.ErrCredentials, "SignatureDoesNotMatch"},
		"unknown key":    {bucket, as("nobody", "wrong"), s3store.ErrCredentials, "InvalidAccessKeyId"},
		"no such bucket": {"no-such-bucket", nil, s3store.ErrNoBucket, "no such bucket"},
		"denied":         {bucket, as("stranger", "stranger-secret"), s3store.ErrDenied, "AccessDenied"},
		"wrong clock":    {bucket, func(o *awss3.Options) { o.HTTPSignerV4 = late{v4.NewSigner()} }, s3store.ErrClock, "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, server.Endpoint(), s3store.Tuned(s3store.Quick(s3store.Options{}), c.tune))
			everything(t, s, "s3://"+c.bucket, func(what string, err error) {
				if !store.IsStoreFault(err) {
					t.Errorf("%s: %v is not a fault of the store", what, err)
				}
				if fault, ok := errors.AsType[*s3store.Fault](err); !ok || fault.Fix == "" {
					t.Errorf("%s: %v does not say what to do", what, err)
				}
				wants(t, err, c.kind, c.word)
			})
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := open(t, "http://127.0.0.1:1", s3store.Quick(s3store.Options{})) // which nobody is given by chance
	everything(t, s, "s3://bucket", func(_ string, err error) { wants(t, err, s3store.ErrUnreachable, "connection refused") })
}

func TestPlainHTTP(t *testing.T) {
	s := open(t, "http://192.0.2.1", s3store.Quick(s3store.Options{RequireTLS: true}))
	everything(t, s, "s3://bucket", func(_ string, err error) { wants(t, err, netsafe.ErrPlain, "plain http") })
}

// A redirect is not followed.
func TestRedirect(t *testing.T) {
	p := s3test.NewProxy(t, "http://127.0.0.1:1")
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		s3test.Refuse(w, http.StatusTemporaryRedirect, "TemporaryRedirect")
		return true
	})
	s := open(t, p.URL, s3store.Quick(s3store.Options{}))
	everything(t, s, "s3://bucket", func(_ string, err error) { wants(t, err, s3store.ErrRegion) })
}

// An answer that makes no sense is an error.
func TestNonsense(t *testing.T) {
	p := s3test.NewProxy(t, "http://127.0.0.1:1")
	s := open(t, p.URL, s3store.Quick(s3store.Options{}))
	for _, is := range []string{"bytes 0-4/-5", "bytes 0-4/0", "bytes 1-5/5", "bytes 0-3/5", "bytes 0-5/5", "bytes 0-4/99999999999999999999", "bytes 0-4/*", "", "-"} {
		p.Before(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"x"`)
			if is != "-" {
				w.Header().Set("Content-Range", is)
			}
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte("hello"))
			w.(http.Flusher).Flush() // so that no length is told
			return true
		})
		_, err := s.Open(t.Context(), "s3://bucket/x.enc")
		wants(t, err, s3store.ErrUnsupported)
	}
}

// A host that may only write makes whole backups, and reads and deletes nothing.
func TestWriteOnly(t *testing.T) {
	t.Parallel()
	server := s3test.Shared(t)
	server.User(t, "writer", "writer-secret")
	bucket := server.Bucket(t)
	server.Policy(t, bucket, "writer", "s3:PutObject", "s3:AbortMultipartUpload")
	owner := on(t, server, server.Endpoint(), bucket, s3store.Quick(s3store.Options{}))
	s := open(t, server.Endpoint(), s3store.Tuned(s3store.Quick(s3store.Options{}), as("writer", "writer-secret")))
	for name, content := range map[string][]byte{"small.enc": random(10), "large.enc": random(17 * mib)} {
		path := owner.root + "/" + name
		mustSave(t, s, path, content)
		wantBackup(t, owner, path, content)
		_, err := save(t.Context(), s, path, random(9*mib), store.Options{Sidecar: true})
		wants(t, err, store.ErrExists)
		_, err = s.Open(t.Context(), path)
		wants(t, err, s3store.ErrDenied)
		b, _, err := owner.Stat(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		wants(t, s.Remove(t.Context(), b), s3store.ErrDenied)
		wantBackup(t, owner, path, content)
	}
	owner.wantKeys(t, "large.enc", "large.enc.sha256", "small.enc", "small.enc.sha256")
}

// A host that may only write and loses an answer is not told that another's
// backup is there.
func TestWriteOnlyLostAnswer(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Quick(s3store.Options{}))
	var fired atomic.Bool
	p.Before(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodHead || r.Method == http.MethodGet:
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
			return true
		case r.Method == http.MethodPut && !r.URL.Query().Has("partNumber"):
			return loseAnswer(p, p.Requests(), &fired, f.server.Endpoint())(w, r)
		}
		return false
	})
	_, err := save(t.Context(), f, f.root+"/x.enc", random(10), store.Options{Sidecar: true})
	wants(t, err, s3store.ErrUncertain, "got lost")
	if !store.IsStoreFault(err) || errors.Is(err, store.ErrExists) {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]s3store.Options{
		"small parts": {PartSize: mib}, "large parts": {PartSize: 2 << 30}, "one part": {MaxParts: 1},
		"a lock without time": {LockMode: "GOVERNANCE"}, "a time without lock": {Retain: time.Hour},
		"nobody who knows backups": {},
	} {
		if name != "nobody who knows backups" {
			o.Identify = func([]byte) (id s3store.Identity, ok bool) { return }
		}
		if _, err := s3store.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := open(t, "http://127.0.0.1:1", s3store.Options{})
	everything(t, s, "s3://up per", func(_ string, err error) { wants(t, err, store.ErrName) })
	for _, path := range []string{"s3://", "s3:///key", "/tmp/x", "s3://up per/key", "s3://arn:aws:s3:eu-west-1:1:bucket/key", "s3://bkt/a//b", "s3://bkt/../b", "s3://bkt/./b", "s3://bkt/a\nb",
		"s3://bkt/a\xffb", `s3://bkt/a\b`, "s3://bkt/" + strings.Repeat("x", 1020), "s3://bkt", "s3://bkt/a/", "s3://ab/x", "s3://" + strings.Repeat("b", 256) + "/x"} {
		if _, err := s.Create(t.Context(), path, store.Options{Sidecar: true}); !errors.Is(err, store.ErrName) {
			t.Errorf("%.30q: %v", path, err)
		}
	}
}

// TestAnswers: what an answer means, by its code and its status, either of which may be all
// that there is: a HEAD has no code, and a 200 can have one.
func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		code   string
		status int
		means  string
		kind   error
		word   string
	}{
		{"", 404, "missing", nil, "404"},
		{"NoSuchKey", 200, "missing", nil, "NoSuchKey"},
		{"NoSuchBucket", 404, "", s3store.ErrNoBucket, "no such bucket"},
		{"NoSuchUpload", 404, "gone", nil, "NoSuchUpload"},
		{"", 412, "lost", nil, "412"},
		{"PreconditionFailed", 200, "lost", nil, "PreconditionFailed"},
		{"ConditionalRequestConflict", 409, "race", nil, "ConditionalRequestConflict"},
		{"", 403, "denied", s3store.ErrDenied, "403"},
		{"AccessDenied", 403, "denied", s3store.ErrDenied, "in words"},
		{"SignatureDoesNotMatch", 403, "denied", s3store.ErrCredentials, "SignatureDoesNotMatch"},
		{"", 501, "refused unsupported", s3store.ErrUnsupported, "501"},
		{"", 405, "refused unsupported", s3store.ErrUnsupported, "405"},
		{"NotImplemented", 200, "refused unsupported", nil, "NotImplemented"},
		{"InvalidArgument", 400, "refused unequal", nil, "InvalidArgument"},
		{"InvalidPart", 200, "", nil, "InvalidPart"},
		{"MalformedXML", 400, "refused", nil, "MalformedXML"},
		{"BadDigest", 400, "", nil, "BadDigest"},
		{"RequestTimeTooSkewed", 403, "denied", s3store.ErrClock, "clock"},
		{"", 301, "", s3store.ErrRegion, "301"},
		{"AuthorizationHeaderMalformed", 400, "", s3store.ErrRegion, "AuthorizationHeaderMalformed"},
		{"", 304, "", nil, "304"},
		{"", 429, "", s3store.ErrThrottled, "busy"},
		{"SlowDown", 200, "", s3store.ErrThrottled, "busy"},
		{"ThrottlingException", 400, "refused", s3store.ErrThrottled, "busy"},
		{"", 503, "", s3store.ErrThrottled, "busy"},
		{"InternalError", 500, "", s3store.ErrUnreachable, "InternalError"},
		{"", 0, "", s3store.ErrUnreachable, "cannot be reached"},
	} {
		err := fmt.Errorf("asking: %w", &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: tc.status}}, Err: &smithy.GenericAPIError{Code: tc.code, Message: "in words"},
		})
		var means []string
		for what, is := range s3store.Meanings {
			if is(err) {
				means = append(means, what)
			}
		}
		if slices.Sort(means); strings.Join(means, " ") != tc.means {
			t.Errorf("%s, %d means %q, want %q", tc.code, tc.status, means, tc.means)
		}
		if got := s3store.Reason(err); errors.Unwrap(got) != tc.kind || !strings.Contains(got.Error(), tc.word) {
			t.Errorf("%s, %d: %v of the kind %v, want %v", tc.code, tc.status, got, errors.Unwrap(got), tc.kind)
		}
	}
}

// A server that lists no parts takes uploads, and their end is not waited for.
func TestPartsNotListed(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{http.StatusNotImplemented: "NotImplemented", http.StatusMethodNotAllowed: "MethodNotAllowed"} {
		m := s3test.NewMemory()
		endpoint := new(s3test.Vendor).Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Query().Has("uploadId") {
				s3test.Refuse(w, status, code)
				return
			}
			m.ServeHTTP(w, r)
		}))
		begun := time.Now()
		mustSave(t, open(t, endpoint, s3store.Quick(s3store.Options{})), "s3://bucket/x.enc", random(100))
		if took := time.Since(begun); took > 3*time.Second || m.Uploads() > 0 {
			t.Errorf("%s: it took %v, and left %d uploads", code, took, m.Uploads())
		}
	}
}
