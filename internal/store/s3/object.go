package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// object names what is written, and how.
type object struct {
	path, bucket, key string
	backup            bool              // takes storage class and lock
	companion         bool              // takes the lock
	tags              map[string]string // may be nil
	class             string            // storage class of what it replaces
	// signed has the signature cover the parts, in the place of checksums that
	// the server keeps: some servers take those of a whole object for those of
	// the range that is copied from it.
	signed bool
	// What has to stand at the key: nothing, this ETag, or whatever.
	absent bool
	match  string
	// What Swap notes in the object, so that a run that was killed behind it can
	// be finished: the temporary object that it was made of, and its SHA-256.
	from, sum string
	until     time.Time // of the lock; that of Options.Retain from now when zero
}

// metadata is what is noted in an object.
func (o object) metadata(nonce string) map[string]string {
	m := map[string]string{nonceKey: nonce}
	if o.sum != "" {
		m[sumKey] = o.sum
	}
	if o.from != "" {
		m[fromKey] = o.from
	}
	return m
}

// stamp is what one attempt at writing leaves in an object.
type stamp struct{ etag, version string }

func (o object) tagging() *string {
	if len(o.tags) == 0 {
		return nil
	}
	values := url.Values{}
	for k, v := range o.tags {
		values.Set(k, v)
	}
	return aws.String(values.Encode())
}

// lock is what object lock the object gets.
func (s *Store) lock(o object) (types.ObjectLockMode, *time.Time) {
	if s.opts.LockMode == "" || !o.backup && !o.companion {
		return "", nil
	}
	if o.until.IsZero() {
		o.until = s.lockEnd()
	}
	return s.opts.LockMode, aws.Time(o.until)
}

func (s *Store) lockEnd() time.Time { return time.Now().Add(s.opts.Retain) }

// class is the storage class that the object gets: as the options say, or as it
// was.
func (s *Store) class(o object) types.StorageClass {
	if !o.backup {
		return ""
	}
	return cmp.Or(s.opts.StorageClass, types.StorageClass(o.class))
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (o object) ifNone() *string {
	if o.absent {
		return aws.String("*")
	}
	return nil
}

// put writes an object in one request.
func (s *Store) put(ctx context.Context, c *connection, o object, content []byte) (stamp, error) {
	sum := sha256.Sum256(content)
	nonce := rand.Text()
	in := &s3.PutObjectInput{
		Bucket: &o.bucket, Key: &o.key, ContentLength: aws.Int64(int64(len(content))),
		ChecksumSHA256: encode(sum), Metadata: o.metadata(nonce), Tagging: o.tagging(),
		IfNoneMatch: o.ifNone(), IfMatch: optional(o.match),
		ServerSideEncryption: s.opts.SSE, SSEKMSKeyId: optional(s.opts.KMSKey),
	}
	in.StorageClass = s.class(o)
	in.ObjectLockMode, in.ObjectLockRetainUntilDate = s.lock(o)
	return s.conclude(ctx, c, o, nonce, func(ctx context.Context) (stamp, error) {
		in.Body = bytes.NewReader(content)
		out, err := c.api.PutObject(ctx, in, unsigned)
		if err != nil {
			return stamp{}, err
		}
		return stamp{aws.ToString(out.ETag), aws.ToString(out.VersionId)}, nil
	})
}

func encode(sum [sha256.Size]byte) *string {
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// conclude makes the request that gives an object its name. When that fails it
// looks whether it was carried out all the same: an answer can get lost, and
// the repeated request then meets the object that the first one made.
func (s *Store) conclude(ctx context.Context, c *connection, o object, nonce string, request func(ctx context.Context) (stamp, error)) (stamp, error) {
	counted, lost := unanswered(ctx)
	for try := 1; ; try++ {
		made, err := request(counted)
		if err == nil {
			return made, nil
		}
		there, lookErr := s.look(ctx, c, o)
		for look := 1; ctx.Err() != nil && isMissing(lookErr) && look <= 3; look++ {
			// A request that was broken off may still be carried out.
			_ = s.opts.sleep(context.WithoutCancel(ctx), look)
			there, lookErr = s.look(ctx, c, o)
		}
		switch {
		case lookErr == nil && there.Metadata[nonceKey] == nonce:
			return stamp{aws.ToString(there.ETag), aws.ToString(there.VersionId)}, nil
		case ctx.Err() != nil:
			return stamp{}, context.Cause(ctx)
		case isRace(err) && try < 8:
			// The other request may fail, and then the name is free.
			if err := s.opts.sleep(ctx, try); err != nil {
				return stamp{}, err
			}
		case (isLost(err) || isRace(err) || isMissing(err)) && o.match != "":
			return stamp{}, fmt.Errorf("replace %s: %w", o.path, store.ErrChanged)
		case isLost(err) && lost.Load() > 0 && isDenied(lookErr):
			return stamp{}, &Fault{Kind: ErrUncertain, Reason: "an answer of S3 got lost, and whether the object that stands there now is this one cannot be looked at",
				Fix: "look from where reading is allowed: what has no sidecar is not a complete backup; then run it again"}
		case isLost(err) && o.absent:
			return stamp{}, fmt.Errorf("create %s: %w", o.path, store.ErrExists)
		case isRace(err):
			return stamp{}, fmt.Errorf("create %s: %w", o.path, store.ErrBusy)
		default:
			return stamp{}, err
		}
	}
}

// look asks for what stands at the key, also when ctx has ended.
func (s *Store) look(ctx context.Context, c *connection, o object) (*s3.HeadObjectOutput, error) {
	ctx, cancel := s.cleanup(ctx)
	defer cancel()
	return c.probe.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.bucket, Key: &o.key})
}
