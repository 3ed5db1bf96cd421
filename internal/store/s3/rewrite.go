package s3store

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// smallest is up to what size an object is sent anew and not copied by S3.
const smallest = firstPart

// standingObject is what a key holds.
type standingObject struct {
	*Object
	class string
	noted map[string]string // its metadata
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

// compose makes dst of head and what src has from the byte from on. At most 8 MiB
// are sent.
func (s *Store) compose(ctx context.Context, c *connection, dst object, head []byte, src standingObject, from int64) (stamp, error) {
	// What is sent: all of it, or a first part that is as large as S3 demands.
	size := int64(len(head)) + src.size - from
	send := size
	if size > smallest {
		send = int64(max(len(head), minPart))
	}
	content := make([]byte, send)
	n := copy(content, head)
	if _, err := src.fetch(ctx, content[n:], from); err != nil {
		return stamp{}, err
	}
	if s.opts.Tags != nil {
		dst.tags = s.opts.Tags(dst.path, content)
	}
	if send == size {
		return s.put(ctx, c, dst, content)
	}
	dst.signed = true
	u, err := s.begin(ctx, c, dst)
	if err != nil {
		return stamp{}, err
	}
	made, err := u.compose(ctx, content, src, from+send-int64(n), s.plan.pieceSize(size-send))
	if err != nil {
		return stamp{}, withCleanup(err, u.abort(ctx))
	}
	return made, nil
}

// compose makes an object of a first part and what src has from the byte from on,
// in parts of that size.
func (u *upload) compose(ctx context.Context, first []byte, src standingObject, from, size int64) (stamp, error) {
	const atOnce = 4
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	wg.Go(func() { cancelOn(cancel, u.send(ctx, 1, first)) })
	for n, at := 2, from; at < src.size; n, at = n+1, at+size {
		slots <- struct{}{}
		wg.Go(func() {
			cancelOn(cancel, u.copy(ctx, n, src.src, at, min(at+size, src.size)))
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
