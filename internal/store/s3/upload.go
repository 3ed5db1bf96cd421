package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/fips140"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// nonceKey is the metadata that identifies an upload.
const nonceKey = "takumi-upload"

// What Swap notes: see object.
const (
	fromKey = "takumi-made-of"
	sumKey  = "takumi-sha256"
)

// upload is a multipart upload. Its methods are safe for concurrent use, except that
// complete and abort come after the others.
type upload struct {
	s     *Store
	c     *connection
	o     object
	id    string
	nonce string

	mu    sync.Mutex
	parts []types.CompletedPart
	size  int64
	cut   bool // a request failed, and the server may still process it
	// unproved means that the arrival of some part is not proved.
	unproved bool
}

func (s *Store) begin(ctx context.Context, c *connection, o object) (*upload, error) {
	a := c.of(o.bucket)
	if a.tags.no() {
		o.tags = nil
	}
	o.signed = o.signed || a.sums.no()
	u := &upload{s: s, c: c, o: o, nonce: rand.Text()}
	in := &s3.CreateMultipartUploadInput{
		Bucket: &o.bucket, Key: &o.key,
		Metadata: o.metadata(u.nonce), Tagging: o.tagging(),
		ServerSideEncryption: s.opts.SSE, SSEKMSKeyId: optional(s.opts.KMSKey),
	}
	in.StorageClass = s.class(o)
	in.ObjectLockMode, in.ObjectLockRetainUntilDate, in.ObjectLockLegalHoldStatus = s.lock(o)
	if !o.signed {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	counted, lost := unanswered(ctx)
	began := time.Now()
	out, err := c.api.CreateMultipartUpload(counted, in)
	if err != nil {
		return nil, err
	}
	if u.id = aws.ToString(out.UploadId); u.id == "" {
		return nil, &Fault{Kind: ErrForeign, Reason: "S3 began an upload and did not say which", Fix: foreignFix}
	}
	if lost.Load() > 0 {
		u.abortTwins(ctx, time.Since(began))
	}
	return u, nil
}

// abortTwins aborts the uploads of requests whose answers got lost: same key and time,
// without a part. Sweep does it when this fails.
func (u *upload) abortTwins(ctx context.Context, took time.Duration) {
	page, err := u.c.probe.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &u.o.bucket, Prefix: &u.o.key})
	if err != nil {
		return
	}
	var own time.Time
	for _, found := range page.Uploads {
		if aws.ToString(found.UploadId) == u.id {
			own = aws.ToTime(found.Initiated)
		}
	}
	for _, found := range page.Uploads {
		id, begun := aws.ToString(found.UploadId), aws.ToTime(found.Initiated)
		if aws.ToString(found.Key) != u.o.key || id == u.id || own.Sub(begun).Abs() > took+time.Second {
			continue
		}
		parts, err := u.c.probe.ListParts(ctx, &s3.ListPartsInput{Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &id, MaxParts: aws.Int32(1)})
		if err == nil && len(parts.Parts) == 0 {
			twin := &upload{s: u.s, c: u.c, o: u.o, id: id}
			_ = twin.abort(ctx)
		}
	}
}

// part is the request that uploads part n.
func (u *upload) part(n int, content []byte) *s3.UploadPartInput {
	in := &s3.UploadPartInput{
		Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, PartNumber: aws.Int32(int32(n)),
		Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))),
	}
	if u.o.signed {
		in.ContentMD5 = md5Of(content) // object lock asks for a checksum as well
	} else {
		in.ChecksumSHA256 = encode(content)
	}
	return in
}

func (u *upload) how() []func(*s3.Options) {
	if u.o.signed {
		return nil
	}
	return []func(*s3.Options){unsigned}
}

// send uploads part n, again when the answer shows that other bytes arrived.
func (u *upload) send(ctx context.Context, n int, content []byte) error {
	for try := 1; ; try++ {
		in := u.part(n, content)
		out, err := u.c.api.UploadPart(ctx, in, u.how()...)
		if err != nil {
			return u.failed(err)
		}
		proved, err := u.c.of(u.o.bucket).proves(content, out.ChecksumSHA256, out.ETag)
		if err == nil {
			u.add(n, out.ETag, in.ChecksumSHA256, int64(len(content)), proved)
			return nil
		}
		if try == u.s.opts.limits.probes {
			return u.failed(err)
		}
		if err := u.s.opts.sleep(ctx, try); err != nil {
			return err
		}
	}
}

