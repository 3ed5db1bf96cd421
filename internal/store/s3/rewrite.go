package s3store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// smallest is up to what size an object is sent anew and not copied by S3.
const smallest = firstPart

// Reserve implements store.Store. S3 gives nobody such a right: what is read is
// compared again when it is written over.
func (s *Store) Reserve(context.Context, string) (release func() error, err error) {
	return func() error { return nil }, nil
}

// Overwrite implements store.Store: S3 copies what is not head, so that at most
// 8 MiB travel, and the new object takes the name of the old one in one step,
// if that is still the one that was read. With object lock or versions the old
// one stays as a version.
func (s *Store) Overwrite(ctx context.Context, path string, was store.Object, head []byte, sum [sha256.Size]byte) error {
	bucket, key, err := splitFile(path)
	if err != nil {
		return err
	}
	c, err := s.session(ctx, "overwrite", path)
	if err != nil {
		return err
	}
	old, err := s.same(ctx, c, path, bucket, key, was)
	if err != nil {
		return s.fault(ctx, "overwrite", path, err)
	}
	dst := object{path: path, bucket: bucket, key: key, backup: true, match: old.src.etag, class: old.class, until: s.lockEnd()}
	if int64(len(head)) > min(old.size, smallest) {
		return fmt.Errorf("overwrite %s: a head of %d bytes is too long", path, len(head))
	}
	made, err := s.compose(ctx, c, dst, head, old)
	if err != nil {
		return s.fault(ctx, "overwrite", path, err)
	}
	return s.putSidecar(ctx, c, dst, made, sum)
}

// standingObject is what a key holds.
type standingObject struct {
	*Object
	class string
	noted map[string]string // its metadata
}

// same looks at the object at path, and fails with store.ErrChanged unless it
// is the one that was read.
func (s *Store) same(ctx context.Context, c *connection, path, bucket, key string, was store.Object) (standingObject, error) {
	now, err := s.stat(ctx, c, path, bucket, key)
	if err != nil {
		return now, err
	}
	mine, ok := was.(*Object)
	found := store.Backup{Size: now.size, ModTime: now.modTime}
	if !same(found, store.Backup{Size: was.Size(), ModTime: was.ModTime()}) || ok && mine.src.etag != now.src.etag {
		return now, fmt.Errorf("overwrite %s: %w", path, store.ErrChanged)
	}
	return now, nil
}

func (s *Store) stat(ctx context.Context, c *connection, path, bucket, key string) (standingObject, error) {
	head, err := c.probe.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return standingObject{}, err
	}
	o := &Object{
		s: s, c: c, path: path, src: source{bucket, key, aws.ToString(head.ETag)},
		size: aws.ToInt64(head.ContentLength), modTime: aws.ToTime(head.LastModified),
	}
	return standingObject{o, string(head.StorageClass), head.Metadata}, nil
}

// compose makes dst of head and what src has behind that.
func (s *Store) compose(ctx context.Context, c *connection, dst object, head []byte, src standingObject) (stamp, error) {
	// What is sent: all of it, or a first part that is as large as S3 demands.
	send := src.size
	if src.size > smallest {
		send = int64(max(len(head), minPart))
	}
	content := make([]byte, send)
	n := copy(content, head)
	if _, err := src.fetch(ctx, content[n:], int64(n)); err != nil {
		return stamp{}, err
	}
	if s.opts.Tags != nil {
		dst.tags = s.opts.Tags(dst.path, content)
	}
	if send == src.size {
		return s.put(ctx, c, dst, content)
	}
	dst.signed = true
	u, err := s.begin(ctx, c, dst)
	if err != nil {
		return stamp{}, err
	}
	made, err := u.compose(ctx, content, src, s.plan.pieceSize(src.size-send))
	if err != nil {
		return stamp{}, withCleanup(err, u.abort(ctx))
	}
	return made, nil
}

func (u *upload) compose(ctx context.Context, first []byte, src standingObject, size int64) (stamp, error) {
	const atOnce = 4
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	wg.Go(func() { cancelOn(cancel, u.send(ctx, 1, first)) })
	for n, from := 2, int64(len(first)); from < src.size; n, from = n+1, from+size {
		slots <- struct{}{}
		wg.Go(func() {
			cancelOn(cancel, u.copy(ctx, n, src.src, from, min(from+size, src.size)))
			<-slots
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		if isLost(err) {
			err = fmt.Errorf("replace %s: %w", u.o.path, store.ErrChanged)
		}
		return stamp{}, err
	}
	return u.complete(ctx)
}

func cancelOn(cancel context.CancelCauseFunc, err error) {
	if err != nil {
		cancel(err)
	}
}
