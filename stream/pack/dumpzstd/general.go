package dumpzstd

import "math/bits"

// The general finder looks at every place, as text without fields needs it. It takes
// four at once, so that the processor need not guess at each of them what comes, and
// there it looks for the last two offsets too. Where it finds nothing for a while, it
// leaves places out.

const (
	group      = 4
	minGeneral = 6 // the shortest match that is found by its hash
	minRepeat  = 5 // by an offset

	// generalMargin is how many bytes before the end of a block no more matches are
	// looked for.
	generalMargin = group + 8
)

// general adds the matches in src[start:end] to q and what is before them to l. It
// returns the end of the last.
func (f *finder) general(src []byte, start, end int, l *literals, q *sequences) int {
	// An empty place of the table is place 0, which so is before all others.
	g := generalFinder{p: max(start, 1), anchor: start, first: int(q.offsets[0]), second: int(q.offsets[1])}
	f.generalFast(&g, src, start, end, l, q)
	for limit := end - generalMargin; g.p <= limit; {
		p, c, n := f.lookAround(&g, src, start, end)
		if n == 0 {
			continue
		}
		l.take(src, g.anchor, p)
		q.list = append(q.list, newSequence(p-g.anchor, n, uint32(p-c)))
		if p-c != g.first {
			g.first, g.second = p-c, g.first
		}
		g.anchor = p + n
		g.p = g.anchor
		if g.p > limit {
			break
		}
		f.swap(src, g.p-2)
	}
	return g.anchor
}

type generalFinder struct {
	p, anchor     int
	first, second int // the last two offsets
}

// lookAround looks for a match at g.p and the places after it. If there is none,
// n is 0, and g.p is further on.
func (f *finder) lookAround(g *generalFinder, src []byte, start, end int) (p, c, n int) {
	p = g.p
	if c = p - g.second; p == g.anchor && p > start && c >= 0 && repeats(src, c, p) {
		return p, c, minRepeat + matchLen(src[c+minRepeat:], src[p+minRepeat:end])
	}
	hit := group
	for i := range group {
		if e := f.swap(src, p+i); hit == group && e>>posBits == 0 {
			hit, c = i, int(e)^(p+i)
		}
	}
	for i := 0; i <= hit && p >= g.first; i++ {
		if c, p := p+i-g.first, p+i; repeats(src, c, p) {
			return p, c, minRepeat + matchLen(src[c+minRepeat:], src[p+minRepeat:end])
		}
	}
	if hit == group {
		g.p += group + (p-g.anchor)>>5
		return 0, 0, 0
	}
	g.p += group
	p += hit
	diff := load64(src, c) ^ load64(src, p)
	if diff<<(64-8*minGeneral) != 0 {
		return 0, 0, 0
	}
	n = bits.TrailingZeros64(diff) >> 3
	if diff == 0 {
		n += matchLen(src[c+8:], src[p+8:end])
	}
	before := matchBefore(src, p, c, p-g.anchor)
	return p - before, c - before, n + before
}

func repeats(src []byte, c, p int) bool {
	return (load64(src, c)^load64(src, p))<<(64-8*minRepeat) == 0
}

// swap puts p into the table. It returns what was there, xor p and its tag.
func (f *finder) swap(src []byte, p int) uint32 {
	h := load64(src, p) << (64 - 8*minGeneral) * prime
	e := uint32(h>>(64-tableBits-32+posBits))<<posBits | uint32(p)
	slot := h >> (64 - tableBits)
	was := f.table[slot] ^ e
	f.table[slot] = e
	return was
}
