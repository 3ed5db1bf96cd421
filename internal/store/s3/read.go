package s3store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

const (
	headLen   = 64 << 10 // comes with Open, and holds most envelopes
	pieceLen  = 8 * mib
	maxPieces = 4 // that are read ahead
)

// errShort is an answer shorter than announced.
var errShort = errors.New("the answer broke off")

// Object is an object open for reading. When another takes its key, reading fails with
// store.ErrChanged. See store.Object.
type Object struct {
	s       *Store
	c       *connection
	path    string
	src     source
	size    int64
	modTime time.Time
	head    []byte            // the first bytes
	noted   map[string]string // its metadata

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	off    int64    // of the next Read
	asked  int64    // up to here is read ahead
	ahead  []*piece // in order
	now    []byte   // the rest of the piece being read
	buf    []byte   // all of it
	spare  [][]byte
	failed error // what ended reading in order
}

type piece struct {
	buf  []byte
	err  error
	done chan struct{}
}

// Open implements store.Store. It costs one request, which also fetches the first 64 KiB;
// reading ahead begins with the first Read beyond them. The caller closes the *Object. Its
// bytes are not authenticated.
func (s *Store) Open(ctx context.Context, path string) (store.Object, error) {
	o, err := s.open(ctx, path)
	if err != nil {
		return nil, s.fault(ctx, "open", path, err)
	}
	return o, nil
}

func (s *Store) open(ctx context.Context, path string) (*Object, error) {
	bucket, key, err := splitFile(path)
	if err != nil {
		return nil, err
	}
	c, err := s.session(ctx, "open", path)
	if err != nil {
		return nil, err
	}
	o := &Object{s: s, c: c, path: path, src: source{bucket: bucket, key: key}}
	for try := 1; ; try++ {
		err := o.begin(ctx)
		if err == nil {
			break
		}
		if !isCut(err) || try == s.opts.limits.probes {
			return nil, err
		}
		if err := s.opts.sleep(ctx, try); err != nil {
			return nil, err
		}
	}
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	o.asked = int64(len(o.head))
	return o, nil
}

func (o *Object) begin(ctx context.Context) error {
	out, err := o.c.probe.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &o.src.bucket, Key: &o.src.key, Range: aws.String(fmt.Sprintf("bytes=0-%d", headLen-1)),
	})
	if awsclient.Status(err) == http.StatusRequestedRangeNotSatisfiable { // it is empty
		head, err := o.c.head(ctx, o.src.bucket, o.src.key, "")
		if err != nil {
			return err
		}
		o.size, o.src.etag, o.modTime = aws.ToInt64(head.ContentLength), aws.ToString(head.ETag), aws.ToTime(head.LastModified)
		return nil
	}
	if err != nil {
		return err
	}
	defer out.Body.Close()
	o.src.etag, o.modTime, o.noted = aws.ToString(out.ETag), aws.ToTime(out.LastModified), out.Metadata
	o.size = -1
	if out.ContentRange == nil && out.ContentLength != nil {
		o.size = *out.ContentLength // all of it, from a server that ignores ranges
	} else if out.ContentRange != nil {
		var from, to, size int64
		_, err := fmt.Sscanf(*out.ContentRange, "bytes %d-%d/%d", &from, &to, &size)
		if err == nil && from == 0 && size > 0 && to == min(headLen, size)-1 {
			o.size = size
		}
	}
	if o.size < 0 {
		return &Fault{Kind: ErrUnsupported, Reason: "S3 answered with a range that it does not describe"}
	}
	o.head = make([]byte, min(headLen, o.size))
	if _, err := io.ReadFull(out.Body, o.head); err != nil {
		return cutOff(err)
	}
	return nil
}

// Size is the length of the object.
func (o *Object) Size() int64 { return o.size }

// ModTime is when it was written, to the second.
func (o *Object) ModTime() time.Time { return o.modTime }

