package s3store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

type verdict struct{ v atomic.Int32 }

func (v *verdict) set(able bool) {
	if able {
		v.v.Store(1)
	} else {
		v.v.Store(2)
	}
}
func (v *verdict) yes() bool { return v.v.Load() == 1 }
func (v *verdict) no() bool  { return v.v.Load() == 2 }

// abilities are what a bucket's server was found to do, remembered for the life of the
// process. Safe for concurrent use.
type abilities struct {
	// Conditions of a writing request: yes when the server was seen to keep one, no when it
	// refuses them. A server that ignores them is neither.
	ifNone, ifMatch verdict
	sums            verdict // it confirms the SHA-256 of a part
	etags           verdict // the ETag of a part is its MD5
	tags            verdict
	unequal         verdict // parts may differ in size
	tried           sync.Map
}

var known sync.Map // of *abilities, by endpoint and bucket

func (c *connection) of(bucket string) *abilities {
	a, loaded := known.LoadOrStore(c.endpoint+" "+bucket, new(abilities))
	able := a.(*abilities)
	if !loaded {
		host := hostOf(c.endpoint)
		switch {
		case c.endpoint == "" || strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn"):
			able.ifNone.set(true)
			able.ifMatch.set(true)
			able.unequal.set(true)
		case strings.HasSuffix(host, ".r2.cloudflarestorage.com"):
			able.unequal.set(false)
		}
	}
	return able
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// try finds out, before the source is read, whether an object can be made: its name is
// free, and the upload is allowed with its lock, class and tags. Only such requests
// distinguish a wrong secret from a missing bucket. The server's abilities are remembered,
// and so is the permission, for each folder. Nothing is left behind.
func (s *Store) try(ctx context.Context, c *connection, o object) error {
	a := c.of(o.bucket)
	folder := fmt.Sprint(path.Dir(o.key), o.backup)
	if _, done := a.tried.Load(folder); !done {
		if err := s.probe(ctx, c, o, a); err != nil {
			return err
		}
		a.tried.Store(folder, true)
	}
	if !o.absent {
		return nil
	}
	_, err := c.head(ctx, o.bucket, o.key, "")
	switch {
	case err == nil:
		return fmt.Errorf("create %s: %w", o.path, store.ErrExists)
	case isMissing(err):
		return nil
	case isDenied(err) && a.sums.no() && a.etags.no():
		return errUnproved
	case isDenied(err): // whoever may only write cannot look
		return nil
	}
	return err
}

// errUnproved is the error of an upload whose arrival nothing proves.
var errUnproved = &Fault{Kind: ErrUnsupported, Reason: "S3 confirms no checksum of what it receives, and reading it back is not allowed",
	Fix: "allow s3:GetObject for this host, or use a server that answers with x-amz-checksum-sha256 or with the MD5 as ETag"}

// probe begins an upload like that of o, sends a small part, tries to complete it in a way
// that must fail, and aborts it.
func (s *Store) probe(ctx context.Context, c *connection, o object, a *abilities) error {
	quick := *c
	quick.api = c.probe
	o.key, o.path = o.key+probeMark, store.Beside(o.path, probeMark)
	if o.backup && s.opts.Tags != nil && !a.tags.no() {
		o.tags = map[string]string{"kind": "test"}
	}
	var first error
	for _, without := range []struct{ tags, sums bool }{{}, {tags: true}, {sums: true}, {tags: true, sums: true}} {
		try := o
		if without.tags {
			try.tags = nil
		}
		try.signed = without.sums || a.sums.no()
		if without.tags && o.tags == nil || without.sums && a.sums.no() {
			continue
		}
		err := s.probeOnce(ctx, &quick, try, a)
		if err == nil {
			if o.tags != nil {
				a.tags.set(!without.tags)
			}
			return nil
		}
		if first == nil {
			first = err
		}
		if !isRefused(err) {
			break
		}
	}
	return first
}

func (s *Store) probeOnce(ctx context.Context, c *connection, o object, a *abilities) (err error) {
	u, err := s.begin(ctx, c, o)
	if err != nil {
		return err
	}
	defer func() {
		if abortErr := u.abort(ctx); err == nil {
			err = abortErr
		}
	}()
	content := []byte(rand.Text())
	in := u.part(1, content)
	out, err := c.api.UploadPart(ctx, in, u.how()...)
	if err != nil {
		return u.failed(err)
	}
	a.sums.set(!o.signed && aws.ToString(out.ChecksumSHA256) == *encode(content))
	a.etags.set(isMD5(out.ETag, content))
	if !o.absent || a.ifNone.yes() || a.ifNone.no() {
		return nil
	}
	_, err = c.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &o.bucket, Key: &o.key, UploadId: &u.id, IfNoneMatch: o.ifNone(),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: aws.String(`"00000000000000000000000000000000"`)}}},
	})
	switch {
	case err == nil: // it takes anything
		return s.delete(ctx, c, o.path, o.bucket, o.key, stamp{})
	case isUnsupported(err):
		a.ifNone.set(false)
	}
	return nil
}

func (s *Store) unequal(ctx context.Context, c *connection, o object) (bool, error) {
	a := c.of(o.bucket)
	if a.unequal.yes() || a.unequal.no() {
		return a.unequal.yes(), nil
	}
	o = object{path: store.Beside(o.path, probeMark), bucket: o.bucket, key: o.key + probeMark, signed: true}
	u, err := s.begin(ctx, c, o)
	if err != nil {
		return false, err
	}
	content := make([]byte, s.plan.part+1)
	for n, size := range []int64{s.plan.part, s.plan.part + 1, 1} {
		if err := u.send(ctx, n+1, content[:size]); err != nil {
			return false, errors.Join(err, u.abort(ctx))
		}
	}
	made, err := u.complete(ctx)
	if err != nil {
		cleanup := u.abort(ctx)
		if isUnequal(err) {
			a.unequal.set(false)
			return false, cleanup
		}
		return false, withCleanup(err, cleanup)
	}
	a.unequal.set(true)
	// What the bucket locks by default Sweep deletes.
	if err := s.delete(ctx, c, o.path, o.bucket, o.key, made); err != nil && !isNotDeleted(err) {
		return true, err
	}
	return true, nil
}

// probeMark is in the names of what is tried.
const probeMark = segmentMark + "00000"

// isRefused reports whether the server never takes such a request.
func isRefused(err error) bool {
	return isUnsupported(err) || awsclient.Status(err) == http.StatusBadRequest &&
		!oneOf(codeOf(err), "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed", "NoSuchBucket", "BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch")
}

// isUnequal: the server wants parts of one size.
func isUnequal(err error) bool {
	return oneOf(codeOf(err), "InvalidPart", "EntityTooSmall", "InvalidRequest", "InvalidArgument") && awsclient.Status(err) == http.StatusBadRequest
}
