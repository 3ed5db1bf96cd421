package dumpzstd

import "math/bits"

// The general finder looks at every place, as text without fields needs it, and
// for the last two offsets again. Where it finds nothing for a while, its steps
// grow.

// general adds the matches in src[start:end] to q and what is before them to l. It
// returns the end of the last.
func (f *finder) general(src []byte, start, end int, l *literals, q *sequences) int {
	g := generalFinder{p: start, anchor: start, first: int(q.offsets[0]), second: int(q.offsets[1])}
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
		f.insert(src, p+2)
		f.insert(src, g.p-2)
	}
	return g.anchor
}

// generalMargin is how many bytes before the end of a block no more matches are
// looked for.
const generalMargin = 12

type generalFinder struct {
	p, anchor     int
	first, second int // the last two offsets
}

// lookAround looks for a match at g.p and the place after it. If there is none,
// n is 0, and g.p is further on.
func (f *finder) lookAround(g *generalFinder, src []byte, start, end int) (p, c, n int) {
	p = g.p
	v := load64(src, p)
	if c = p - g.second; p == g.anchor && p > start && c >= 0 && (load64(src, c)^v)<<24 == 0 {
		return p, c, minMatch + matchLen(src[c+minMatch:], src[p+minMatch:end])
	}
	slot, tag := hash(v)
	e := f.table[slot]
	f.table[slot] = tag | uint32(p)
	if c = p + 1 - g.first; c >= 0 && (load64(src, c)^load64(src, p+1))<<24 == 0 {
		return p + 1, c, minMatch + matchLen(src[c+minMatch:], src[p+1+minMatch:end])
	}
	g.p += 1 + (p-g.anchor)>>6
	c = int(e & posMask)
	if (e^tag)>>posBits != 0 || c >= p {
		return 0, 0, 0
	}
	diff := load64(src, c) ^ v
	if diff<<24 != 0 {
		return 0, 0, 0
	}
	n = bits.TrailingZeros64(diff) >> 3
	if diff == 0 {
		n += matchLen(src[c+8:], src[p+8:end])
	}
	before := matchBefore(src, p, c, p-g.anchor)
	if n += before; n == minMatch && p-c > nearEnough {
		return 0, 0, 0
	}
	return p - before, c - before, n
}

func (f *finder) insert(src []byte, p int) {
	slot, tag := hash(load64(src, p))
	f.table[slot] = tag | uint32(p)
}
