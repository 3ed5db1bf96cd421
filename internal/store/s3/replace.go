package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// replaceSuffix is of what is to take another's place.
const replaceSuffix = ".reencrypt-partial"

// Replace implements store.Store. It writes the object NAME.reencrypt-partial, over one
// that a crash left; Swap has S3 copy it over the old object, if that is unchanged, and
// deletes it. After CopyFrom there is no such object: Swap composes the new one from the
// written bytes and the old object. A Swap that was killed before the sidecar is finished
// first.
func (s *Store) Replace(ctx context.Context, path string) (store.Replacement, error) {
	bucket, key, err := splitNew(path, true)
	if err != nil {
		return nil, err
	}
	c, err := s.session(ctx, "replace", path)
	if err != nil {
		return nil, err
	}
	var old existing
	err = s.try(ctx, c, object{path: path, bucket: bucket, key: key, backup: true}) // a HEAD would not say why
	if err == nil {
		old, err = s.stat(ctx, c, path, bucket, key)
	}
	if err == nil {
		err = s.finishSwap(ctx, c, old)
	}
	if err != nil {
		return nil, s.fault(ctx, "replace", path, err)
	}
	w := s.writer(ctx, c, object{path: store.Beside(path, replaceSuffix), bucket: bucket, key: key + replaceSuffix})
	if err := w.expect(old.size + old.size/2); err != nil { // another codec makes it larger
		w.end()
		return nil, s.fault(ctx, "replace", path, err)
	}
	return &replacement{Writer: w, old: old}, nil
}

// finishSwap finishes a Swap that was killed after its first step: it writes the sidecar, and
// deletes the temporary object.
func (s *Store) finishSwap(ctx context.Context, c *connection, old existing) error {
	sum, ok := notedSum(old.noted)
	if !ok {
		return nil // not made by Swap, or changed since
	}
	sidecar, err := s.open(ctx, store.Beside(old.path, store.SidecarSuffix))
	if err != nil && !isMissing(err) {
		return err
	}
	right := false
	if err == nil {
		text := make([]byte, store.MaxSidecar)
		n, readErr := sidecar.ReadAt(text, 0)
		sidecar.Close()
		if readErr != nil && readErr != io.EOF {
			return readErr
		}
		right = bytes.Equal(text[:n], sidecarOf(old.path, sum))
	}
	if !right {
		file := object{path: old.path, bucket: old.src.bucket, key: old.src.key, until: s.lockEnd()}
		if err := s.putSidecar(ctx, c, file, stamp{etag: old.src.etag}, sum); err != nil {
			return err
		}
	}
	temporary, err := s.stat(ctx, c, old.path, old.src.bucket, old.src.key+replaceSuffix)
	if err == nil && temporary.src.etag == old.noted[fromKey] {
		err = s.removeBeside(ctx, old.path, replaceSuffix, nil)
	}
	if isMissing(err) || isNotDeleted(err) {
		return nil
	}
	return err
}

// notedSum is the SHA-256 that Swap noted in its object.
func notedSum(metadata map[string]string) (sum [sha256.Size]byte, ok bool) {
	noted, err := hex.DecodeString(metadata[sumKey])
	if err != nil || len(noted) != len(sum) {
		return sum, false
	}
	return [sha256.Size]byte(noted), true
}

type existing struct {
	*Object
	class string
	kept  retention
}

func (s *Store) stat(ctx context.Context, c *connection, path, bucket, key string) (existing, error) {
	head, err := c.head(ctx, bucket, key, "")
	if err != nil {
		return existing{}, err
	}
	o := &Object{
		s: s, c: c, path: path, src: source{bucket, key, aws.ToString(head.ETag)}, noted: head.Metadata,
		size: aws.ToInt64(head.ContentLength), modTime: aws.ToTime(head.LastModified),
	}
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	return existing{o, string(head.StorageClass), retention{types.ObjectLockMode(head.ObjectLockMode), aws.ToTime(head.ObjectLockRetainUntilDate), head.ObjectLockLegalHoldStatus}}, nil
}

type replacement struct {
	*Writer
	old      existing
	copies   bool // CopyFrom was called: S3 copies the old object from off on, after head
	off      int64
	head     []byte
	made     stamp
	sum      [sha256.Size]byte
	uploaded bool // the temporary object
	ready    bool
	settled  bool
}

// CopyFrom implements store.Replacement. Copied bytes are read for the sum, and sent only
// after a head longer than S3's largest part.
func (r *replacement) CopyFrom(ctx context.Context, off int64, seen io.Writer) error {
	if r.ended || r.ready || r.copies {
		return os.ErrClosed
	}
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	if err := r.copyFrom(ctx, off, seen); err != nil {
		return r.fail(err)
	}
	return nil
}

