package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

type object struct {
	path, bucket, key string
	backup            bool              // takes storage class and lock
	companion         bool              // takes the lock
	tags              map[string]string // may be nil
	class             string            // storage class of what it replaces
	// signed has the signature cover the parts, instead of stored checksums: some servers
	// take those of the whole source for those of a copied range.
	signed bool
	// What must be at the key: nothing, this ETag, or anything.
	absent bool
	match  string
	// Swap notes the temporary object and its SHA-256 in the object, so that a killed run
	// can be finished.
	from, sum string
	until     time.Time // of the lock; zero is Options.Retain from now
	kept      retention // of what it replaces
}

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

// lock is the object's lock: the longer of the options' and that of the object it replaces.
func (s *Store) lock(o object) (mode types.ObjectLockMode, until *time.Time, hold types.ObjectLockLegalHoldStatus) {
	if s.opts.LockMode != "" && (o.backup || o.companion) {
		if o.until.IsZero() {
			o.until = s.lockEnd()
		}
		mode, until = s.opts.LockMode, &o.until
	}
	if o.kept.until.After(aws.ToTime(until)) && o.kept.until.After(time.Now()) {
		mode, until = o.kept.mode, &o.kept.until
	}
	return mode, until, o.kept.hold
}

type retention struct {
	mode  types.ObjectLockMode
	until time.Time
	hold  types.ObjectLockLegalHoldStatus
}

func (s *Store) lockEnd() time.Time { return time.Now().Add(s.opts.Retain) }

// class is the object's storage class: the options', or the old one.
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

func (s *Store) put(ctx context.Context, c *connection, o object, content []byte) (stamp, error) {
	a := c.of(o.bucket)
	if a.tags.no() {
		o.tags = nil
	}
	nonce := rand.Text()
	in := &s3.PutObjectInput{
		Bucket: &o.bucket, Key: &o.key, ContentLength: aws.Int64(int64(len(content))),
		Metadata: o.metadata(nonce), Tagging: o.tagging(),
		ServerSideEncryption: s.opts.SSE, SSEKMSKeyId: optional(s.opts.KMSKey),
	}
	in.StorageClass = s.class(o)
	in.ObjectLockMode, in.ObjectLockRetainUntilDate, in.ObjectLockLegalHoldStatus = s.lock(o)
	var how []func(*s3.Options)
	if a.sums.no() {
		in.ContentMD5 = md5Of(content)
	} else {
		in.ChecksumSHA256 = encode(content)
		how = append(how, unsigned)
	}
	for try := 1; ; try++ {
		proved := false
		made, err := s.conclude(ctx, c, o, nonce, int64(len(content)), func(ctx context.Context, absent, match *string) (stamp, error) {
			in.Body, in.IfNoneMatch, in.IfMatch = bytes.NewReader(content), absent, match
			out, err := c.api.PutObject(ctx, in, how...)
			if err != nil {
				return stamp{}, err
			}
			proved, err = a.proves(content, out.ChecksumSHA256, out.ETag)
			return stamp{aws.ToString(out.ETag), aws.ToString(out.VersionId)}, err
		})
		if err == nil && !proved {
			err = s.readBack(ctx, c, o, made, sha256.Sum256(content))
		}
		if !errors.Is(err, errAltered) {
			return made, err
		}
		// The old object is gone: only another attempt can repair that.
		switch {
		case o.absent:
			if deleted := s.delete(ctx, c, o.path, o.bucket, o.key, made); deleted != nil {
				return stamp{}, withCleanup(err, deleted)
			}
		case o.match != "":
			o.match = made.etag
		}
		if try == s.opts.limits.probes {
			return stamp{}, err
		}
		if err := s.opts.sleep(ctx, try); err != nil {
			return stamp{}, err
		}
	}
}

