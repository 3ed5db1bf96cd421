package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/fips140"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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

// nonceKey is the metadata that tells one upload from another.
const nonceKey = "takumi-upload"

// What Swap notes: see object.
const (
	fromKey = "takumi-made-of"
	sumKey  = "takumi-sha256"
)

// upload is a multipart upload that was begun. Its methods are safe for
// concurrent use, but complete and abort come when the others have returned.
type upload struct {
	s     *Store
	c     *connection
	o     object
	id    string
	nonce string

	mu    sync.Mutex
	parts []types.CompletedPart
	size  int64
	cut   bool // a request failed, and the server may still be at it
}

func (s *Store) begin(ctx context.Context, c *connection, o object) (*upload, error) {
	u := &upload{s: s, c: c, o: o, nonce: rand.Text()}
	in := &s3.CreateMultipartUploadInput{
		Bucket: &o.bucket, Key: &o.key,
		Metadata: o.metadata(u.nonce), Tagging: o.tagging(),
		ServerSideEncryption: s.opts.SSE, SSEKMSKeyId: optional(s.opts.KMSKey),
	}
	in.StorageClass = s.class(o)
	in.ObjectLockMode, in.ObjectLockRetainUntilDate = s.lock(o)
	if !o.signed {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	counted, lost := unanswered(ctx)
	began := time.Now()
	out, err := c.api.CreateMultipartUpload(counted, in)
	if err != nil {
		return nil, err
	}
	u.id = aws.ToString(out.UploadId)
	if lost.Load() > 0 {
		u.abortTwins(ctx, time.Since(began))
	}
	return u, nil
}

// abortTwins ends the uploads that requests began whose answers got lost: those
// of the same key and the same time, without a part. Where that fails, or may
// not be, Sweep does it.
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

// send uploads part n.
func (u *upload) send(ctx context.Context, n int, content []byte) error {
	in := &s3.UploadPartInput{
		Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, PartNumber: aws.Int32(int32(n)),
		Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))),
	}
	var how []func(*s3.Options)
	if u.o.signed {
		in.ContentMD5 = md5Of(content) // object lock asks for a checksum as well
	} else {
		in.ChecksumSHA256 = encode(sha256.Sum256(content))
		how = append(how, unsigned)
	}
	out, err := u.c.api.UploadPart(ctx, in, how...)
	if err != nil {
		return u.failed(err)
	}
	u.add(n, out.ETag, in.ChecksumSHA256, int64(len(content)))
	return nil
}

// md5Of is a checksum that servers compare and do not keep. What proves the
// content is the SHA-256 in the signature.
func md5Of(content []byte) *string {
	var sum [md5.Size]byte
	fips140.WithoutEnforcement(func() { sum = md5.Sum(content) })
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// copy makes part n of the bytes from from to to of another object, within S3.
func (u *upload) copy(ctx context.Context, n int, src source, from, to int64) error {
	out, err := u.c.api.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, PartNumber: aws.Int32(int32(n)),
		CopySource:        aws.String(src.bucket + "/" + strings.ReplaceAll(url.PathEscape(src.key), "%2F", "/")),
		CopySourceIfMatch: optional(src.etag), CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", from, to-1)),
	})
	if err != nil {
		return u.failed(err)
	}
	if out.CopyPartResult == nil {
		return &Fault{Kind: ErrUnsupported, Reason: "S3 copied a part and did not say which"}
	}
	var sum *string
	if !u.o.signed {
		sum = out.CopyPartResult.ChecksumSHA256
	}
	u.add(n, out.CopyPartResult.ETag, sum, to-from)
	return nil
}

// source is an object that S3 copies from.
type source struct{ bucket, key, etag string }

func (u *upload) failed(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut = true
	return err
}

func (u *upload) add(n int, etag, sum *string, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, types.CompletedPart{PartNumber: aws.Int32(int32(n)), ETag: etag, ChecksumSHA256: sum})
	u.size += size
}

// complete makes one object of the parts.
func (u *upload) complete(ctx context.Context) (stamp, error) {
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	return u.s.conclude(ctx, u.c, u.o, u.nonce, func(ctx context.Context) (stamp, error) {
		out, err := u.c.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
			IfNoneMatch: u.o.ifNone(), IfMatch: optional(u.o.match), MpuObjectSize: aws.Int64(u.size),
		})
		if err != nil {
			return stamp{}, err
		}
		return stamp{aws.ToString(out.ETag), aws.ToString(out.VersionId)}, nil
	})
}

// abort takes the upload back, also when ctx has ended, and sees to it that S3
// keeps no part: one that was under way can arrive after the abort.
func (u *upload) abort(ctx context.Context) error {
	ctx, cancel := u.s.cleanup(ctx)
	defer cancel()
	// Looks in a row that find nothing, further apart each time.
	need := 1
	if u.cut {
		need = 3
	}
	gone := 0
	for try := 1; ; try++ {
		_, err := u.c.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id})
		if err == nil {
			_, err = u.c.api.ListParts(ctx, &s3.ListPartsInput{Bucket: &u.o.bucket, Key: &u.o.key, UploadId: &u.id, MaxParts: aws.Int32(1)})
			if codeOf(err) == "AccessDenied" {
				return nil // whoever may only write cannot look
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
