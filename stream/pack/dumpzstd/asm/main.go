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
	general()
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

// search is what both finders have in registers: p is where the match begins, c
// where the same bytes were before, n how many there are.
type search struct {
	src, lits, seqs, table, anchor, p, c, n GPVirtual
	next                                    GPVirtual // where to look next
	key, t, u                               GPVirtual
	v                                       VecVirtual
}

func newSearch() (s search) {
	s.src, s.lits, s.seqs, s.table = param("src"), param("lits"), param("seqs"), param("table")
	for _, r := range []*GPVirtual{&s.anchor, &s.p, &s.c, &s.n, &s.next, &s.key, &s.t, &s.u} {
		*r = GP64()
	}
	s.v = YMM()
	hashKey := uint64(prime)
	MOVQ(U64(hashKey<<24), s.key) // the lowest five bytes count
	return s
}

// swap puts place, of which t holds the bytes, into table. c becomes what was
// there, and u place and tag.
func (s search) swap(place Register) {
	IMULQ(s.key, s.t)
	SHRQ(U8(64-tableBits-32+posBits), s.t)
	MOVQ(s.t, s.u)
	SHRQ(U8(32-posBits), s.t)
	SHLL(U8(posBits), s.u.As32())
	ORL(place.(GPVirtual).As32(), s.u.As32())
	MOVL(scaled(s.table, s.t, 4, 0), s.c.As32())
	MOVL(s.u.As32(), scaled(s.table, s.t, 4, 0))
}

// candidate goes on if the place in c has the tag of u and comes before p.
func (s search) candidate(otherwise string) {
	XORL(s.c.As32(), s.u.As32())
	SHRL(U8(posBits), s.u.As32())
	JNE(LabelRef(otherwise))
	ANDL(U32(1<<posBits-1), s.c.As32())
	CMPQ(s.c, s.p)
	JCC(LabelRef(otherwise))
}

// measure sets n, and goes to long if the first 32 bytes are the same.
func (s search) measure(long string) {
	VMOVDQU(scaled(s.src, s.p, 1, 0), s.v)
	VPCMPEQB(scaled(s.src, s.c, 1, 0), s.v, s.v)
	VPMOVMSKB(s.v, s.n.As32())
	NOTL(s.n.As32())
	TZCNTL(s.n.As32(), s.n.As32())
	JCS(LabelRef(long))
}

func (s search) long(name, done string) {
	Label(name)
	left := Load(Param("end"), s.u)
	SUBQ(s.p, left)

	Label(name + "Words")
	LEAQ(at(s.n, 32), s.t)
	CMPQ(s.t, left)
	JHI(LabelRef(name + "Bytes"))
	LEAQ(scaled(s.src, s.n, 1, 0), s.t)
	VMOVDQU(scaled(s.t, s.p, 1, 0), s.v)
	VPCMPEQB(scaled(s.t, s.c, 1, 0), s.v, s.v)
	VPMOVMSKB(s.v, s.t.As32())
	NOTL(s.t.As32())
	TZCNTL(s.t.As32(), s.t.As32())
	LEAQ(scaled(s.n, s.t, 1, 0), s.n) // keeps the flags
	JCS(LabelRef(name + "Words"))
	JMP(LabelRef(done))

	Label(name + "Bytes")
	CMPQ(s.n, left)
	JEQ(LabelRef(done))
	LEAQ(scaled(s.src, s.n, 1, 0), s.next)
	MOVB(scaled(s.next, s.p, 1, 0), s.t.As8())
	CMPB(s.t.As8(), scaled(s.next, s.c, 1, 0))
	JNE(LabelRef(done))
	INCQ(s.n)
	JMP(LabelRef(name + "Bytes"))
}

// before lets the match begin earlier.
func (s search) before() {
	Label("before")
	CMPQ(s.c, U8(8))
	JCS(LabelRef("slowBefore"))
	MOVQ(scaled(s.src, s.p, 1, -8), s.t)
	XORQ(scaled(s.src, s.c, 1, -8), s.t)
	BSWAPQ(s.t)
	TZCNTQ(s.t, s.t)
	SHRQ(U8(3), s.t)
	MOVQ(s.p, s.u)
	SUBQ(s.anchor, s.u)
	CMPQ(s.t, s.u)
	CMOVQHI(s.u, s.t)
	SUBQ(s.t, s.p)
	SUBQ(s.t, s.c)
	ADDQ(s.t, s.n)
	CMPQ(s.t, U8(8))
	JEQ(LabelRef("before"))

	Label("found")
	CMPQ(s.n, U8(minMatch))
	JEQ(LabelRef("shortest"))
}

