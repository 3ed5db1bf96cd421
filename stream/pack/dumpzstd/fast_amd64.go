//go:build !purego && !noasm

package dumpzstd

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// fast says that the processor has what the assembly needs. The tests change it.
var fast = cpu.X86.HasAVX2 && cpu.X86.HasBMI1 && cpu.X86.HasBMI2

// The assembly does the first part of the work, as much as it may without looking
// over the edge of src, or all of it, and says how far it came.

func markFast(words []uint64, src []byte, former *marked) (done int) {
	if done = min(len(words), len(src)/64); !fast || done == 0 {
		return 0
	}
	markAVX2(&words[0], &src[0], done, (*[3]uint64)(unsafe.Pointer(former)))
	return done
}

func (f *finder) probeFast(src []byte, start, at, end int) (from, n int) {
	words := (min(at+chunk, end-32) - at) / 64
	if !fast || words <= 0 {
		return at, 0
	}
	return at + 64*words, probeAVX2(&src[0], &f.table[0], &f.starts[(at-start)/64], &f.found[0], at, words)
}

func (f *finder) takeFast(n int, src []byte, at, anchor, end int, l *literals, q *sequences) int {
	if n == 0 {
		return anchor
	}
	had := len(q.list)
	list := (*uint64)(&q.list[:had+1][had])
	anchor, lits, seqs := takeAVX2(&src[0], &l.buf[l.n], list, &f.found[0], n, at, anchor, end)
	l.n, q.list = l.n+lits, q.list[:had+seqs]
	return anchor
}

func (f *finder) generalFast(g *generalFinder, src []byte, start, end int, l *literals, q *sequences) {
	if !fast || end-start < 64 {
		return
	}
	state := [4]int{g.p, g.anchor, g.first, g.second}
	list := unsafe.SliceData(q.list)
	lits, n := generalAVX2(&src[0], &l.buf[0], (*uint64)(list), &f.table[0], &state, start, end-40, end-generalMargin, end)
	l.n, q.list = lits, q.list[:n]
	*g = generalFinder{p: state[0], anchor: state[1], first: state[2], second: state[3]}
}

// pack2Fast packs the last done bytes of a and of b.
func pack2Fast(outA, outB, a, b []byte, codes *[256]uint64) (done int, accA, accB, haveA, haveB uint64, atA, atB int, seen uint64) {
	rounds := min(len(a), len(b)) / 5
	if !fast || rounds == 0 {
		return
	}
	accA, accB, haveA, haveB, atA, atB, seen = pack2BMI2(&outA[0], &outB[0], &a[0], &b[0], len(a), len(b), codes, rounds)
	return 5 * rounds, accA, accB, haveA, haveB, atA, atB, seen
}

func (q *sequences) codeFast(out []codes) bool {
	if fast {
		codeBMI2((*uint64)(&q.list[0]), (*uint32)(&out[0]), len(out), &q.offsets, &q.counts, &short)
	}
	return fast
}

func (w *sequenceWriter) fast(list []sequence, of []codes) bool {
	if !fast || len(list) == 0 {
		return false
	}
	states := [3]uint64{uint64(w.litState), uint64(w.offsetState), uint64(w.matchState)}
	b := &w.bits
	n, acc, have := writeBMI2(&b.out[b.at], (*uint64)(&list[0]), (*uint32)(&of[0]), len(list),
		w.lits.words(), w.offsets.words(), w.matches.words(), &states, b.acc, b.have)
	b.at, b.acc, b.have = b.at+n, acc, have
	w.litState, w.offsetState, w.matchState = fseState(states[0]), fseState(states[1]), fseState(states[2])
	return true
}

func (t *fseTable) words() *uint64 { return (*uint64)(unsafe.Pointer(t)) }

var _ [0]struct{} = [unsafe.Offsetof(fseTable{}.states) - 64*8]struct{}{}
