package dumpzstd

// bitWriter gathers bits, the first in the lowest place (RFC 8878, 4.1). Its
// methods don't grow out; who calls has made room for them.
type bitWriter struct {
	out  []byte
	at   int
	acc  uint64
	have uint // bits in acc; at most 7 after a flush
}

// add takes n bits; more than 56 between two flushes are too many.
func (b *bitWriter) add(v uint64, n uint) {
	b.acc |= v << (b.have & 63)
	b.have += n
}

func (b *bitWriter) flush() {
	store64(b.out, b.at, b.acc)
	b.at += int(b.have >> 3)
	b.acc >>= b.have &^ 7 & 63
	b.have &= 7
}

func (b *bitWriter) close() {
	b.add(1, 1)
	b.flush()
	if b.have > 0 {
		b.at++
	}
}

// room appends n bytes of any content to dst without clearing them.
func room(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		dst = append(make([]byte, 0, 2*cap(dst)+n), dst...)
	}
	return dst[:len(dst)+n]
}