// rare is what before seldom needs.
func (s search) rare(take, otherwise string) {
	Label("shortest")
	MOVQ(s.p, s.t)
	SUBQ(s.c, s.t)
	CMPQ(s.t, U32(nearEnough))
	JHI(LabelRef(otherwise))
	JMP(LabelRef(take))

	Label("slowBefore")
	CMPQ(s.p, s.anchor)
	JEQ(LabelRef("found"))
	TESTQ(s.c, s.c)
	JEQ(LabelRef("found"))
	MOVB(scaled(s.src, s.p, 1, -1), s.t.As8())
	CMPB(s.t.As8(), scaled(s.src, s.c, 1, -1))
	JNE(LabelRef("found"))
	DECQ(s.p)
	DECQ(s.c)
	INCQ(s.n)
	JMP(LabelRef("slowBefore"))
}

// take copies the literals before p, and sets t to their number.
func (s search) take() {
	Label("take")
	MOVQ(s.p, s.t)
	SUBQ(s.anchor, s.t)
	VMOVDQU(scaled(s.src, s.anchor, 1, 0), s.v)
	VMOVDQU(s.v, at(s.lits, 0))
	CMPQ(s.t, U8(32))
	JHI(LabelRef("longTake"))

	Label("taken")
	ADDQ(s.t, s.lits)
}

// longTake copies more than 32.
func (s search) longTake() {
	Label("longTake")
	MOVQ(U64(32), s.u)
	ADDQ(s.src, s.anchor)

	Label("longerTake")
	VMOVDQU(scaled(s.anchor, s.u, 1, 0), s.v)
	VMOVDQU(s.v, scaled(s.lits, s.u, 1, 0))
	ADDQ(U8(32), s.u)
	CMPQ(s.u, s.t)
	JCS(LabelRef("longerTake"))
	JMP(LabelRef("taken"))
}

// add adds the sequence of t literals, n, and offset, all of which it spoils.
func (s search) add(offset GPVirtual) {
	SHLQ(U8(36), offset)
	SHLQ(U8(18), s.n)
	ORQ(s.n, s.t)
	ORQ(offset, s.t)
	MOVQ(s.t, at(s.seqs, 0))
	ADDQ(U8(8), s.seqs)
}

func (s search) counts() {
	VZEROUPPER()
	Load(Param("lits"), s.t)
	SUBQ(s.t, s.lits)
	result(s.lits, "nLits")
	Load(Param("seqs"), s.t)
	SUBQ(s.t, s.seqs)
	SHRQ(U8(3), s.seqs)
	result(s.seqs, "nSeqs")
	RET()
}

func match() {
	function("matchAVX2", "func(src, lits *byte, seqs *uint64, table *uint32, starts *uint64, start, limit, end int) (from, anchor, nLits, nSeqs int)",
		"matchAVX2 looks for matches at the places in starts, of which bit 0 is src[start], up to src[limit].\n"+
			"It reads src[:end] and starts up to the bit of end and 8 bytes more, and writes table, one of seqs for\n"+
			"every 5 bytes, and lits, there at most 32 bytes more than it counts. limit+32 <= end, and start is\n"+
			"divisible by 64.",
		"from", "anchor", "nLits", "nSeqs")
	s := newSearch()
	starts := param("starts")
	limit := address("limit")
	Load(Param("start"), s.anchor)
	MOVQ(s.anchor, s.next)
	MOVQ(s.anchor, s.t)
	SHRQ(U8(3), s.t)
	SUBQ(s.t, starts) // so that places of the frame count

	Label("next")
	MOVQ(s.next, s.t)
	SHRQ(U8(3), s.t)
	MOVQ(s.next, s.u)
	ANDQ(U8(7), s.u)
	SHRXQ(s.u, scaled(starts, s.t, 1, 0), s.t)
	TZCNTQ(s.t, s.p)
	JCS(LabelRef("empty"))
	ADDQ(s.next, s.p)
	CMPQ(s.p, limit)
	JGT(LabelRef("done"))
	MOVQ(scaled(s.src, s.p, 1, 0), s.t)
	s.swap(s.p)
	LEAQ(at(s.p, 1), s.next)
	s.candidate("next")
	s.measure("long")
	CMPQ(s.n, U8(minMatch))
	JCS(LabelRef("next"))
	s.before()
	s.take()
	LEAQ(scaled(s.p, s.n, 1, 0), s.anchor)
	MOVQ(s.anchor, s.next)
	SUBQ(s.c, s.p)
	s.add(s.p)
	JMP(LabelRef("next"))

	// No place in the next 57 bytes.
	Label("empty")
	ADDQ(U8(57), s.next)
	CMPQ(s.next, limit)
	JLE(LabelRef("next"))
	JMP(LabelRef("done"))

	s.rare("take", "next")
	s.long("long", "before")
	s.longTake()

	Label("done")
	result(s.next, "from")
	result(s.anchor, "anchor")
	s.counts()
}

