package s3store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// replaceSuffix is of what is to take another's place.
const replaceSuffix = ".reencrypt-partial"

// Replace implements store.Store. What is written becomes the object
// NAME.reencrypt-partial, in the place of one that a crash left; Swap has S3
// copy it over the old object, if that is still the same, and deletes it. What
// CopyFrom copies needs no such object: Swap makes the new one of the old one. A
// Swap that was killed in between is finished first.
func (s *Store) Replace(ctx context.Context, path string) (store.Replacement, error) {
	bucket, key, err := splitNew(path, true)
	if err != nil {
		return nil, err
	}
	c, err := s.session(ctx, "replace", path)
	if err != nil {
		return nil, err
	}
	old, err := s.stat(ctx, c, path, bucket, key)
	if err == nil {
		err = s.mend(ctx, c, old)
	}
	if err != nil {
		return nil, s.fault(ctx, "replace", path, err)
	}
	w := s.writer(ctx, c, object{path: path + replaceSuffix, bucket: bucket, key: key + replaceSuffix})
	w.sha = sha256.New()
	return &replacement{Writer: w, old: old}, nil
}

// mend finishes a Swap that was killed behind its first step: it writes the
// sidecar, and deletes the temporary object.
func (s *Store) mend(ctx context.Context, c *connection, old standingObject) error {
	noted, err := hex.DecodeString(old.noted[sumKey])
	if err != nil || len(noted) != sha256.Size {
		return nil // it was not made by Swap, or something was made of it
	}
	sum := [sha256.Size]byte(noted)
	sidecar, err := s.open(ctx, old.path+store.SidecarSuffix)
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
	temporary, err := s.stat(ctx, c, old.path+replaceSuffix, old.src.bucket, old.src.key+replaceSuffix)
	if err == nil && temporary.src.etag == old.noted[fromKey] {
		err = s.removeBeside(ctx, old.path, replaceSuffix, nil)
	}
	if isMissing(err) || isNotDeleted(err) {
		return nil
	}
	return err
}

type replacement struct {
	*Writer
	old     standingObject
	made    stamp
	sum     [sha256.Size]byte
	stands  bool // the temporary object
	settled bool
	swap    *composed // what Swap is to make, when there is no temporary object
}

