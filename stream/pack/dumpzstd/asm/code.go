package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

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
