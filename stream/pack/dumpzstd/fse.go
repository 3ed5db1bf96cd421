package dumpzstd

import "math/bits"

const (
	maxTableLog = 9
	maxSymbols  = 53 // of match lengths, the largest alphabet
)

// fseTable is an FSE table for packing: the decoding table of RFC 8878, 4.1.1,
// turned around. norm holds the counts that it is made from.
type fseTable struct {
	step [64]fseStep // first, as the assembly has it
	// states holds the states of each symbol, one symbol after the other.
	states  [1 << maxTableLog]uint16
	norm    [maxSymbols]int16
	symbols int // of norm that count
	log     uint
	run     int // the symbol of a table that has one; else -1
}

type fseStep struct {
	bits  uint32 // 16.16: the bits to write, less the state that needs one more
	state int32  // where the states of the symbol begin in states
}

// state is where a stream of one table is.
type fseState uint32

// begin returns the state before the first symbol, which is the last of the
// stream, at the smallest cost.
func (t *fseTable) begin(symbol uint8) fseState {
	s := t.step[symbol]
	n := (s.bits + 1<<15) >> 16
	return fseState(t.states[int32((n<<16-s.bits)>>n)+s.state])
}

// next returns the state before symbol, and the n bits v that lead from there to
// the state after it.
func (t *fseTable) next(state fseState, symbol uint8) (before fseState, v uint64, n uint) {
	s := t.step[symbol&63]
	n = uint((uint32(state) + s.bits) >> 16)
	return fseState(t.states[(uint32(state)>>(n&31)+uint32(s.state))%(1<<maxTableLog)]), uint64(state) & (1<<(n&31) - 1), n
}

func (t *fseTable) end(b *bitWriter, state fseState) {
	b.add(uint64(state)&(1<<t.log-1), t.log)
}

func (t *fseTable) single(symbol int) {
	*t = fseTable{run: symbol, symbols: symbol + 1}
	t.norm[symbol] = 1
	t.step[symbol] = fseStep{}
}

func (t *fseTable) build() {
	t.run = -1
	size := 1 << t.log
	var spread [1 << maxTableLog]uint8
	var at [maxSymbols + 1]int
	high := size - 1
	for s, n := range t.norm[:t.symbols] {
		at[s+1] = at[s] + int(max(n, -n))
		if n < 0 { // less than one: the last places, in turn
			spread[high] = uint8(s)
			high--
		}
	}
	pos := 0
	for s, n := range t.norm[:t.symbols] {
		for range max(n, 0) {
			spread[pos] = uint8(s)
			pos = (pos + size>>1 + size>>3 + 3) & (size - 1)
			for pos > high {
				pos = (pos + size>>1 + size>>3 + 3) & (size - 1)
			}
		}
	}
	for s, n := range t.norm[:t.symbols] {
		switch n := int(max(n, -n)); n {
		case 0:
		case 1:
			t.step[s] = fseStep{bits: uint32(t.log<<16 - 1<<t.log), state: int32(at[s] - 1)}
		default:
			most := t.log - uint(bits.Len(uint(n-1))-1)
			t.step[s] = fseStep{bits: uint32(most<<16 - uint(n)<<most), state: int32(at[s] - n)}
		}
	}
	for u, s := range spread[:size] {
		t.states[at[s]] = uint16(size + u)
		at[s]++
	}
}

// fit makes the table for counts, of which total is the sum and at least two are
// not 0.
func (t *fseTable) fit(counts []uint32, total uint32, maxLog uint) {
	t.log = min(maxLog, max(5, uint(bits.Len32(total-1))))
	for t.symbols = len(counts); counts[t.symbols-1] == 0; t.symbols-- {
	}
	size := int32(1) << t.log
	left, largest := size, 0
	clear(t.norm[:])
	for s, c := range counts[:t.symbols] {
		if c == 0 {
			continue
		}
		n := int32((uint64(c)<<(t.log+1) + uint64(total)) / (2 * uint64(total)))
		if n == 0 {
			t.norm[s] = -1
			left--
			continue
		}
		t.norm[s] = int16(n)
		left -= n
		if n > int32(t.norm[largest]) {
			largest = s
		}
	}
	// What rounding gave or took goes to the largest counts.
	if left > 0 {
		t.norm[largest] += int16(left)
	}
	for ; left < 0; left++ {
		for s, n := range t.norm[:t.symbols] {
			if n > t.norm[largest] {
				largest = s
			}
		}
		t.norm[largest]--
	}
	t.build()
}

// cost returns what counts cost in this table, in 1/256 bits; ok is false when it
// lacks one of the symbols.
func (t *fseTable) cost(counts []uint32) (cost uint64, ok bool) {
	for s, c := range counts {
		if c == 0 {
			continue
		}
		if s >= t.symbols || t.norm[s] == 0 {
			return 0, false
		}
		if t.run < 0 {
			cost += uint64(c) * uint64(uint32(t.log)<<8-norm256[max(t.norm[s], -t.norm[s])])
		}
	}
	return cost, true
}

// norm256 holds the logarithms of all counts of a table.
var norm256 = func() (l [1<<maxTableLog + 1]uint32) {
	for i := range l[1:] {
		l[i+1] = log2(uint32(i + 1))
	}
	return l
}()

// describe appends norm as RFC 8878, 4.1.1 has it.
func (t *fseTable) describe(dst []byte) []byte {
	dst = room(dst, 128)
	b := bitWriter{out: dst, at: len(dst) - 128}
	b.add(uint64(t.log-5), 4)
	left, limit, width := 1<<t.log+1, 1<<t.log, t.log+1
	for s := 0; left > 1; {
		n := int(t.norm[s])
		s++
		most := 2*limit - 1 - left
		left -= max(n, -n)
		v := n + 1
		if v >= limit {
			v += most
		}
		if v < most {
			b.add(uint64(v), width-1)
		} else {
			b.add(uint64(v), width)
		}
		b.flush()
		for ; left < limit; limit >>= 1 {
			width--
		}
		if n != 0 {
			continue
		}
		zeros := 0
		for ; t.norm[s] == 0; s++ {
			zeros++
		}
		for ; zeros >= 3; zeros -= 3 {
			b.add(3, 2)
			b.flush()
		}
		b.add(uint64(zeros), 2)
		b.flush()
	}
	if b.have > 0 {
		b.at++
	}
	return dst[:b.at]
}
