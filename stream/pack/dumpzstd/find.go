package dumpzstd

import "math/bits"

const (
	tableBits = 14
	posBits   = 20 // MaxInput
	posMask   = 1<<posBits - 1
	prime     = 0x9e3779b185ebca87

	chunk = 1 << (32 - posBits) // places of a chunk and of the frame fit 32 bits
)

// finder finds matches. Its table holds, by the hash of the five bytes from
// there, the last place of a field in the frame: the place in the lowest 20 bits,
// more of the hash in the others.
type finder struct {
	table  [1 << tableBits]uint32
	starts [blockSize/64 + 2]uint64 // where fields begin, a bit for each byte of the block
	found  [chunk + 1]uint32        // places of a chunk, whose hash was there before
	any    bool                     // look everywhere
}

func (f *finder) reset() {
	f.table = [1 << tableBits]uint32{}
}

// hash returns the place of the five lowest bytes of v in the table, and a tag.
func hash(v uint64) (slot, tag uint32) {
	h := uint32(v << 24 * prime >> (64 - tableBits - 32 + posBits))
	return h >> (32 - posBits), h << posBits
}

// nearEnough is the largest offset of a match of five bytes that is shorter to
// write than the bytes, by measurement.
const nearEnough = 16 << 10

// find looks for matches in src[start:end], fills q and returns the literals, which
// are in l.
func (f *finder) find(src []byte, start, end int, l *literals, q *sequences) []byte {
	l.clear()
	q.clear()
	look := f.match
	if f.any {
		look = f.general
	}
	anchor := look(src, start, end, l, q)
	l.n += copy(l.buf[l.n:], src[anchor:end])
	return l.buf[:l.n]
}

// firstOfField is the first byte that is a digit or a letter, or one of the
// signs among those.
const firstOfField = 0x30

const (
	each = 0x0101010101010101
	high = 0x80 * each
)

// marked is what mark knows of what came before.
type marked struct {
	low, long uint64 // bits of the former word
	empty     uint64 // 1 if that had no beginning
}

// mark finds where fields begin in src[start:end]: at a byte of 0x30 or more, or
// one that is not ASCII, after a space, tab, line feed, or another byte below
// 0x30, as most that separates fields is; and at the fourth of several such. The
// second of two words of 64 bytes without a beginning has one at its first, so that
// zeros are found.
func (f *finder) mark(src []byte, start, end int) {
	words := f.starts[:(end-start+63)/64]
	former := marked{low: 1 << 63, empty: 1}
	for i := markFast(words, src[start:], &former); i < len(words); i++ {
		at := start + 64*i
		var word uint64
		if at+64 <= len(src) {
			b := src[at : at+64]
			for k := 0; k < 64; k += 8 {
				v := load64(b, k)
				low := ^((v&^high + (0x80-firstOfField)*each) | v) & high >> 7
				word |= low * 0x0102040810204080 >> 56 << k
			}
		} else {
			for k, c := range src[at:] {
				if c < firstOfField {
					word |= 1 << k
				}
			}
		}
		after := word<<1 | former.low>>63
		long := word & after & (word<<2 | former.low>>62) & (word<<3 | former.low>>61)
		words[i] = after&^word | long&^(long<<1|former.long>>63)
		if words[i] == 0 {
			words[i] = former.empty
			former.empty = 1
		} else {
			former.empty = 0
		}
		former.low, former.long = word, long
	}
	if start == 0 {
		f.starts[0] &^= 1 // an empty place of the table is place 0
	}
}

// match adds the matches to q and what is before them to l. It returns the end
// of the last. All places go through the table, those in matches too, a chunk at a
// time: so the processor need not wait for the end of one match to look up the next.
func (f *finder) match(src []byte, start, end int, l *literals, q *sequences) (anchor int) {
	f.mark(src, start, end)
	anchor = start
	for at := start; at < end; at += chunk {
		fast, n := f.probe(src, start, at, end)
		anchor = f.takeFast(fast, src, at, anchor, end, l, q)
		for _, e := range f.found[fast:n] {
			p, c := at+int(e>>posBits), int(e&posMask)
			if p < anchor {
				continue
			}
			diff := load64(src, c) ^ load64(src, p)
			if diff<<24 != 0 {
				continue
			}
			n := bits.TrailingZeros64(diff) >> 3
			if diff == 0 {
				n += matchLen(src[c+8:], src[p+8:end])
			}
			before := matchBefore(src, p, c, p-anchor)
			p -= before
			c -= before
			n += before
			if n == minMatch && p-c > nearEnough {
				continue
			}
			l.take(src, anchor, p)
			q.list = append(q.list, newSequence(p-anchor, n, uint32(p-c)))
			anchor = p + n
		}
	}
	return anchor
}

// probe puts the places of the chunk from src[at] into the table, and those whose
// tags are there already into found: the place in the chunk, and that of the other.
// Of n it found, it found the first with assembly.
func (f *finder) probe(src []byte, start, at, end int) (fast, n int) {
	from, fast := f.probeFast(src, start, at, end)
	n = fast
	for to := min(at+chunk, end); from < to; from += 64 {
		for word := f.starts[(from-start)>>6]; word != 0; word &= word - 1 {
			p := from + bits.TrailingZeros64(word)
			if p > end-8 {
				break
			}
			slot, tag := hash(load64(src, p))
			e := f.table[slot] ^ tag
			f.table[slot] = tag | uint32(p)
			f.found[n] = uint32(p-at)<<posBits | e&posMask
			if e>>posBits == 0 {
				n++
			}
		}
	}
	return fast, n
}

// matchLen returns how many bytes at the beginning of b are also in a, which is
// not shorter.
func matchLen(a, b []byte) (n int) {
	for len(b)-n >= 8 {
		if diff := load64(a, n) ^ load64(b, n); diff != 0 {
			return n + bits.TrailingZeros64(diff)>>3
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// matchBefore returns how many bytes, at most most, are the same before p and
// before c, which is less than p.
func matchBefore(src []byte, p, c, most int) (n int) {
	for c-n >= 8 {
		same := bits.LeadingZeros64(load64(src, p-n-8)^load64(src, c-n-8)) >> 3
		n += same
		if same < 8 || n >= most {
			return min(n, most)
		}
	}
	for n < most && n < c && src[p-n-1] == src[c-n-1] {
		n++
	}
	return n
}

// take copies the literals src[from:to].
func (l *literals) take(src []byte, from, to int) {
	n := to - from
	if n <= 16 && from+16 <= len(src) {
		store64(l.buf, l.n, load64(src, from))
		store64(l.buf, l.n+8, load64(src, from+8))
	} else {
		copy(l.buf[l.n:], src[from:to])
	}
	l.n += n
}
