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
	probe()
	take()
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
	function("markAVX2", "func(starts *uint64, src *byte, words int, former *[3]uint64)",
		"markAVX2 reads src[:64*words], writes starts[:words], and brings former up to date. words is not 0.")
	starts, src, words := param("starts"), param("src"), param("words")
	most := YMM()
	bound := GP32()
	MOVL(U32(0x2f2f2f2f), bound)
	VMOVD(bound, most.AsX())
	VPBROADCASTD(most.AsX(), most)
	former := param("former")
	fields := []GPVirtual{GP64(), GP64(), GP64()}
	for i, r := range fields {
		MOVQ(at(former, 8*i), r)
	}
	low, runs, empty := fields[0], fields[1], fields[2]

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
	// long is where a run of four ends.
	first, long, t := GP64(), GP64(), GP64()
	MOVQ(word, long)
	for back := uint8(1); back <= 3; back++ {
		MOVQ(low, t)
		SHRQ(U8(64-back), t)
		LEAQ(scaled(t, word, 1<<back, 0), t)
		ANDQ(t, long)
		if back == 1 {
			ANDNQ(t, word, first)
		}
	}
	SHRQ(U8(63), runs)
	LEAQ(scaled(runs, long, 2, 0), t)
	ANDNQ(long, t, t)
	MOVQ(word, low)
	MOVQ(long, runs)
	ORQ(t, first)
	CMOVQEQ(empty, first)
	SETEQ(empty.As8()) // the rest of it is 0
	MOVQ(first, at(starts, 0))
	ADDQ(U8(64), src)
	ADDQ(U8(8), starts)
	DECQ(words)
	JNE(LabelRef("mark"))
	VZEROUPPER()
	for i, r := range fields {
		MOVQ(r, at(former, 8*i))
	}
	RET()
}

const (
	tableBits = 14
	posBits   = 20
	prime     = 0x9e3779b185ebca87

	minMatch   = 5
	nearEnough = 16 << 10

	group      = 4
	minGeneral = 6
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
	MOVQ(U64(hashKey<<(64-8*minGeneral)), s.key)
	return s
}

// hash puts the place p+i into table. What was there is in e.
func (s search) hash(i int, e Register) {
	MOVQ(s.key, s.t)
	IMULQ(scaled(s.src, s.p, 1, i), s.t)
	RORXQ(U8(64-tableBits-32), s.t, s.u)
	SHRQ(U8(64-tableBits), s.t)
	ANDL(U32(1<<32-1<<posBits), s.u.As32())
	LEAL(scaled(s.u, s.p, 1, i), s.u.As32())
	if e != nil {
		MOVL(scaled(s.table, s.t, 4, 0), e)
	}
	MOVL(s.u.As32(), scaled(s.table, s.t, 4, 0))
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
}