// Noted is the SHA-256 that Swap noted in the object, if it made it. A different sidecar is
// of the object before: Swap was killed before it wrote the new one, which the next Replace
// does.
func (o *Object) Noted() (sum [sha256.Size]byte, ok bool) { return notedSum(o.noted) }

// ReadAt implements io.ReaderAt, by one request unless the first 64 KiB suffice.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case o.ctx.Err() != nil:
		return 0, o.fault(o.ctx, "read", context.Cause(o.ctx))
	case off < 0:
		return 0, fmt.Errorf("read %s: negative offset", o.path)
	case off >= o.size:
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), o.size-off)]
	n := 0
	if off < int64(len(o.head)) {
		n = copy(want, o.head[off:])
	}
	if n < len(want) {
		got, err := o.fetch(o.ctx, want[n:], off+int64(n))
		if n += got; err != nil {
			return n, o.fault(o.ctx, "read", err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Read implements io.Reader.
func (o *Object) Read(p []byte) (int, error) {
	switch {
	case o.ctx.Err() != nil:
		return 0, o.fault(o.ctx, "read", context.Cause(o.ctx))
	case o.off == o.size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	case o.off < int64(len(o.head)):
		n := copy(p, o.head[o.off:])
		o.off += int64(n)
		return n, nil
	}
	if len(o.now) == 0 && o.failed == nil {
		if err := o.advance(); err != nil {
			o.failed = o.fault(o.ctx, "read", err)
		}
	}
	if o.failed != nil {
		return 0, o.failed
	}
	n := copy(p, o.now)
	o.now = o.now[n:]
	o.off += int64(n)
	return n, nil
}

func (o *Object) advance() error {
	if o.buf != nil {
		o.spare = append(o.spare, o.buf[:cap(o.buf)])
		o.buf = nil
	}
	for len(o.ahead) < maxPieces-1 && o.asked < o.size {
		o.ask()
	}
	next := o.ahead[0]
	o.ahead = o.ahead[1:]
	select {
	case <-next.done:
	case <-o.ctx.Done():
		return context.Cause(o.ctx)
	}
	o.buf, o.now = next.buf, next.buf
	if next.err == nil && o.asked < o.size {
		o.ask() // while this one is read
	}
	return next.err
}

func (o *Object) ask() {
	p := &piece{done: make(chan struct{})}
	size := min(pieceLen, o.size-o.asked)
	if n := len(o.spare); n > 0 {
		p.buf, o.spare = o.spare[n-1][:size], o.spare[:n-1]
	} else {
		p.buf = make([]byte, size)
	}
	from := o.asked
	o.asked += size
	o.ahead = append(o.ahead, p)
	o.wg.Go(func() {
		defer close(p.done)
		_, p.err = o.fetch(o.ctx, p.buf, from)
	})
}

func (o *Object) fault(ctx context.Context, op string, err error) error {
	if err == errClosed {
		return &fs.PathError{Op: op, Path: o.path, Err: os.ErrClosed}
	}
	return o.s.fault(ctx, op, o.path, err)
}

var errClosed = errors.New("closed")

// Close ends requests under way, and waits for them.
func (o *Object) Close() error {
	o.cancel(errClosed)
	o.wg.Wait()
	o.ahead, o.now, o.buf, o.spare = nil, nil, nil, nil
	return nil
}

// fetch fills p from off. A broken answer is continued where it broke, as long as one of
// the next few tries brings some bytes.
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
	// A server that ignores ranges would send the beginning.
	want := fmt.Sprintf("bytes %d-%d/%d", off, off+int64(len(p))-1, o.size)
	if got := aws.ToString(out.ContentRange); got != want {
		return 0, &Fault{Kind: ErrUnsupported, Reason: fmt.Sprintf("S3 was asked for %q and answered with %q", want, clean(got))}
	}
	n, err := io.ReadFull(out.Body, p)
	return n, cutOff(err)
}

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
