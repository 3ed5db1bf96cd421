package s3store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// replaceSuffix is of what is to take another's place.
const replaceSuffix = ".reencrypt-partial"

// Replace implements store.Store. What is written becomes the object
// NAME.reencrypt-partial, in the place of one that a crash left; Swap has S3
// copy it over the old object, if that is still the same, and deletes it. A Swap
// that was killed in between is finished first.
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
}

// Finish implements store.Replacement.
func (r *replacement) Finish() (store.Result, error) {
	made, err := r.finish()
	if err != nil {
		return store.Result{}, r.fail(err)
	}
	r.made, r.sum, r.stands = made, r.Writer.sum(), true
	return store.Result{Path: r.old.path, Size: r.size, SHA256: hex.EncodeToString(r.sum[:])}, nil
}

// Open implements store.Replacement.
func (r *replacement) Open(ctx context.Context) (store.Object, error) {
	return r.s.Open(ctx, r.o.path)
}

// Swap implements store.Replacement.
func (r *replacement) Swap(ctx context.Context) error {
	if !r.stands || r.settled {
		return errors.New("s3: Swap comes after Finish, once")
	}
	path := r.old.path
	made, err := r.s.stat(ctx, r.c, r.o.path, r.o.bucket, r.o.key)
	if err == nil && made.src.etag != r.made.etag {
		err = store.ErrChanged
	}
	dst := object{path: path, bucket: r.o.bucket, key: r.old.src.key, backup: true, match: r.old.src.etag, class: r.old.class, until: r.s.lockEnd()}
	dst.from, dst.sum = r.made.etag, hex.EncodeToString(r.sum[:])
	var swapped stamp
	if err == nil {
		swapped, err = r.s.compose(ctx, r.c, dst, nil, made)
	}
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
	if err := r.drop(); err != nil && !isNotDeleted(err) {
		return r.s.fault(ctx, "delete", r.o.path, err)
	}
	return nil
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