func encode(content []byte) *string {
	sum := sha256.Sum256(content)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// errAltered can be retried while the sent bytes are at hand.
var errAltered = &Fault{Kind: ErrAltered, Reason: "S3 received other bytes than were sent",
	Fix: "run it again; if it stays so, something on the way to the server changes what passes it"}

// proves reports whether an answer proves that content arrived: by the server's SHA-256, or
// by its MD5 where ETags are that. It fails with errAltered when they differ.
func (a *abilities) proves(content []byte, sum, etag *string) (bool, error) {
	switch {
	case aws.ToString(sum) != "":
		if *sum == *encode(content) {
			return true, nil
		}
	case isMD5(etag, content):
		return true, nil
	case !a.etags.yes():
		return false, nil
	}
	return false, errAltered
}

// readBack fails with errAltered unless the new object has that sum.
func (s *Store) readBack(ctx context.Context, c *connection, o object, made stamp, sum [sha256.Size]byte) error {
	there, err := s.open(ctx, o.path)
	if isDenied(err) {
		return errUnproved
	}
	if err != nil {
		return err
	}
	defer there.Close()
	if there.src.etag != made.etag {
		return fmt.Errorf("read back %s: %w", o.path, store.ErrChanged)
	}
	sha := sha256.New()
	if _, err := io.Copy(sha, there); err != nil {
		return err
	}
	if [sha256.Size]byte(sha.Sum(nil)) != sum {
		return errAltered
	}
	return nil
}

// conclude makes the request that gives an object its name, and looks whether it was
// carried out when that is unsure: when it fails, because an answer can get lost and the
// repeated request then meets the object of the first; when the answer is incomplete; and
// when the server may ignore the request's condition, in which case it also looks before.
func (s *Store) conclude(ctx context.Context, c *connection, o object, nonce string, size int64, request func(ctx context.Context, absent, match *string) (stamp, error)) (stamp, error) {
	a := c.of(o.bucket)
	counted, lost := unanswered(ctx)
	for try := 1; ; try++ {
		absent, match := o.ifNone(), optional(o.match)
		if a.ifNone.no() {
			absent = nil
		}
		if a.ifMatch.no() {
			match = nil
		}
		sure := !o.absent && o.match == "" || o.absent && a.ifNone.yes() || o.match != "" && a.ifMatch.yes()
		if !sure {
			if err := s.free(ctx, c, o, nonce); err != nil {
				return stamp{}, err
			}
		}
		made, err := request(counted, absent, match)
		if err == nil && sure && made.etag != "" || errors.Is(err, errAltered) {
			return made, err
		}
		if o.absent && isLost(err) {
			a.ifNone.set(true)
		}
		there, lookErr := s.look(ctx, c, o)
		for look := 1; ctx.Err() != nil && isMissing(lookErr) && look <= 3; look++ {
			// An aborted request may still be carried out.
			_ = s.opts.sleep(context.WithoutCancel(ctx), look)
			there, lookErr = s.look(ctx, c, o)
		}
		switch {
		case lookErr == nil && there.Metadata[nonceKey] == nonce:
			if n := aws.ToInt64(there.ContentLength); n != size {
				return stamp{}, fmt.Errorf("write %s: S3 keeps %d of %d bytes: %w", o.path, n, size, errAltered)
			}
			return stamp{aws.ToString(there.ETag), aws.ToString(there.VersionId)}, nil
		case ctx.Err() != nil:
			return stamp{}, context.Cause(ctx)
		case err == nil && isDenied(lookErr) && made.etag != "": // whoever may only write goes by the answer
			return made, nil
		case err == nil && lookErr == nil: // another writer's took the place of this one
			return stamp{}, o.taken()
		case err == nil && !isMissing(lookErr) && !isDenied(lookErr):
			return stamp{}, lookErr
		case err == nil && try < s.opts.limits.probes:
			if err := s.opts.sleep(ctx, try); err != nil {
				return stamp{}, err
			}
		case err == nil:
			return stamp{}, &Fault{Kind: ErrUncertain, Reason: "S3 answered that it made the object, and does not have it", Fix: "run it again; the server, or a proxy before it, loses what it is sent"}
		case absent != nil && isRefused(err) && !a.ifNone.yes():
			a.ifNone.set(false)
		case match != nil && isRefused(err) && !a.ifMatch.yes():
			a.ifMatch.set(false)
		case isRace(err) && try < 8:
			// The other request may fail and free the name.
			if err := s.opts.sleep(ctx, try); err != nil {
				return stamp{}, err
			}
		case (isLost(err) || isRace(err) || isMissing(err)) && o.match != "":
			return stamp{}, o.taken()
		case isLost(err) && lost.Load() > 0 && isDenied(lookErr):
			return stamp{}, &Fault{Kind: ErrUncertain, Reason: "an answer of S3 got lost, and whether the object that is there now is this one cannot be looked at",
				Fix: "look from where reading is allowed: what has no sidecar is not a complete backup; then run it again"}
		case isLost(err) && o.absent:
			return stamp{}, o.taken()
		case isRace(err):
			return stamp{}, fmt.Errorf("create %s: %w", o.path, store.ErrBusy)
		default:
			return stamp{}, err
		}
	}
}

// taken is the error of an object whose condition fails.
func (o object) taken() error {
	if o.absent {
		return fmt.Errorf("create %s: %w", o.path, store.ErrExists)
	}
	return fmt.Errorf("replace %s: %w", o.path, store.ErrChanged)
}

// free checks the condition of o, where permitted. An earlier attempt may have made the
// object with that nonce.
func (s *Store) free(ctx context.Context, c *connection, o object, nonce string) error {
	there, err := c.head(ctx, o.bucket, o.key, "")
	switch {
	case isDenied(err), err == nil && there.Metadata[nonceKey] == nonce:
		return nil
	case isMissing(err):
		if o.match != "" {
			return o.taken()
		}
		return nil
	case err != nil:
		return err
	case o.absent, aws.ToString(there.ETag) != o.match:
		return o.taken()
	}
	return nil
}

// look gets the head of the key's object, even after ctx has ended.
func (s *Store) look(ctx context.Context, c *connection, o object) (*s3.HeadObjectOutput, error) {
	ctx, cancel := s.cleanup(ctx)
	defer cancel()
	return c.head(ctx, o.bucket, o.key, "")
}
