package dumpzstd

import "math/bits"

// sequence is a match and the literals before it: the length of the literals in
// the lowest 18 bits, the length of the match in the next 18, then the offset.
type sequence uint64

func newSequence(lits, match int, offset uint32) sequence {
	return sequence(lits) | sequence(match)<<18 | sequence(offset)<<36
}

func (s sequence) lits() uint32   { return uint32(s) & (1<<18 - 1) }
func (s sequence) match() uint32  { return uint32(s>>18) & (1<<18 - 1) }
func (s sequence) offset() uint32 { return uint32(s >> 36) }

const (
	minMatch     = 5
	maxSequences = blockSize/minMatch + 1
)

// The three alphabets of sequences, with the most bits of their tables.
const (
	litCodes = iota
	offsetCodes
	matchCodes
)

var (
	alphabet    = [3]int{36, 32, 53}
	alphabetLog = [3]uint{9, 8, 9}
)

// sequences are those of one block. The tables of the block before may serve
// again.
type sequences struct {
	list    []sequence
	offsets [3]uint32 // the repeated ones, RFC 8878, 3.1.1.5
	counts  [3][maxSymbols]uint32
	tables  [3]*fseTable // of the block before; nil when there is none
	own     [3][2]fseTable
	codes   []codes
}

type codes struct{ lits, offset, match uint8 }

func (q *sequences) reset() {
	q.offsets = [3]uint32{1, 4, 8}
	q.tables = [3]*fseTable{}
}

// clear makes room for a block.
func (q *sequences) clear() {
	if q.list == nil {
		q.list = make([]sequence, 0, maxSequences)
		q.codes = make([]codes, maxSequences)
	}
	q.list = q.list[:0]
}

// code puts offsets in their coded form, finds all codes and counts them.
func (q *sequences) code() {
	q.counts = [3][maxSymbols]uint32{}
	a, b, c := q.offsets[0], q.offsets[1], q.offsets[2]
	out := q.codes[:len(q.list)]
	for i, s := range q.list {
		lits, offset := s.lits(), s.offset()
		value := offset + 3
		switch {
		case offset == a && lits > 0:
			value = 1
		case offset == b:
			a, b = b, a
			value = 2
			if lits == 0 {
				value = 1
			}
		case offset == c:
			a, b, c = c, a, b
			value = 3
			if lits == 0 {
				value = 2
			}
		default:
			a, b, c = offset, a, b
		}
		q.list[i] = s&(1<<36-1) | sequence(value)<<36
		code := codes{litCode(lits), uint8(bits.Len32(value) - 1), matchCode(s.match())}
		q.counts[litCodes][code.lits]++
		q.counts[offsetCodes][code.offset]++
		q.counts[matchCodes][code.match]++
		out[i] = code
	}
	q.offsets = [3]uint32{a, b, c}
}

// encode appends the sequences section (RFC 8878, 3.1.1.3.2).
func (q *sequences) encode(dst []byte) []byte {
	n := len(q.list)
	switch {
	case n < 128:
		dst = append(dst, byte(n))
	default: // maxSequences is below 0x7f00
		dst = append(dst, byte(n>>8+128), byte(n))
	}
	if n == 0 {
		return dst
	}
	q.code()
	modes := len(dst)
	dst = append(dst, 0)
	for kind := range 3 {
		var mode byte
		dst, mode = q.choose(dst, kind)
		dst[modes] |= mode << (6 - 2*kind)
	}
	return q.write(dst)
}

// Modes of a table.
const (
	predefined = iota
	run
	fitted
	repeated
)

// choose takes the table that costs least for the codes of that kind.
func (q *sequences) choose(dst []byte, kind int) ([]byte, byte) {
	counts := q.counts[kind][:alphabet[kind]]
	used, symbol := 0, 0
	for s, c := range counts {
		if c > 0 {
			used++
			symbol = s
		}
	}
	former := q.tables[kind]
	next := &q.own[kind][0]
	if former == next {
		next = &q.own[kind][1]
	}
	if used == 1 {
		next.single(symbol)
		q.tables[kind] = next
		return append(dst, byte(symbol)), run
	}
	mode, best := byte(predefined), predefinedTables[kind]
	least, ok := best.cost(counts)
	if !ok {
		least = 1 << 62
	}
	if former != nil && former.run < 0 {
		if cost, ok := former.cost(counts); ok && cost < least {
			mode, best, least = repeated, former, cost
		}
	}
	// A new table is worth a look when the entropy leaves room for it.
	next.fit(counts, uint32(len(q.list)), alphabetLog[kind])
	head := len(dst)
	dst = next.describe(dst)
	if cost, _ := next.cost(counts); cost+uint64(len(dst)-head)<<11 < least {
		mode, best = fitted, next
	} else {
		dst = dst[:head]
	}
	q.tables[kind] = best
	return dst, mode
}

