package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// fetch fills p from off. What breaks off goes on from the byte where it broke,
// as long as each try, or one of the next few, brings some.
func (o *Object) fetch(ctx context.Context, p []byte, off int64) (got int, err error) {
	for try := 1; got < len(p); try++ {
		n, err := o.fetchOnce(ctx, p[got:], off+int64(got))
		got += n
		if n > 0 {
			try = 0
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return got, context.Cause(ctx)
		case isLost(err), isMissing(err):
			return got, fmt.Errorf("read %s: %w", o.path, store.ErrChanged)
		case !isCut(err), try == o.s.opts.limits.attempts:
			return got, err
		default:
			if err := o.s.opts.sleep(ctx, try); err != nil {
				return got, err
			}
		}
	}
	return got, nil
}

func (o *Object) fetchOnce(ctx context.Context, p []byte, off int64) (int, error) {
	out, err := o.c.api.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &o.src.bucket, Key: &o.src.key, IfMatch: optional(o.src.etag),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1)),
	})
	if err != nil {
		return 0, err
	}
	defer out.Body.Close()
	// A server that passes ranges over would give the beginning.
	want := fmt.Sprintf("bytes %d-%d/%d", off, off+int64(len(p))-1, o.size)
	if got := aws.ToString(out.ContentRange); got != want {
		return 0, &Fault{Kind: ErrUnsupported, Reason: fmt.Sprintf("S3 was asked for %q and answered with %q", want, clean(got))}
	}
	n, err := io.ReadFull(out.Body, p)
	return n, cutOff(err)
}

// cutError is an answer that broke off.
type cutError struct{ error }

func (c cutError) Unwrap() error { return c.error }

func cutOff(err error) error {
	switch err {
	case nil:
		return nil
	case io.EOF, io.ErrUnexpectedEOF:
		err = errShort
	}
	return cutError{err}
}

func isCut(err error) bool { return errors.As(err, new(cutError)) }
