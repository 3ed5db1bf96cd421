package dumpzstd

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/fse"
)

const (
	maxCodeLen  = 11 // RFC 8878, 4.2.1
	minLiterals = 64 // fewer are not worth a table
	oneStream   = 1023
	missing     = 1 << 16 // apart from code and length
	streamRoom  = (blockSize/4+1)*maxCodeLen/8 + 16
)

// literals are those of one block. The Huffman table of the block before serves
// again as long as it has every symbol and costs nearly what it did.
type literals struct {
	buf     []byte // blockSize, and room for copies that run over
	n       int
	codes   [256]uint64 // the code in the highest bits | length; missing
	valid   bool        // the decoder has this table
	cost    int         // bytes for 4 KiB of literals when it was made
	lengths [256]uint8
	weights [256]byte
	scratch []byte // of four streams
	fse     fse.Scratch
}

func (l *literals) reset() { l.valid = false }

func (l *literals) clear() {
	if l.buf == nil {
		l.buf = make([]byte, blockSize+32)
	}
	l.n = 0
}

// encode appends the literals section (RFC 8878, 3.1.1.3.1).
func (l *literals) encode(dst, lits []byte) []byte {
	if len(lits) < minLiterals {
		return appendRaw(dst, lits)
	}
	if l.valid {
		if size, ok := l.pack(lits); ok && l.good(size, len(lits)) {
			return l.append(dst, nil, len(lits), size)
		}
	}
	var counts [256]uint32
	count(&counts, lits)
	l.valid = false
	if !l.build(&counts) {
		return appendRaw(dst, lits)
	}
	var description [129]byte
	tree := l.describe(description[:0])
	size, _ := l.pack(lits)
	if tree == nil || len(tree)+total(size)+len(lits)/64+5 > len(lits) {
		return appendRaw(dst, lits)
	}
	l.valid, l.cost = true, total(size)<<12/len(lits)
	return l.append(dst, tree, len(lits), size)
}

// good says whether the table of a former block serves these literals well.
func (l *literals) good(size [4]int, n int) bool {
	cost := total(size) << 12 / n
	return cost <= l.cost+l.cost/100 && total(size) < n
}

func total(size [4]int) int { return size[0] + size[1] + size[2] + size[3] }

func appendRaw(dst, lits []byte) []byte {
	switch n := len(lits); {
	case n < 32:
		dst = append(dst, byte(n<<3))
	case n < 4096:
		dst = append(dst, byte(n<<4|1<<2), byte(n>>4))
	default:
		dst = append(dst, byte(n<<4|3<<2), byte(n>>4), byte(n>>12))
	}
	return append(dst, lits...)
}

func (l *literals) append(dst, tree []byte, count int, size [4]int) []byte {
	const packed, treeless = 2, 3
	kind := uint64(packed)
	if tree == nil {
		kind = treeless
	}
	n, body, streams := uint64(count), uint64(len(tree)+total(size)), 4
	if n > oneStream {
		body += 6
	} else {
		streams = 1
	}
	switch {
	case n <= oneStream && body <= oneStream:
		h := kind | n<<4 | body<<14
		dst = append(dst, byte(h), byte(h>>8), byte(h>>16))
	case n < 1<<14 && body < 1<<14:
		h := kind | 2<<2 | n<<4 | body<<18
		dst = binary.LittleEndian.AppendUint32(dst, uint32(h))
	default:
		h := kind | 3<<2 | n<<4 | body<<22
		dst = append(binary.LittleEndian.AppendUint32(dst, uint32(h)), byte(h>>32))
	}
	dst = append(dst, tree...)
	if streams == 4 {
		for _, s := range size[:3] {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(s))
		}
	}
	for i := range streams {
		dst = append(dst, l.scratch[i*streamRoom:][:size[i]]...)
	}
	return dst
}

// pack packs lits into scratch, in one stream or four, and returns their sizes;
// ok is false when the table lacks a symbol.
func (l *literals) pack(lits []byte) (size [4]int, ok bool) {
	if l.scratch == nil {
		l.scratch = make([]byte, 4*streamRoom)
	}
	var seen uint64
	if len(lits) <= oneStream {
		size[0], _, seen = pack2(l.scratch, nil, lits, nil, &l.codes)
		return size, seen&missing == 0
	}
	part := (len(lits) + 3) / 4
	for i := 0; i < 4; i += 2 {
		first := lits[i*part : (i+1)*part]
		second := lits[(i+1)*part : min((i+2)*part, len(lits))]
		a, b, s := pack2(l.scratch[i*streamRoom:], l.scratch[(i+1)*streamRoom:], first, second, &l.codes)
		size[i], size[i+1] = a, b
		seen |= s
	}
	return size, seen&missing == 0
}