// write appends the bits of all sequences, from the last to the first.
func (q *sequences) write(dst []byte) []byte {
	at := len(dst)
	dst = room(dst, 13*len(q.list)+32)
	lits, offsets, matches := q.tables[litCodes], q.tables[offsetCodes], q.tables[matchCodes]
	last := len(q.list) - 1
	c := q.codes[last]
	litState, offsetState, matchState := lits.begin(c.lits), offsets.begin(c.offset), matches.begin(c.match)
	var acc uint64 // as a bitWriter does it, in registers
	var have uint
	for i := last; ; {
		s := q.list[i]
		l, m := uint(litBits[c.lits&63]), uint(matchBits[c.match&63])
		if l+m > 8 { // at most 7 bits are left, 26 of states came, and 21 of the offset follow
			store64(dst, at, acc)
			at += int(have >> 3)
			acc >>= have & 56
			have &= 7
		}
		acc |= (uint64(s) & (1<<(l&63) - 1)) << (have & 63)
		have += l
		acc |= (uint64(s.match()-3) & (1<<(m&63) - 1)) << (have & 63)
		have += m
		if l+m > 8 {
			store64(dst, at, acc)
			at += int(have >> 3)
			acc >>= have & 56
			have &= 7
		}
		acc |= (uint64(s.offset()) & (1<<(c.offset&63) - 1)) << (have & 63)
		have += uint(c.offset)
		store64(dst, at, acc)
		at += int(have >> 3)
		acc >>= have & 56
		have &= 7
		if i--; i < 0 {
			break
		}
		c = q.codes[i]
		var v uint64
		var n uint
		offsetState, v, n = offsets.next(offsetState, c.offset)
		acc |= v << (have & 63)
		have += n
		matchState, v, n = matches.next(matchState, c.match)
		acc |= v << (have & 63)
		have += n
		litState, v, n = lits.next(litState, c.lits)
		acc |= v << (have & 63)
		have += n
	}
	b := bitWriter{out: dst, at: at, acc: acc, have: have}
	matches.end(&b, matchState)
	offsets.end(&b, offsetState)
	lits.end(&b, litState)
	b.close()
	return dst[:b.at]
}

func litCode(n uint32) uint8 {
	if n < 64 {
		return shortLits[n]
	}
	return uint8(bits.Len32(n)) + 18
}

func matchCode(n uint32) uint8 {
	if n < 128+3 {
		return shortMatches[n-3]
	}
	return uint8(bits.Len32(n-3)) + 35
}

// The numbers of extra bits (RFC 8878, 3.1.1.3.2.1.1). Every baseline is a
// multiple of what its bits hold, so that the bits are the lowest of the value.
var (
	litBits   = [64]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBits = [64]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

var shortLits, shortMatches = codesBelow(&litBits, 64), codesBelow(&matchBits, 128)

func codesBelow(extra *[64]uint8, n int) []uint8 {
	var out []uint8
	for code := 0; len(out) < n; code++ {
		for range 1 << extra[code] {
			if len(out) < n {
				out = append(out, uint8(code))
			}
		}
	}
	return out
}

// The predefined distributions (RFC 8878, 3.1.1.3.2.2).
var predefinedTables = [3]*fseTable{
	litCodes: predefinedTable(6, 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
		-1, -1, -1, -1),
	offsetCodes: predefinedTable(5, 1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1),
	matchCodes: predefinedTable(6, 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1),
}

func predefinedTable(log uint, norm ...int16) *fseTable {
	t := &fseTable{log: log, symbols: len(norm)}
	copy(t.norm[:], norm)
	t.build()
	return t
}