// md5Of is a checksum that servers compare but do not keep. The SHA-256 in the signature
// proves the content.
func md5Of(content []byte) *string {
	sum := md5Sum(content)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

func md5Sum(content []byte) (sum [md5.Size]byte) {
	fips140.WithoutEnforcement(func() { sum = md5.Sum(content) })
	return sum
}

func isMD5(etag *string, content []byte) bool {
	text := strings.Trim(aws.ToString(etag), `"`)
	if len(text) != 2*md5.Size {
		return false
	}
	sum := md5Sum(content)
	return strings.EqualFold(text, hex.EncodeToString(sum[:]))
}

// copy makes part n of bytes from to to of another object of that size, within S3.
func (u *upload) copy(ctx context.Context, n int, src source, from, to, size int64) error {
	in := &s3.UploadPartCopyInput{
		Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, PartNumber: aws.Int32(int32(n)),
		CopySource: aws.String(src.path()), CopySourceIfMatch: optional(src.etag),
	}
	if from > 0 || to < size { // S3 takes no range of a small object
		in.CopySourceRange = aws.String(fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	out, err := u.c.api.UploadPartCopy(ctx, in)
	if err != nil {
		return u.failed(err)
	}
	if out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "" {
		return u.failed(&Fault{Kind: ErrForeign, Reason: "S3 copied a part and did not say which", Fix: foreignFix})
	}
	var sum *string
	if !u.o.signed {
		sum = out.CopyPartResult.ChecksumSHA256
	}
	u.add(n, out.CopyPartResult.ETag, sum, to-from, true) // it never left the server
	return nil
}

// source is an object that S3 copies from.
type source struct{ bucket, key, etag string }

// escapeKey escapes every byte that some server does not take as it is, as a "+" for a space.
var escapeKey = strings.NewReplacer("+", "%20", "%2F", "/")

// path names the source in a request.
func (s source) path() string {
	bucket := s.bucket
	if strings.HasPrefix(bucket, "arn:") {
		bucket += "/object"
	}
	return bucket + "/" + escapeKey.Replace(url.QueryEscape(s.key))
}

func (u *upload) failed(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut = true
	return err
}

func (u *upload) failedProof() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unproved = true
}

func (u *upload) add(n int, etag, sum *string, size int64, proved bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unproved = u.unproved || !proved
	u.parts = append(u.parts, types.CompletedPart{PartNumber: aws.Int32(int32(n)), ETag: etag, ChecksumSHA256: sum})
	u.size += size
}

func (u *upload) complete(ctx context.Context) (stamp, error) {
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	return u.s.conclude(ctx, u.c, u.o, u.nonce, u.size, func(ctx context.Context, absent, match *string) (stamp, error) {
		out, err := u.c.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
			IfNoneMatch: absent, IfMatch: match, MpuObjectSize: aws.Int64(u.size),
		})
		if err != nil {
			return stamp{}, err
		}
		return stamp{aws.ToString(out.ETag), aws.ToString(out.VersionId)}, nil
	})
}

// abort aborts the upload even after ctx has ended, and checks that S3 keeps no part: one
// under way can arrive after the abort.
func (u *upload) abort(ctx context.Context) error {
	ctx, cancel := u.s.cleanup(ctx)
	defer cancel()
	// empty looks in a row, further apart each time
	need := 1
	if u.cut {
		need = 3
	}
	gone := 0
	for try := 1; ; try++ {
		_, err := u.c.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id})
		if err == nil {
			_, err = u.c.api.ListParts(ctx, &s3.ListPartsInput{Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, MaxParts: aws.Int32(1)})
			if codeOf(err) == "AccessDenied" || isUnsupported(err) {
				return nil // whoever may only write cannot look, and some servers list no parts
			}
		}
		if isGone(err) {
			if gone++; gone == need || u.s.opts.sleep(ctx, try+gone) != nil {
				return nil
			}
			continue
		}
		if err == nil {
			gone, err = 0, errors.New("S3 still keeps parts of it")
		}
		if isDenied(err) || u.s.opts.sleep(ctx, try) != nil {
			return &store.Error{Op: "take back the unfinished upload of", Path: u.o.path, Err: reason(err)}
		}
	}
}

// isGone: there is no such upload.
func isGone(err error) bool { return codeOf(err) == "NoSuchUpload" }