// slowBefore is what before seldom needs.
func (s search) slowBefore() {
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

func probe() {
	function("probeAVX2", "func(src *byte, table *uint32, starts *uint64, found *uint32, at, words int) (n int)",
		"probeAVX2 reads starts[:words] and src[:at+64*words+8], and writes table and found[:n+1]. words is not 0.", "n")
	s := search{src: param("src"), table: param("table"), p: GP64(), key: GP64(), t: GP64(), u: GP64(), c: GP64()}
	starts, found, from, words := param("starts"), param("found"), param("at"), param("words")
	hashKey := uint64(prime)
	MOVQ(U64(hashKey<<(64-8*minMatch)), s.key)
	n, word := GP64(), GP64()
	XORL(n.As32(), n.As32())

	Label("word")
	MOVQ(at(starts, 0), word)
	TESTQ(word, word)
	JEQ(LabelRef("empty"))

	Label("place")
	TZCNTQ(word, s.p)
	ADDQ(from, s.p)
	s.hash(0, s.c.As32())
	XORL(s.u.As32(), s.c.As32())
	MOVL(s.p.As32(), s.t.As32())
	SHLL(U8(posBits), s.t.As32()) // the place in the chunk is left
	XORL(s.c.As32(), s.p.As32())
	ORL(s.t.As32(), s.p.As32())
	MOVL(s.p.As32(), scaled(found, n, 4, 0))
	CMPL(s.c.As32(), U32(1<<posBits))
	ADCQ(U8(0), n)
	BLSRQ(word, word)
	JNE(LabelRef("place"))

	Label("empty")
	ADDQ(U8(8), starts)
	ADDQ(U8(64), from)
	DECQ(words)
	JNE(LabelRef("word"))
	result(n, "n")
	RET()
}

func take() {
	function("takeAVX2", "func(src, lits *byte, seqs *uint64, found *uint32, n, chunk, anchor, end int) (anchorNext, nLits, nSeqs int)",
		"takeAVX2 makes sequences of found[:n], whose places count from chunk and are at most end-32. It reads src[:end],\n"+
			"and writes one of seqs for every 5 bytes, and lits, there at most 32 bytes more than it counts. n is not 0.",
		"anchorNext", "nLits", "nSeqs")
	s := search{src: param("src"), lits: param("lits"), seqs: param("seqs"), anchor: param("anchor"),
		p: GP64(), c: GP64(), n: GP64(), t: GP64(), u: GP64(), next: GP64(), v: YMM()}
	found, first := param("found"), param("chunk")
	last := GP64()
	Load(Param("n"), last)
	LEAQ(scaled(found, last, 4, 0), last)

	Label("next")
	CMPQ(found, last)
	JEQ(LabelRef("done"))
	MOVL(at(found, 0), s.c.As32())
	ADDQ(U8(4), found)
	MOVL(s.c.As32(), s.p.As32())
	SHRL(U8(posBits), s.p.As32())
	ADDQ(first, s.p)
	CMPQ(s.p, s.anchor)
	JCS(LabelRef("next"))
	ANDL(U32(1<<posBits-1), s.c.As32())
	s.measure("long")
	CMPQ(s.n, U8(minMatch))
	JCS(LabelRef("next"))
	s.before()
	CMPQ(s.n, U8(minMatch))
	JEQ(LabelRef("shortest"))
	s.take()
	LEAQ(scaled(s.p, s.n, 1, 0), s.anchor)
	SUBQ(s.c, s.p)
	s.add(s.p)
	JMP(LabelRef("next"))

	Label("shortest")
	MOVQ(s.p, s.t)
	SUBQ(s.c, s.t)
	CMPQ(s.t, U32(nearEnough))
	JHI(LabelRef("next"))
	JMP(LabelRef("take"))

	s.slowBefore()
	s.long("long", "before")
	s.longTake()

	Label("done")
	result(s.anchor, "anchorNext")
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

	Label("probe")
	var e [group]GPVirtual
	for i := range e {
		e[i] = GP64()
		s.hash(i, e[i].As32())
		XORL(s.u.As32(), e[i].As32())
	}
	// t is the first place where the last offset serves again.
	MOVQ(s.p, s.t)
	SUBQ(first, s.t)
	JCS(LabelRef("noRepeat"))
	VMOVDQU(scaled(s.src, s.p, 1, 0), s.v)
	VPCMPEQB(scaled(s.src, s.t, 1, 0), s.v, s.v)
	VPMOVMSKB(s.v, s.t.As32())
	for _, shift := range []uint8{1, 2, 1} { // two in a row, four, five
		RORXL(U8(shift), s.t.As32(), s.u.As32())
		ANDL(s.u.As32(), s.t.As32())
	}
	TZCNTL(s.t.As32(), s.t.As32())

	// u is the first place whose tag is in the table, and c what was there.
	Label("choose")
	XORL(s.u.As32(), s.u.As32())
	s.c = e[group-1]
	for i := group - 1; i >= 0; i-- {
		CMPL(e[i].As32(), U32(1<<posBits))
		if i < group-1 {
			CMOVLCS(e[i].As32(), s.c.As32())
		}
		ADCL(s.u.As32(), s.u.As32())
	}
	ORL(U8(1<<group), s.u.As32())
	TZCNTL(s.u.As32(), s.u.As32())
	CMPQ(s.t, s.u)
	JLS(LabelRef("repeat"))
	CMPQ(s.u, U8(group))
	JEQ(LabelRef("miss"))
	LEAQ(at(s.p, group), s.next)
	ADDQ(s.u, s.p)
	XORQ(s.p, s.c)
	s.measure("long")
	CMPQ(s.n, U8(minGeneral))
	JCS(LabelRef("differs"))
	s.before()
	s.take()
	MOVQ(s.p, s.next)
	SUBQ(s.c, s.next) // the offset
	CMPQ(s.next, first)
	CMOVQNE(first, second)
	MOVQ(s.next, first)
	LEAQ(scaled(s.p, s.n, 1, 0), s.anchor)
	s.add(s.next)
	MOVQ(s.anchor, s.p)
	CMPQ(s.anchor, address("last"))
	JGT(LabelRef("done"))
	s.hash(-2, nil)
	CMPQ(s.p, limit)
	JGT(LabelRef("done"))

	// Right after a match the offset before the last is tried.
	MOVQ(s.p, s.c)
	SUBQ(second, s.c)
	JCS(LabelRef("probe"))
	MOVQ(scaled(s.src, s.p, 1, 0), s.t)
	XORQ(scaled(s.src, s.c, 1, 0), s.t)
	SHLQ(U8(24), s.t)
	JNE(LabelRef("probe"))
	s.measure("longRepeat")
	JMP(LabelRef("take"))

	Label("miss")
	MOVQ(s.p, s.t)
	SUBQ(s.anchor, s.t)
	SHRQ(U8(5), s.t)
	LEAQ(scaled(s.p, s.t, 1, group), s.p)
	JMP(LabelRef("next"))

	Label("differs")
	MOVQ(s.next, s.p)
	JMP(LabelRef("next"))

	Label("noRepeat")
	MOVL(U32(32), s.t.As32())
	JMP(LabelRef("choose"))

	Label("repeat")
	ADDQ(s.t, s.p)
	MOVQ(s.p, s.c)
	SUBQ(first, s.c)
	s.measure("longRepeat")
	JMP(LabelRef("take"))

	s.slowBefore()
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
