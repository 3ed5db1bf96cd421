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

// codes are those of a sequence: of the literals in the lowest byte, of the offset,
// of the match, and then how many extra bits they have together.
type codes uint32

func (c codes) lits() uint8   { return uint8(c) & 63 }
func (c codes) offset() uint8 { return uint8(c>>8) & 63 }
func (c codes) match() uint8  { return uint8(c>>16) & 63 }
func (c codes) bits() uint    { return uint(c >> 24) }

func (q *sequences) reset() {
	q.offsets = [3]uint32{1, 4, 8}
	q.tables = [3]*fseTable{}
}

func (q *sequences) clear() {
	if q.list == nil {
		q.list = make([]sequence, 0, maxSequences)
		q.codes = make([]codes, maxSequences)
	}
	q.list = q.list[:0]
}

// code finds and counts all codes, and leaves in list the extra bits of each
// sequence, those of the literals the lowest, then those of the match.
func (q *sequences) code() {
	q.counts = [3][maxSymbols]uint32{}
	out := q.codes[:len(q.list)]
	if q.codeFast(out) {
		return
	}
	a, b, c := q.offsets[0], q.offsets[1], q.offsets[2]
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
		l, lBits := litCode(lits)
		m, mBits := matchCode(s.match())
		o := uint(bits.Len32(value) - 1)
		q.counts[litCodes][l]++
		q.counts[offsetCodes][o]++
		q.counts[matchCodes][m]++
		out[i] = codes(l | o<<8 | m<<16 | (lBits+mBits+o)<<24)
		extra := uint64(value)&(1<<o-1)<<mBits | uint64(s.match()-3)&(1<<mBits-1)
		q.list[i] = sequence(extra<<lBits | uint64(lits)&(1<<lBits-1))
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
	last := len(q.list) - 1
	w := sequenceWriter{lits: q.tables[litCodes], offsets: q.tables[offsetCodes], matches: q.tables[matchCodes]}
	w.begin(q.codes[last])
	w.bits = bitWriter{out: dst, at: at}
	w.bits.add(uint64(q.list[last]), q.codes[last].bits())
	w.bits.flush()
	w.write(q.list[:last], q.codes[:last])
	w.end()
	return dst[:w.bits.at]
}

type sequenceWriter struct {
	bits                              bitWriter
	lits, offsets, matches            *fseTable
	litState, offsetState, matchState fseState
}

func (w *sequenceWriter) begin(c codes) {
	w.litState, w.offsetState, w.matchState = w.lits.begin(c.lits()), w.offsets.begin(c.offset()), w.matches.begin(c.match())
}

func (w *sequenceWriter) write(list []sequence, of []codes) {
	if w.fast(list, of) {
		return
	}
	b := w.bits // in registers
	litState, offsetState, matchState := w.litState, w.offsetState, w.matchState
	for i := len(list) - 1; i >= 0; i-- {
		c := of[i]
		var v uint64
		var n uint
		offsetState, v, n = w.offsets.next(offsetState, c.offset())
		b.add(v, n)
		matchState, v, n = w.matches.next(matchState, c.match())
		b.add(v, n)
		litState, v, n = w.lits.next(litState, c.lits())
		b.add(v, n)
		if c.bits() > 30 { // at most 7 bits were left, and 26 of states came
			b.flush()
		}
		b.add(uint64(list[i]), c.bits())
		b.flush()
	}
	w.bits, w.litState, w.offsetState, w.matchState = b, litState, offsetState, matchState
}

func (w *sequenceWriter) end() {
	w.matches.end(&w.bits, w.matchState)
	w.offsets.end(&w.bits, w.offsetState)
	w.lits.end(&w.bits, w.litState)
	w.bits.close()
}

// litCode and matchCode return the code of a length, and how many extra bits it
// has (RFC 8878, 3.1.1.3.2.1.1). Every baseline is a multiple of what its bits
// hold, so that the bits are the lowest of the value.
func litCode(n uint32) (code, extra uint) {
	if n < 64 {
		s := uint(short[n])
		return s & 0xff, s >> 8
	}
	extra = uint(bits.Len32(n)) - 1
	return extra + 19, extra
}

func matchCode(n uint32) (code, extra uint) {
	if n -= 3; n < 128 {
		s := uint(short[64+n])
		return s & 0xff, s >> 8
	}
	extra = uint(bits.Len32(n)) - 1
	return extra + 36, extra
}

// short holds code | extra bits << 8 of literals shorter than 64, and of matches
// shorter than 128+3.
var short = func() (s [64 + 128]uint16) {
	fill := func(s []uint16, first uint16, extra ...int) {
		for n := range first {
			s[n] = n
		}
		at := int(first)
		for i, e := range extra {
			for range 1 << e {
				s[at] = first + uint16(i) | uint16(e)<<8
				at++
			}
		}
	}
	fill(s[:64], 16, 1, 1, 1, 1, 2, 2, 3, 3, 4)
	fill(s[64:], 32, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5)
	return s
}()

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
