// Command asm writes fast_amd64.s and its declarations:
//
//	go run . -out ../fast_amd64.s -stubs ../declare_amd64.go -pkg dumpzstd
//
// Each routine makes what the Go code of the package makes, byte for byte, and says
// which memory it may touch. The processor must have AVX2, BMI1 and BMI2.
package main

import (
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!purego,!noasm")
	mark()
	match()
	pack2()
	code()
	write()
	Generate()
}

func param(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }

func result(value Register, name string) { Store(value, ReturnIndex(returns[name])) }

// returns are the places of results, which the routines have in this order.
var returns = map[string]int{}

// function begins a routine without a frame, whose results have these names.
func function(name, signature, doc string, results ...string) {
	TEXT(name, NOSPLIT, signature)
	Doc(strings.Split(doc, "\n")...)
	Pragma("noescape")
	clear(returns)
	for i, r := range results {
		returns[r] = i
	}
}

func scaled(base, index Register, scale uint8, disp int) Mem {
	return Mem{Base: base, Index: index, Scale: scale, Disp: disp}
}

func at(base Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

// mark finds the bytes below 0x30, 64 at a time, and from them where fields begin.
func mark() {
	function("markAVX2", "func(starts *uint64, src *byte, words int) (carry uint64)",
		"markAVX2 reads src[:64*words] and writes starts[:words]. words is not 0.", "carry")
	starts, src, words := param("starts"), param("src"), param("words")
	most := YMM()
	bound := GP32()
	MOVL(U32(0x2f2f2f2f), bound)
	VMOVD(bound, most.AsX())
	VPBROADCASTD(most.AsX(), most)
	carry, one := GP64(), GP64()
	MOVQ(U64(1), carry)
	MOVQ(U64(1), one)

	Label("mark")
	var half [2]GPVirtual
	for i := range half {
		v, low := YMM(), YMM()
		half[i] = GP64()
		VMOVDQU(at(src, 32*i), v)
		VPMINUB(most, v, low)
		VPCMPEQB(low, v, low)
		VPMOVMSKB(low, half[i].As32())
	}
	word := half[1]
	SHLQ(U8(32), word)
	ORQ(half[0], word)
	long, t := GP64(), GP64()
	LEAQ(scaled(word, word, 1, 0), t)
	ORQ(t, carry) // word<<1 | carry
	MOVQ(word, long)
	ANDQ(t, long)
	MOVQ(long, t)
	SHLQ(U8(2), t)
	ANDQ(t, long) // four in a row
	LEAQ(scaled(long, long, 1, 0), t)
	ANDNQ(long, t, long)
	ANDNQ(carry, word, carry)
	ORQ(long, carry)
	CMOVQEQ(one, carry)
	MOVQ(carry, at(starts, 0))
	MOVQ(word, carry)
	SHRQ(U8(63), carry)
	ADDQ(U8(64), src)
	ADDQ(U8(8), starts)
	DECQ(words)
	JNE(LabelRef("mark"))
	VZEROUPPER()
	result(carry, "carry")
	RET()
}

const (
	tableBits = 14
	posBits   = 20
	prime     = 0x9e3779b185ebca87

	minMatch   = 5
	nearEnough = 16 << 10
)

// match is the loop of finder.match.
func match() {
	function("matchAVX2", "func(src, lits *byte, seqs *uint64, table *uint32, starts *uint64, start, limit, end int) (from, anchor, nLits, nSeqs int)",
		"matchAVX2 looks for matches at the places in starts, of which bit 0 is src[start], up to src[limit].\n"+
			"It reads src[:end] and starts up to the bit of end and 8 bytes more, and writes table, one of seqs for\n"+
			"every 5 bytes, and lits, there at most 32 bytes more than it counts. limit+32 <= end, and start is\n"+
			"divisible by 64.",
		"from", "anchor", "nLits", "nSeqs")
	src, lits, seqs, table, starts := param("src"), param("lits"), param("seqs"), param("table"), param("starts")
	from, p, c, n, t, u := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	limit, err := Param("limit").Resolve()
	must(err)
	anchor := param("start")
	MOVQ(anchor, from)
	MOVQ(anchor, t)
	SHRQ(U8(3), t)
	SUBQ(t, starts) // so that places of the frame count
	key := GP64()
	hashKey := uint64(prime)
	MOVQ(U64(hashKey<<24), key)

	Label("next")
	MOVQ(from, t)
	SHRQ(U8(3), t)
	MOVQ(from, u)
	ANDQ(U8(7), u)
	SHRXQ(u, scaled(starts, t, 1, 0), t)
	TZCNTQ(t, p)
	JCS(LabelRef("empty"))
	ADDQ(from, p)
	CMPQ(p, limit.Addr)
	JGT(LabelRef("done"))
	MOVQ(scaled(src, p, 1, 0), t)
	IMULQ(key, t)
	SHRQ(U8(64-tableBits-32+posBits), t)
	MOVQ(t, u)
	SHRQ(U8(32-posBits), t)
	SHLL(U8(posBits), u.As32())
	ORL(p.As32(), u.As32())
	MOVL(scaled(table, t, 4, 0), c.As32())
	MOVL(u.As32(), scaled(table, t, 4, 0))
	LEAQ(at(p, 1), from)
	XORL(c.As32(), u.As32())
	SHRL(U8(posBits), u.As32())
	JNE(LabelRef("next"))
	ANDL(U32(1<<posBits-1), c.As32())
	CMPQ(c, p)
	JCC(LabelRef("next"))
	v := YMM()
	VMOVDQU(scaled(src, p, 1, 0), v)
	VPCMPEQB(scaled(src, c, 1, 0), v, v)
	VPMOVMSKB(v, n.As32())
	NOTL(n.As32())
	TZCNTL(n.As32(), n.As32())
	JCS(LabelRef("long"))
	CMPQ(n, U8(minMatch))
	JCS(LabelRef("next"))

	Label("before")
	CMPQ(c, U8(8))
	JCS(LabelRef("slowBefore"))
	MOVQ(scaled(src, p, 1, -8), t)
	XORQ(scaled(src, c, 1, -8), t)
	BSWAPQ(t)
	TZCNTQ(t, t)
	SHRQ(U8(3), t)
	MOVQ(p, u)
	SUBQ(anchor, u)
	CMPQ(t, u)
	CMOVQHI(u, t)
	SUBQ(t, p)
	SUBQ(t, c)
	ADDQ(t, n)
	CMPQ(t, U8(8))
	JEQ(LabelRef("before"))

	Label("found")
	CMPQ(n, U8(minMatch))
	JEQ(LabelRef("shortest"))

	Label("take")
	MOVQ(p, t)
	SUBQ(anchor, t)
	VMOVDQU(scaled(src, anchor, 1, 0), v)
	VMOVDQU(v, at(lits, 0))
	CMPQ(t, U8(32))
	JHI(LabelRef("longTake"))

	Label("taken")
	ADDQ(t, lits)
	LEAQ(scaled(p, n, 1, 0), anchor)
	MOVQ(anchor, from)
	SUBQ(c, p)
	SHLQ(U8(36), p)
	SHLQ(U8(18), n)
	ORQ(n, t)
	ORQ(p, t)
	MOVQ(t, at(seqs, 0))
	ADDQ(U8(8), seqs)
	JMP(LabelRef("next"))

	// No place in the next 57 bytes.
	Label("empty")
	ADDQ(U8(57), from)
	CMPQ(from, limit.Addr)
	JLE(LabelRef("next"))
	JMP(LabelRef("done"))

	Label("shortest")
	MOVQ(p, t)
	SUBQ(c, t)
	CMPQ(t, U32(nearEnough))
	JHI(LabelRef("next"))
	JMP(LabelRef("take"))

	// The first 32 bytes are the same.
	Label("long")
	end := Load(Param("end"), u)
	SUBQ(p, end) // how long the match may be

	Label("longer")
	LEAQ(at(n, 32), t)
	CMPQ(t, end)
	JHI(LabelRef("bytes"))
	LEAQ(scaled(src, n, 1, 0), t)
	VMOVDQU(scaled(t, p, 1, 0), v)
	VPCMPEQB(scaled(t, c, 1, 0), v, v)
	VPMOVMSKB(v, t.As32())
	NOTL(t.As32())
	TZCNTL(t.As32(), t.As32())
	LEAQ(scaled(n, t, 1, 0), n) // keeps the flags
	JCS(LabelRef("longer"))
	JMP(LabelRef("before"))

	Label("bytes")
	CMPQ(n, end)
	JEQ(LabelRef("before"))
	LEAQ(scaled(src, n, 1, 0), t)
	ADDQ(p, t)
	MOVB(at(t, 0), t.As8())
	LEAQ(scaled(src, n, 1, 0), from) // which is set again behind the match
	CMPB(t.As8(), scaled(from, c, 1, 0))
	JNE(LabelRef("before"))
	INCQ(n)
	JMP(LabelRef("bytes"))

	Label("slowBefore")
	CMPQ(p, anchor)
	JEQ(LabelRef("found"))
	TESTQ(c, c)
	JEQ(LabelRef("found"))
	MOVB(scaled(src, p, 1, -1), t.As8())
	CMPB(t.As8(), scaled(src, c, 1, -1))
	JNE(LabelRef("found"))
	DECQ(p)
	DECQ(c)
	INCQ(n)
	JMP(LabelRef("slowBefore"))

	Label("longTake")
	MOVQ(U64(32), u)
	ADDQ(src, anchor)

	Label("longerTake")
	VMOVDQU(scaled(anchor, u, 1, 0), v)
	VMOVDQU(v, scaled(lits, u, 1, 0))
	ADDQ(U8(32), u)
	CMPQ(u, t)
	JCS(LabelRef("longerTake"))
	JMP(LabelRef("taken"))

	Label("done")
	VZEROUPPER()
	result(from, "from")
	result(anchor, "anchor")
	count := func(to GPVirtual, name string, shift uint8, result string) {
		Load(Param(name), t)
		SUBQ(t, to)
		if shift > 0 {
			SHRQ(U8(shift), to)
		}
		Store(to, ReturnIndex(returns[result]))
	}
	count(lits, "lits", 0, "nLits")
	count(seqs, "seqs", 3, "nSeqs")
	RET()
}

// pack2 is the loop of pack2.
func pack2() {
	function("pack2BMI2", "func(outA, outB, a, b *byte, lenA, lenB int, codes *[256]uint64, rounds int) (accA, accB uint64, haveA, haveB uint64, atA, atB int, seen uint64)",
		"pack2BMI2 packs the last 5*rounds bytes of a[:lenA] and b[:lenB], reads no others, and writes at\n"+
			"most 8*rounds+8 bytes to outA and to outB. rounds is not 0, and no code is longer than 11 bits.",
		"accA", "accB", "haveA", "haveB", "atA", "atB", "seen")
	outs := [2]GPVirtual{param("outA"), param("outB")}
	ends := [2]GPVirtual{param("a"), param("b")}
	codes, rounds := param("codes"), param("rounds")
	var accs, haves [2]GPVirtual
	seen := GP64()
	XORL(seen.As32(), seen.As32())
	for i := range 2 {
		accs[i], haves[i] = GP64(), GP64()
		XORL(accs[i].As32(), accs[i].As32())
		XORL(haves[i].As32(), haves[i].As32())
	}
	t, e := GP64(), GP64()
	for i, name := range []string{"lenA", "lenB"} {
		Load(Param(name), t)
		ADDQ(t, ends[i])
	}

	Label("round")
	for k := 1; k <= 5; k++ {
		for i := range 2 {
			MOVBQZX(at(ends[i], -k), t)
			MOVQ(scaled(codes, t, 8, 0), e)
			ORQ(e, seen)
			ADDQ(e, haves[i])
			SHRXQ(e, accs[i], accs[i])
			if k == 5 { // what is above the length in the other rounds is shifted out
				ANDQ(I8(-16), e)
			}
			ORQ(e, accs[i])
		}
	}
	for i := range 2 {
		SUBQ(U8(5), ends[i])
		MOVBQZX(haves[i].As8(), haves[i])
		MOVQ(haves[i], t)
		NEGQ(t)
		SHRXQ(t, accs[i], t)
		MOVQ(t, at(outs[i], 0))
		MOVQ(haves[i], t)
		SHRQ(U8(3), t)
		ADDQ(t, outs[i])
		ANDQ(U8(7), haves[i])
	}
	DECQ(rounds)
	JNE(LabelRef("round"))
	result(accs[0], "accA")
	result(accs[1], "accB")
	for i, name := range []string{"outA", "outB"} {
		Load(Param(name), t)
		SUBQ(t, outs[i])
	}
	result(haves[0], "haveA")
	result(haves[1], "haveB")
	result(outs[0], "atA")
	result(outs[1], "atB")
	result(seen, "seen")
	RET()
}

// code is the loop of sequences.code.
func code() {
	function("codeBMI2", "func(list *uint64, codes *uint32, n int, offsets *[3]uint32, counts *[3][53]uint32, short *[64 + 128]uint16)",
		"codeBMI2 reads and writes list[:n], and writes codes[:n]. n is not 0. The sequences have offsets of at least\n"+
			"1, less than 1<<28, and matches of at least 3 bytes; neither these nor literals are longer than a block.")
	list, codes, counts, short := param("list"), param("codes"), param("counts"), param("short")
	const ofLits, ofOffsets, ofMatches = 0 * 4 * 53, 1 * 4 * 53, 2 * 4 * 53
	t := param("offsets")
	a, b, c := GP64(), GP64(), GP64()
	offsets := []GPVirtual{a, b, c}
	for i, r := range offsets {
		MOVL(at(t, 4*i), r.As32())
	}
	left, err := Param("n").Resolve()
	must(err)
	lits, match, offset, value, all, n, w := GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64()

	Label("sequence")
	MOVQ(at(list, 0), match)
	MOVQ(match, offset)
	SHRQ(U8(36), offset)
	MOVQ(match, lits)
	ANDL(U32(1<<18-1), lits.As32())
	SHRQ(U8(18), match)
	ANDL(U32(1<<18-1), match.As32())
	SUBL(U8(3), match.As32())

	// The offset in its coded form, and the next three to repeat. Without
	// literals they count from the second.
	LEAQ(at(offset, 3), value)
	CMPQ(lits, U8(1))
	MOVL(U32(3), t.As32())
	SBBQ(U8(0), t)
	CMPQ(offset, c)
	CMOVQEQ(t, value)
	DECQ(t)
	MOVQ(a, n) // the next second
	MOVQ(b, w) // the next third
	CMPQ(offset, b)
	CMOVQEQ(t, value)
	CMOVQEQ(c, w)
	XORL(t.As32(), t.As32())
	TESTQ(lits, lits)
	CMOVQNE(a, t)
	CMPQ(offset, t)
	MOVL(U32(1), t.As32())
	CMOVQEQ(t, value)
	CMOVQEQ(b, n)
	CMOVQEQ(c, w)
	MOVQ(offset, a)
	MOVQ(n, b)
	MOVQ(w, c)

	// The codes, and their extra bits in value: of the offset above those of the
	// match above those of the literals.
	BSRQ(value, t)
	INCL(scaled(counts, t, 4, ofOffsets))
	BZHIQ(t, value, value)
	MOVQ(t, n)
	MOVQ(t, all)
	SHLL(U8(8), all.As32())
	CMPQ(match, U32(128))
	JCC(LabelRef("longMatch"))
	MOVWQZX(scaled(short, match, 2, 2*64), t)

	Label("matchCoded")
	MOVBQZX(t.As8(), w)
	INCL(scaled(counts, w, 4, ofMatches))
	SHLL(U8(16), w.As32())
	ORL(w.As32(), all.As32())
	SHRL(U8(8), t.As32())
	BZHIQ(t, match, match)
	SHLXQ(t, value, value)
	ORQ(match, value)
	ADDQ(t, n)
	CMPQ(lits, U8(64))
	JCC(LabelRef("longLits"))
	MOVWQZX(scaled(short, lits, 2, 0), t)

	Label("litsCoded")
	MOVBQZX(t.As8(), w)
	INCL(scaled(counts, w, 4, ofLits))
	ORL(w.As32(), all.As32())
	SHRL(U8(8), t.As32())
	BZHIQ(t, lits, lits)
	SHLXQ(t, value, value)
	ORQ(lits, value)
	ADDQ(t, n)
	SHLL(U8(24), n.As32())
	ORL(n.As32(), all.As32())
	MOVL(all.As32(), at(codes, 0))
	MOVQ(value, at(list, 0))
	ADDQ(U8(8), list)
	ADDQ(U8(4), codes)
	DECQ(left.Addr)
	JNE(LabelRef("sequence"))
	Load(Param("offsets"), t)
	for i, r := range offsets {
		MOVL(r.As32(), at(t, 4*i))
	}
	RET()

	long := func(label string, length Register, first int, back string) {
		Label(label)
		BSRQ(length, t)
		MOVQ(t, w)
		SHLQ(U8(8), w)
		LEAQ(scaled(t, w, 1, first), t)
		JMP(LabelRef(back))
	}
	long("longLits", lits, 19, "litsCoded")
	long("longMatch", match, 36, "matchCoded")
}

// write is the loop of sequences.write.
func write() {
	function("writeBMI2", "func(out *byte, list *uint64, codes *uint32, n int, lits, offsets, matches *uint64, states *[3]uint64, acc uint64, have uint) (at int, accNext uint64, haveNext uint)",
		"writeBMI2 reads list[:n], codes[:n], and the tables, in which 512 states come after the steps, and writes at most\n"+
			"10*n+8 bytes to out. n is not 0, have at most 7.", "at", "accNext", "haveNext")
	out, list, codes, i := param("out"), param("list"), param("codes"), param("n")
	acc, have := param("acc"), param("have")
	t, u, w := GP64(), GP64(), GP64()
	Load(Param("states"), t)
	// The codes are in the bytes of codes[i] in the order of names.
	names := []string{"lits", "offsets", "matches"}
	var tables, states [3]GPVirtual
	for k, name := range names {
		tables[k], states[k] = param(name), GP64()
		MOVQ(at(t, 8*k), states[k])
	}
	flush := func() {
		MOVQ(acc, at(out, 0))
		MOVQ(have, u)
		SHRQ(U8(3), u)
		ADDQ(u, out)
		MOVQ(have, u)
		ANDQ(U8(56), u)
		SHRXQ(u, acc, acc)
		ANDQ(U8(7), have)
	}

	Label("sequence")
	for _, k := range []int{1, 2, 0} {
		state := states[k]
		MOVBQZX(scaled(codes, i, 4, k-4), t)
		MOVQ(scaled(tables[k], t, 8, 0), t)
		MOVL(t.As32(), u.As32())
		ADDL(state.As32(), u.As32())
		SHRL(U8(16), u.As32())
		BZHIQ(u, state, w)
		SHLXQ(have, w, w)
		ORQ(w, acc)
		ADDQ(u, have)
		SHRXQ(u, state, u)
		SARQ(U8(32), t)
		ADDQ(u, t)
		ANDL(U32(511), t.As32())
		MOVWQZX(scaled(tables[k], t, 2, 64*8), state)
	}
	MOVBQZX(scaled(codes, i, 4, -1), t)
	CMPQ(t, U8(30)) // at most 7 bits are left, and 26 of states came
	JHI(LabelRef("many"))

	Label("extra")
	MOVQ(scaled(list, i, 8, -8), u)
	SHLXQ(have, u, u)
	ORQ(u, acc)
	ADDQ(t, have)
	flush()
	DECQ(i)
	JNE(LabelRef("sequence"))
	Load(Param("states"), t)
	for k := range states {
		MOVQ(states[k], at(t, 8*k))
	}
	result(acc, "accNext")
	result(have, "haveNext")
	Load(Param("out"), t)
	SUBQ(t, out)
	result(out, "at")
	RET()

	Label("many")
	flush()
	JMP(LabelRef("extra"))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