// pack2 packs two inputs at once, from their ends, so that the steps of one fill
// the waits of the other. It returns the sizes, and all table entries together.
func pack2(outA, outB, a, b []byte, codes *[256]uint64) (sizeA, sizeB int, seen uint64) {
	// The bits of accA and accB are their highest, so that a code comes to its
	// place by one shift. What is under a code, its length, is shifted out.
	done, accA, accB, sumA, sumB, atA, atB, seen := pack2Fast(outA, outB, a, b, codes)
	a, b = a[:len(a)-done], b[:len(b)-done]
	for len(a) >= 5 && len(b) >= 5 {
		x, y := a[len(a)-5:], b[len(b)-5:]
		a, b = a[:len(a)-5], b[:len(b)-5]
		p, q := codes[x[4]], codes[y[4]]
		seen |= p | q
		accA, accB = accA>>(p&63)|p, accB>>(q&63)|q
		sumA, sumB = sumA+p, sumB+q
		p, q = codes[x[3]], codes[y[3]]
		seen |= p | q
		accA, accB = accA>>(p&63)|p, accB>>(q&63)|q
		sumA, sumB = sumA+p, sumB+q
		p, q = codes[x[2]], codes[y[2]]
		seen |= p | q
		accA, accB = accA>>(p&63)|p, accB>>(q&63)|q
		sumA, sumB = sumA+p, sumB+q
		p, q = codes[x[1]], codes[y[1]]
		seen |= p | q
		accA, accB = accA>>(p&63)|p, accB>>(q&63)|q
		sumA, sumB = sumA+p, sumB+q
		p, q = codes[x[0]], codes[y[0]]
		seen |= p | q
		accA, accB = accA>>(p&63)|p&^15, accB>>(q&63)|q&^15
		sumA, sumB = (sumA+p)&0xff, (sumB+q)&0xff
		store64(outA, atA, accA>>(-sumA&63))
		atA += int(sumA >> 3)
		sumA &= 7
		store64(outB, atB, accB>>(-sumB&63))
		atB += int(sumB >> 3)
		sumB &= 7
	}
	wa := bitWriter{out: outA, at: atA, acc: accA >> (64 - sumA), have: uint(sumA)}
	wb := bitWriter{out: outB, at: atB, acc: accB >> (64 - sumB), have: uint(sumB)}
	seen |= wa.symbols(a, codes)
	if outB != nil {
		seen |= wb.symbols(b, codes)
	}
	return wa.at, wb.at, seen
}

func (b *bitWriter) symbols(in []byte, codes *[256]uint64) (seen uint64) {
	for _, c := range slices.Backward(in) {
		e := codes[c]
		seen |= e
		n := uint(e & 15)
		b.add(e>>(64-n), n)
		b.flush()
	}
	b.close()
	return seen
}

func count(counts *[256]uint32, in []byte) {
	var other [3][256]uint32 // one after the other, equal bytes wait for each other
	for ; len(in) >= 4; in = in[4:] {
		counts[in[0]]++
		other[0][in[1]]++
		other[1][in[2]]++
		other[2][in[3]]++
	}
	for _, c := range in {
		counts[c]++
	}
	for s := range counts {
		counts[s] += other[0][s] + other[1][s] + other[2][s]
	}
}

// build makes the codes of the lowest cost with at most maxCodeLen bits. It
// returns false for less than two symbols.
func (l *literals) build(counts *[256]uint32) bool {
	var symbols []uint64 // count << 8 | symbol, the rarest first
	var room [256]uint64
	symbols = room[:0]
	for s, c := range counts {
		if c > 0 {
			symbols = append(symbols, uint64(c)<<8|uint64(s))
		}
	}
	if len(symbols) < 2 {
		return false
	}
	slices.Sort(symbols)
	clear(l.lengths[:])
	packageMerge(symbols, &l.lengths)
	longest := slices.Max(l.lengths[:])
	var of [maxCodeLen + 2]uint32 // how many codes of each length
	for _, n := range l.lengths {
		if n > 0 {
			of[n]++
		}
	}
	var next [maxCodeLen + 2]uint32
	for n := longest; n > 1; n-- {
		next[n-1] = (next[n] + of[n]) >> 1
	}
	for s, n := range l.lengths {
		l.codes[s] = missing
		if n > 0 {
			l.codes[s] = uint64(next[n])<<(64-n) | uint64(n)
			next[n]++
		}
	}
	return true
}

// packageMerge finds the best lengths of at most maxCodeLen bits (Larmore and
// Hirschberg 1990). symbols are sorted.
func packageMerge(symbols []uint64, lengths *[256]uint8) {
	var leaf [maxCodeLen][512]bool
	var weights, former [512]uint64
	packages := former[:0]
	for level := range leaf {
		n, s, p := 0, 0, 0
		for s < len(symbols) || p+1 < len(packages) {
			if p+1 >= len(packages) || s < len(symbols) && symbols[s]>>8 <= packages[p]+packages[p+1] {
				weights[n] = symbols[s] >> 8
				leaf[level][n] = true
				s++
			} else {
				weights[n] = packages[p] + packages[p+1]
				p += 2
			}
			n++
		}
		former = weights
		packages = former[:n]
	}
	take := 2*len(symbols) - 2
	for level := maxCodeLen - 1; level >= 0; level-- {
		leaves := 0
		for _, is := range leaf[level][:take] {
			if is {
				lengths[byte(symbols[leaves])]++
				leaves++
			}
		}
		take = 2 * (take - leaves)
	}
}

// describe appends the weights (RFC 8878, 4.2.1), or returns nil when they have
// no description that is allowed.
func (l *literals) describe(dst []byte) []byte {
	longest := slices.Max(l.lengths[:])
	weights, last := &l.weights, 0
	clear(weights[:])
	for s, n := range l.lengths {
		if n > 0 {
			weights[s] = longest + 1 - n
			last = s
		}
	}
	weights[last] = 0 // it follows from the others
	w := weights[:last]
	packed, err := fse.Compress(w, l.scratchFSE())
	if err == nil && len(packed) < 128 && (len(packed) < (len(w)+1)/2 || len(w) > 128) {
		return append(append(dst, byte(len(packed))), packed...)
	}
	if len(w) > 128 {
		return nil
	}
	dst = append(dst, byte(127+len(w)))
	for i := 0; i < len(w); i += 2 {
		dst = append(dst, w[i]<<4|weights[i+1])
	}
	return dst
}

func (l *literals) scratchFSE() *fse.Scratch {
	l.fse.TableLog = 6 // the most that weights may have
	l.fse.MaxSymbolValue = maxCodeLen + 1
	return &l.fse
}
