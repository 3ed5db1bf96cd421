package store

import (
	"crypto/sha256"
	"io"
)

// hashPiece is what is hashed at a time next to the reader.
const hashPiece = 1 << 20

// HashReader computes the SHA-256 of what is read through it, on another
// goroutine for all but short inputs. It is not safe for concurrent use. Sum
// ends it, and has to be called.
type HashReader struct {
	src           io.Reader
	hash          *Hasher
	filling, busy []byte // what is given to hash stays untouched; the reader's own buffer may not
}

// NewHashReader returns a HashReader of src.
func NewHashReader(src io.Reader) *HashReader {
	return &HashReader{src: src, hash: NewHasher()}
}

// Read reads from the source and returns what it returns.
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

// Sum returns the SHA-256 of what was read. It may be called again; nothing is
// read through r afterwards.
func (r *HashReader) Sum() [sha256.Size]byte {
	r.give()
	return r.hash.Finish()
}