func general() {
	function("generalAVX2", "func(src, lits *byte, seqs *uint64, table *uint32, state *[4]int, start, limit, last, end int) (nLits, nSeqs int)",
		"generalAVX2 looks for matches from src[state[0]], with literals from state[1], and former offsets state[2] and state[3], up to\n"+
			"src[limit]. It reads src[:end], and writes table, one of seqs for every 5 bytes, and lits, there at most 32 bytes\n"+
			"more than it counts. limit+40 <= end, and limit < last <= end-12.",
		"nLits", "nSeqs")
	s := newSearch()
	limit := address("limit")
	g := s.t
	first, second := GP64(), GP64()
	Load(Param("state"), g)
	fields := []GPVirtual{s.p, s.anchor, first, second}
	for i, r := range fields {
		MOVQ(at(g, 8*i), r)
	}

	Label("next")
	CMPQ(s.p, limit)
	JGT(LabelRef("done"))
	MOVQ(scaled(s.src, s.p, 1, 0), s.t)
	CMPQ(s.p, s.anchor)
	JEQ(LabelRef("atAnchor"))

	Label("probe")
	s.swap(s.p)
	LEAQ(at(s.p, 1), s.next)
	SUBQ(first, s.next)
	JCS(LabelRef("noRepeat"))
	MOVQ(scaled(s.src, s.next, 1, 0), s.t)
	XORQ(scaled(s.src, s.p, 1, 1), s.t)
	SHLQ(U8(24), s.t)
	JEQ(LabelRef("repeat"))

	Label("noRepeat")
	MOVQ(s.p, s.next)
	SUBQ(s.anchor, s.next)
	SHRQ(U8(6), s.next)
	LEAQ(scaled(s.next, s.p, 1, 1), s.next)
	s.candidate("miss")
	s.measure("long")
	CMPQ(s.n, U8(minMatch))
	JCS(LabelRef("miss"))
	s.before()
	s.take()
	MOVQ(s.p, s.next)
	SUBQ(s.c, s.next) // the offset
	CMPQ(s.next, first)
	CMOVQNE(first, second)
	MOVQ(s.next, first)
	LEAQ(scaled(s.p, s.n, 1, 0), s.anchor)
	s.add(s.next)
	LEAQ(at(s.p, 2), s.next)
	MOVQ(s.anchor, s.p)
	CMPQ(s.anchor, address("last"))
	JGT(LabelRef("done"))
	MOVQ(scaled(s.src, s.next, 1, 0), s.t)
	s.swap(s.next)
	MOVQ(scaled(s.src, s.p, 1, -2), s.t)
	LEAQ(at(s.p, -2), s.next)
	s.swap(s.next)
	JMP(LabelRef("next"))

	Label("miss")
	MOVQ(s.next, s.p)
	JMP(LabelRef("next"))

	// Right after a match the offset before the last is tried.
	Label("atAnchor")
	CMPQ(s.p, address("start"))
	JEQ(LabelRef("probe"))
	MOVQ(s.p, s.c)
	SUBQ(second, s.c)
	JCS(LabelRef("probe"))
	MOVQ(scaled(s.src, s.c, 1, 0), s.u)
	XORQ(s.t, s.u)
	SHLQ(U8(24), s.u)
	JNE(LabelRef("probe"))
	s.measure("longRepeat")
	JMP(LabelRef("take"))

	Label("repeat")
	MOVQ(s.next, s.c)
	INCQ(s.p)
	s.measure("longRepeat")
	JMP(LabelRef("take"))

	s.rare("take", "miss")
	s.long("long", "before")
	s.long("longRepeat", "take")
	s.longTake()

	Label("done")
	Load(Param("state"), g)
	for i, r := range fields {
		MOVQ(r, at(g, 8*i))
	}
	s.counts()
}

func address(name string) Mem {
	p, err := Param(name).Resolve()
	must(err)
	return p.Addr
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
	left := address("n")
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
	DECQ(left)
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