func (r *replacement) copyFrom(ctx context.Context, off int64, seen io.Writer) error {
	old, err := r.opened(ctx, off)
	if err != nil {
		return err
	}
	defer old.Close()
	if r.up != nil || r.size > r.s.plan.whole() {
		_, err := io.CopyBuffer(io.MultiWriter(struct{ io.Writer }{r.Writer}, seen), struct{ io.Reader }{old}, make([]byte, mib))
		return err
	}
	hash := store.NewHasher()
	defer hash.Finish()
	hash.Begin(r.buf)
	hash.Wait()
	pieces := [2][]byte{make([]byte, mib), make([]byte, mib)}
	for i := 0; err == nil; i = 1 - i { // the sum may still be at the other one
		var n int
		n, err = io.ReadFull(old, pieces[i])
		hash.Wait()
		hash.Begin(pieces[i][:n])
		if _, seenErr := seen.Write(pieces[i][:n]); seenErr != nil {
			err = seenErr
		}
	}
	hash.Wait()
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	r.sum, r.head, r.off, r.copies = hash.Finish(), bytes.Clone(r.buf), off, true
	r.size += r.old.size - off
	return nil
}

func (r *replacement) opened(ctx context.Context, off int64) (*Object, error) {
	old, err := r.s.open(ctx, r.old.path)
	if err != nil {
		return nil, err
	}
	if old.src.etag != r.old.src.etag {
		old.Close()
		return nil, fmt.Errorf("read %s: %w", r.old.path, store.ErrChanged)
	}
	old.off, old.asked = off, max(old.asked, off)
	return old, nil
}

// Finish implements store.Replacement.
func (r *replacement) Finish() (store.Result, error) {
	switch {
	case r.ready || r.ended:
		return store.Result{}, os.ErrClosed
	case r.copies:
		if err := context.Cause(r.ctx); err != nil {
			return store.Result{}, err
		}
	default:
		made, err := r.finish()
		if err != nil {
			return store.Result{}, r.fail(err)
		}
		r.made, r.sum, r.uploaded = made, r.Writer.sum(), true
	}
	r.ready = true
	return store.Result{Path: r.old.path, Size: r.size, SHA256: hex.EncodeToString(r.sum[:])}, nil
}

// Open implements store.Replacement.
func (r *replacement) Open(ctx context.Context) (store.Object, error) {
	if !r.copies {
		return r.s.Open(ctx, r.o.path)
	}
	old, err := r.opened(ctx, r.off)
	if err != nil {
		return nil, r.s.fault(ctx, "open", r.old.path, err)
	}
	return &joined{head: r.head, old: old, off: r.off, size: r.size}, nil
}

// Swap implements store.Replacement.
func (r *replacement) Swap(ctx context.Context) error {
	if !r.ready || r.settled {
		return errors.New("s3: Swap comes after Finish, once")
	}
	path := r.old.path
	dst := object{path: path, bucket: r.o.bucket, key: r.old.src.key, backup: true, match: r.old.src.etag, class: r.old.class, kept: r.old.kept, until: r.s.lockEnd(), sum: hex.EncodeToString(r.sum[:])}
	swapped, err := r.swap(ctx, dst)
	if err != nil {
		return r.s.fault(ctx, "replace", path, err)
	}
	r.settled = true
	if err := r.s.putSidecar(ctx, r.c, dst, swapped, r.sum); err != nil {
		r.settled = !errors.Is(err, store.ErrChanged) // then nobody needs the temporary object
		return err
	}
	// Without the right to delete, the new file is complete all the same; Sweep reports the
	// rest.
	if r.uploaded {
		if err := r.drop(); err != nil && !isNotDeleted(err) {
			return r.s.fault(ctx, "delete", r.o.path, err)
		}
	}
	return nil
}

func (r *replacement) swap(ctx context.Context, dst object) (_ stamp, err error) {
	if dst.tags, err = r.tags(ctx); err != nil {
		return stamp{}, err
	}
	from := r.old
	if r.uploaded {
		if from, err = r.s.stat(ctx, r.c, r.o.path, r.o.bucket, r.o.key); err != nil {
			if isMissing(err) {
				err = fmt.Errorf("replace %s: %w", r.old.path, store.ErrChanged)
			}
			return stamp{}, err
		}
		if from.src.etag != r.made.etag { // by another host
			return stamp{}, fmt.Errorf("replace %s: %w", r.old.path, store.ErrChanged)
		}
		dst.from = r.made.etag
	}
	return r.s.compose(ctx, r.c, dst, r.head, r.off, from)
}

// tags are the readable ones of the old object, and the new one's.
func (r *replacement) tags(ctx context.Context) (map[string]string, error) {
	if r.s.opts.Tags == nil || r.c.of(r.o.bucket).tags.no() {
		return nil, nil
	}
	tags := map[string]string{}
	was, err := r.c.probe.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &r.old.src.bucket, Key: &r.old.src.key})
	if err == nil {
		for _, tag := range was.TagSet {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
	}
	o, err := r.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	head := make([]byte, min(o.Size(), mib))
	if _, err := o.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, err
	}
	maps.Copy(tags, r.s.opts.Tags(r.old.path, head))
	return tags, nil
}

