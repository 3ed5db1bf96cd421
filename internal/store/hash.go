package store

import (
	"crypto/sha256"
	"hash"
)

// inlineHash is the size up to which a hand-over costs more than hashing in place.
const inlineHash = 32 << 10

// Hasher computes a SHA-256 next to its caller: each Begin is followed by a Wait, and
// Finish ends its goroutine.
type Hasher struct {
	sha     hash.Hash
	in      chan []byte
	done    chan struct{} // one token per piece
	pending bool
}

// NewHasher returns an empty Hasher.
func NewHasher() *Hasher { return &Hasher{sha: sha256.New()} }

// Begin hashes p, which must not change until Wait.
func (h *Hasher) Begin(p []byte) {
	if len(p) <= inlineHash {
		h.sha.Write(p)
		return
	}
	if h.in == nil {
		h.in, h.done = make(chan []byte), make(chan struct{})
		go h.run()
	}
	h.in <- p
	h.pending = true
}

func (h *Hasher) run() {
	defer close(h.done)
	for p := range h.in {
		h.sha.Write(p)
		h.done <- struct{}{}
	}
}

// Wait returns when the piece given to Begin is no longer in use.
func (h *Hasher) Wait() {
	if h.pending {
		<-h.done
		h.pending = false
	}
}

// Finish ends the goroutine and returns the sum of all pieces. It may be called
// again.
func (h *Hasher) Finish() (sum [sha256.Size]byte) {
	if h.in != nil {
		close(h.in)
		for range h.done { // until it is closed
		}
		h.in, h.pending = nil, false
	}
	h.sha.Sum(sum[:0])
	return sum
}
