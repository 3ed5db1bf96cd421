package store

import (
	"crypto/sha256"
	"hash"
)

// inlineHash is the size up to which handing a piece to the other goroutine
// costs more than hashing it on the spot.
const inlineHash = 32 << 10

// hasher computes a SHA-256 beside its caller. A begin is followed by a wait
// before anything else, and a finish ends its goroutine, which starts with the
// first piece that is worth it.
type hasher struct {
	sha     hash.Hash
	in      chan []byte
	done    chan struct{} // one token per piece
	pending bool
}

func (h *hasher) begin(p []byte) {
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

func (h *hasher) run() {
	defer close(h.done)
	for p := range h.in {
		h.sha.Write(p)
		h.done <- struct{}{}
	}
}

// wait returns when the piece given to begin is no longer in use.
func (h *hasher) wait() {
	if h.pending {
		<-h.done
		h.pending = false
	}
}

// finish ends the goroutine and returns the sum of all pieces. It may be called
// again.
func (h *hasher) finish() (sum [sha256.Size]byte) {
	if h.in != nil {
		close(h.in)
		<-h.done
		h.in = nil
	}
	h.sha.Sum(sum[:0])
	return sum
}
