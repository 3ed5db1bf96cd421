package store

import (
	"crypto/sha256"
	"io"
)

const hashPiece = 1 << 20

// HashReader computes the SHA-256 of all that is read through it, on another goroutine
// unless the input is short. It is not safe for concurrent use. Sum ends it and must be
// called.
type HashReader struct {
	src           io.Reader
	hash          *Hasher
	filling, busy []byte // the hash may use a buffer only while nobody changes it, so the reader's own will not do
}

// NewHashReader returns a HashReader of src.
func NewHashReader(src io.Reader) *HashReader {
	return &HashReader{src: src, hash: NewHasher()}
}

func (r *HashReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		k := min(len(rest), hashPiece-len(r.filling))
		r.filling = append(r.filling, rest[:k]...)
		rest = rest[k:]
		if len(r.filling) == hashPiece {
			r.give()
		}
	}
	return n, err
}

func (r *HashReader) give() {
	r.hash.Wait()
	r.hash.Begin(r.filling)
	r.filling, r.busy = r.busy[:0], r.filling
}

// Sum returns the SHA-256 of all that was read. It may be called again, but nothing may be
// read afterwards.
func (r *HashReader) Sum() [sha256.Size]byte {
	r.give()
	return r.hash.Finish()
}
