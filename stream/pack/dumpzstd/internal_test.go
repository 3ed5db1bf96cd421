package dumpzstd

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// Holds says whether e still holds b.
func Holds(e *Encoder, b []byte) bool {
	return bytes.Contains(e.lits.buf, b)
}

// Sections packs in as Encode does, but with all that is read and written in memory
// that mem gives, and returns the sections of all blocks.
func Sections(mem func(n int) []byte, in []byte, any bool) (out []byte) {
	f := (*finder)(unsafe.Pointer(unsafe.SliceData(mem(int(unsafe.Sizeof(finder{}))))))
	f.any = any
	var l literals
	var q sequences
	l.clear()
	q.clear()
	l.buf, l.scratch = mem(len(l.buf)), mem(4*streamRoom)
	q.list = unsafe.Slice((*sequence)(unsafe.Pointer(unsafe.SliceData(mem(8*maxSequences)))), maxSequences)
	q.codes = unsafe.Slice((*codes)(unsafe.Pointer(unsafe.SliceData(mem(4*maxSequences)))), maxSequences)
	f.reset()
	l.reset()
	q.reset()
	for start := 0; start < len(in); start += blockSize {
		lits := f.find(in, start, min(start+blockSize, len(in)), &l, &q)
		out = q.encode(l.encode(out, lits))
	}
	return out
}

// A fitted table gives every symbol that occurs a place and fills exactly its
// size; its cost is near the entropy.
func TestFit(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{6}))
	var table fseTable
	for range 2000 {
		counts := make([]uint32, 2+r.IntN(maxSymbols-2))
		var sum, cost uint64
		used := 0
		for i := range counts {
			if r.IntN(3) > 0 {
				counts[i] = 1 + r.Uint32N(1<<r.IntN(15))
				sum += uint64(counts[i])
				used++
			}
		}
		if used < 2 {
			continue
		}
		table.fit(counts, uint32(sum), maxTableLog)
		places := 0
		for s, n := range table.norm[:table.symbols] {
			if (n != 0) != (counts[s] > 0) {
				t.Fatalf("counts %v: symbol %d has %d places", counts, s, n)
			}
			places += int(max(n, -n))
		}
		for _, c := range counts {
			if c > 0 {
				cost += uint64(c) * uint64(log2(uint32(sum))-log2(c))
			}
		}
		got, ok := table.cost(counts)
		if !ok || places != 1<<table.log || got > cost+cost/4+sum*64 {
			t.Fatalf("counts %v: %d places of %d, cost %d, entropy %d", counts, places, 1<<table.log, got, cost)
		}
	}
}

// The codes are complete, and no longer than is allowed.
func TestCodes(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{7}))
	var l literals
	for range 500 {
		var counts [256]uint32
		used := 0
		for i := range counts {
			if r.IntN(4) == 0 {
				counts[i] = 1 + r.Uint32N(1<<r.IntN(17))
				used++
			}
		}
		if l.build(&counts) != (used >= 2) {
			t.Fatalf("%d symbols", used)
		}
		space := 0
		for s, n := range l.lengths {
			if used >= 2 && (n > 0) != (counts[s] > 0) || n > maxCodeLen {
				t.Fatalf("symbol %d has a code of %d bits", s, n)
			}
			if n > 0 {
				space += 1 << (maxCodeLen - n)
			}
		}
		if used >= 2 && space != 1<<maxCodeLen {
			t.Fatalf("the codes fill %d of %d", space, 1<<maxCodeLen)
		}
	}
}

func TestLog2(t *testing.T) {
	for v, want := range map[uint32]uint32{1: 0, 2: 256, 3: 405, 1 << 31: 31 << 8, 1000: 2551} {
		if got := log2(v); got != want {
			t.Errorf("log2(%d) is %d, want %d", v, got, want)
		}
	}
}