func (r *replacement) drop() error {
	ctx, cancel := r.s.cleanup(r.ctx)
	defer cancel()
	r.uploaded = false
	return r.s.delete(ctx, r.c, r.o.path, r.o.bucket, r.o.key, r.made)
}

// Abort implements store.Replacement.
func (r *replacement) Abort() error {
	err := r.Writer.Abort()
	if r.uploaded && !r.settled {
		err = errors.Join(err, r.s.fault(context.WithoutCancel(r.ctx), "delete", r.o.path, r.drop()))
	}
	return err
}

// compose makes dst of head and of src from off on, which S3 copies, so that little is
// sent. All of it is checked before it replaces another.
func (s *Store) compose(ctx context.Context, c *connection, dst object, head []byte, off int64, src existing) (stamp, error) {
	dst.signed = true
	a := c.of(dst.bucket)
	size := int64(len(head)) + src.size - off
	for {
		// A first part with a head is sent, with the least possible size.
		piece, first := s.plan.pieceSize(size), int64(0)
		if a.unequal.no() {
			piece = max(s.plan.whole(), (size-1)/int64(s.plan.parts)+1)
		}
		if off > 0 || len(head) > 0 || size == 0 {
			first = max(int64(len(head)), s.plan.least)
			if a.unequal.no() {
				first = max(piece, first)
				piece = first
			}
			if size <= max(first, s.plan.whole()) {
				first = size
			}
		}
		made, err := s.composeOf(ctx, c, dst, head, off, src, first, piece)
		if err == nil || a.unequal.yes() || a.unequal.no() || !isUnequal(err) {
			return made, err
		}
		a.unequal.set(false)
	}
}

func (s *Store) composeOf(ctx context.Context, c *connection, dst object, head []byte, off int64, src existing, first, piece int64) (stamp, error) {
	const atOnce = 4
	size := int64(len(head)) + src.size - off
	content := make([]byte, first)
	n := copy(content, head)
	if _, err := src.fetch(ctx, content[n:], off); err != nil {
		return stamp{}, err
	}
	u, err := s.begin(ctx, c, dst)
	if err != nil {
		return stamp{}, err
	}
	copying, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	start := func(send func() error) {
		slots <- struct{}{}
		wg.Go(func() {
			if err := send(); err != nil {
				cancel(err)
			}
			<-slots
		})
	}
	part := 0
	if first > 0 || size == 0 {
		part++
		start(func() error { return s.sendFirst(copying, u, content) })
	}
	for at := first; at < size && copying.Err() == nil; at += piece {
		part++
		number, from := part, at-int64(len(head))+off
		start(func() error { return u.copy(copying, number, src.src, from, min(from+piece, src.size), src.size) })
	}
	wg.Wait()
	if err = context.Cause(copying); err == nil {
		var made stamp
		if made, err = u.complete(ctx); err == nil {
			return made, nil
		}
	}
	if isLost(err) {
		err = fmt.Errorf("replace %s: %w", dst.path, store.ErrChanged)
	}
	return stamp{}, withCleanup(err, u.abort(ctx))
}

// sendFirst sends the first part of an object that replaces another. Where the answer would
// not prove its arrival, it is sent as an object of its own, checked, and copied by S3.
func (s *Store) sendFirst(ctx context.Context, u *upload, content []byte) error {
	if u.c.of(u.o.bucket).etags.yes() || len(content) == 0 {
		return u.send(ctx, 1, content)
	}
	part := object{path: store.Beside(u.o.path, replaceSuffix), bucket: u.o.bucket, key: u.o.key + replaceSuffix}
	made, err := s.put(ctx, u.c, part, content)
	if err != nil {
		return errors.Join(err, s.removeBeside(context.WithoutCancel(ctx), u.o.path, replaceSuffix, nil))
	}
	err = u.copy(ctx, 1, source{part.bucket, part.key, made.etag}, 0, int64(len(content)), int64(len(content)))
	cleanup, cancel := s.cleanup(ctx)
	defer cancel()
	if deleted := s.delete(cleanup, u.c, part.path, part.bucket, part.key, made); !isNotDeleted(deleted) {
		err = cmp.Or(err, deleted)
	}
	return err
}

// joined reads head, followed by an object from off on, as one file.
type joined struct {
	head []byte
	old  *Object // its Read begins at off
	off  int64
	size int64
	at   int
}

func (j *joined) Size() int64        { return j.size }
func (j *joined) ModTime() time.Time { return j.old.modTime }
func (j *joined) Close() error       { return j.old.Close() }

func (j *joined) Read(p []byte) (int, error) {
	if j.at < len(j.head) {
		n := copy(p, j.head[j.at:])
		j.at += n
		return n, nil
	}
	return j.old.Read(p)
}

func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset", j.old.path)
	}
	n := 0
	if off < int64(len(j.head)) {
		n = copy(p, j.head[off:])
	}
	if n == len(p) {
		return n, nil
	}
	got, err := j.old.ReadAt(p[n:], off+int64(n)-int64(len(j.head))+j.off)
	return n + got, err
}