// CopyFrom implements store.Replacement. What is copied is read for the sum, and
// travels no other way but where it fits into one part.
func (r *replacement) CopyFrom(ctx context.Context, off int64, seen io.Writer) error {
	if r.ended || r.stands || r.swap != nil {
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
	old, err := r.s.open(ctx, r.old.path)
	if err != nil {
		return err
	}
	defer old.Close()
	if old.src.etag != r.old.src.etag {
		return fmt.Errorf("copy %s: %w", r.old.path, store.ErrChanged)
	}
	old.off = off
	old.asked = max(old.asked, off)
	if r.up != nil || r.size > smallest || r.old.size-off <= smallest {
		_, err := io.CopyBuffer(io.MultiWriter(struct{ io.Writer }{r.Writer}, seen), struct{ io.Reader }{old}, make([]byte, 1<<20))
		return err
	}
	hash := store.NewHasher()
	hash.Begin(r.buf)
	hash.Wait()
	pieces := [2][]byte{make([]byte, 1<<20), make([]byte, 1<<20)}
	for i := 0; err == nil; i = 1 - i { // the sum may still be at the other one
		var n int
		n, err = io.ReadFull(old, pieces[i])
		hash.Wait()
		hash.Begin(pieces[i][:n])
		if _, err := seen.Write(pieces[i][:n]); err != nil {
			hash.Wait()
			hash.Finish()
			return err
		}
	}
	hash.Wait()
	r.sum = hash.Finish()
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	r.swap = &composed{head: bytes.Clone(r.buf), from: off, old: r.old}
	return nil
}

// Finish implements store.Replacement.
func (r *replacement) Finish() (store.Result, error) {
	if r.swap != nil && !r.ended {
		if err := r.Writer.Abort(); err != nil { // it has sent nothing
			return store.Result{}, err
		}
		return store.Result{Path: r.old.path, Size: r.swap.Size(), SHA256: hex.EncodeToString(r.sum[:])}, nil
	}
	made, err := r.finish()
	if err != nil {
		return store.Result{}, r.fail(err)
	}
	r.made, r.sum, r.stands = made, r.Writer.sum(), true
	return store.Result{Path: r.old.path, Size: r.size, SHA256: hex.EncodeToString(r.sum[:])}, nil
}

// Open implements store.Replacement.
func (r *replacement) Open(ctx context.Context) (store.Object, error) {
	if r.swap != nil {
		o, err := r.s.open(ctx, r.old.path)
		if err != nil {
			return nil, r.s.fault(ctx, "open", r.old.path, err)
		}
		if o.src.etag != r.old.src.etag {
			o.Close()
			return nil, fmt.Errorf("read %s back: %w", r.old.path, store.ErrChanged)
		}
		o.off, o.asked = r.swap.from, max(o.asked, r.swap.from)
		return &composedObject{Object: o, composed: r.swap}, nil
	}
	return r.s.Open(ctx, r.o.path)
}

// composed is an object of a head and what another has from a byte on.
type composed struct {
	head []byte
	from int64
	old  standingObject
}

// Size is that of the whole.
func (c *composed) Size() int64 { return int64(len(c.head)) + c.old.size - c.from }

// composedObject reads one that has not been made yet.
type composedObject struct {
	*Object // reads from the byte from on
	*composed
	read int // of head
}

func (o *composedObject) Size() int64 { return o.composed.Size() }

func (o *composedObject) Read(p []byte) (int, error) {
	if o.read < len(o.composed.head) && o.ctx.Err() == nil {
		n := copy(p, o.composed.head[o.read:])
		o.read += n
		return n, nil
	}
	return o.Object.Read(p)
}

func (o *composedObject) ReadAt(p []byte, off int64) (n int, err error) {
	if head := int64(len(o.composed.head)); off >= 0 && off < head && o.ctx.Err() == nil {
		n = copy(p, o.composed.head[off:])
	}
	if n == len(p) {
		return n, nil
	}
	m, err := o.Object.ReadAt(p[n:], off+int64(n)-int64(len(o.composed.head))+o.from)
	return n + m, err
}

// Swap implements store.Replacement.
func (r *replacement) Swap(ctx context.Context) error {
	if !r.stands && (r.swap == nil || !r.ended) || r.settled {
		return errors.New("s3: Swap comes after Finish, once")
	}
	path := r.old.path
	dst := object{path: path, bucket: r.o.bucket, key: r.old.src.key, backup: true, match: r.old.src.etag, class: r.old.class, until: r.s.lockEnd()}
	dst.from, dst.sum = r.made.etag, hex.EncodeToString(r.sum[:])
	swapped, err := r.exchange(ctx, dst)
	if err != nil {
		return r.s.fault(ctx, "replace", path, err)
	}
	r.settled = true
	if err := r.s.putSidecar(ctx, r.c, dst, swapped, r.sum); err != nil {
		r.settled = !errors.Is(err, store.ErrChanged) // then nobody needs the temporary object
		return err
	}
	// The exchange is done. A temporary object that may not be deleted does
	// not undo it; Sweep reports it.
	if !r.stands {
		return nil
	}
	if err := r.drop(); err != nil && !isNotDeleted(err) {
		return r.s.fault(ctx, "delete", r.o.path, err)
	}
	return nil
}

// exchange makes the new object in the place of the old one, if that is the same.
func (r *replacement) exchange(ctx context.Context, dst object) (stamp, error) {
	if r.swap != nil {
		now, err := r.s.stat(ctx, r.c, r.old.path, r.o.bucket, r.old.src.key)
		if isMissing(err) || err == nil && now.src.etag != r.old.src.etag {
			err = fmt.Errorf("replace %s: %w", r.old.path, store.ErrChanged)
		}
		if err != nil {
			return stamp{}, err
		}
		return r.s.compose(ctx, r.c, dst, r.swap.head, r.old, r.swap.from)
	}
	made, err := r.s.stat(ctx, r.c, r.o.path, r.o.bucket, r.o.key)
	if isMissing(err) || err == nil && made.src.etag != r.made.etag {
		err = fmt.Errorf("replace %s: %w", r.old.path, store.ErrChanged) // by another host
	}
	if err != nil {
		return stamp{}, err
	}
	return r.s.compose(ctx, r.c, dst, nil, made, 0)
}

// drop deletes the temporary object, also when the context has ended.
func (r *replacement) drop() error {
	ctx, cancel := r.s.cleanup(r.ctx)
	defer cancel()
	r.stands = false
	return r.s.delete(ctx, r.c, r.o.path, r.o.bucket, r.o.key, r.made)
}

// Abort implements store.Replacement.
func (r *replacement) Abort() error {
	err := r.Writer.Abort()
	if r.stands && !r.settled {
		err = errors.Join(err, r.s.fault(context.WithoutCancel(r.ctx), "delete", r.o.path, r.drop()))
	}
	return err
}
