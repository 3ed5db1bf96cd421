// Package dumpzstd packs text that is made of fields, such as database dumps, into
// zstd frames (RFC 8878) that any decoder reads. It looks for matches only where
// a field begins, so that it needs a fraction of the work of a general encoder
// for about the same size. Other data it packs badly in this way; for that it has a
// general finder of matches.
//
// Nothing here is authenticated or proved: package pack unpacks every frame again
// by another decoder before it is used.
//
// On amd64 assembly does most of the work, and makes the same bytes as Go does; the
// module asm generates it.
package dumpzstd

import (
	"encoding/binary"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// MaxInput is the largest input of one frame, in bytes.
const MaxInput = 1 << 20

const (
	blockSize = 128 << 10 // RFC 8878, 3.1.1.2.4: Block_Maximum_Size
	magic     = 0xfd2fb528
)

// Encoder packs inputs into frames. The output depends on the input alone. An
// Encoder keeps its memory, about 700 KiB, from frame to frame, and is not safe
// for concurrent use.
type Encoder struct {
	finder finder
	lits   literals
	seqs   sequences
	alone  int // blocks to come in which no matches are looked for
	cost   int // bytes for 4 KiB of the literals before them
}

// Wipe clears what is left of the input.
func (e *Encoder) Wipe() { clear(e.lits.buf) }

// Encode appends a frame of src, at most [MaxInput] bytes, to dst: one segment
// with content size and checksum. It is for data that is made of fields.
func (e *Encoder) Encode(dst, src []byte) []byte {
	e.finder.any = false
	return e.encode(dst, src)
}

// EncodeAny is Encode for data of any kind.
func (e *Encoder) EncodeAny(dst, src []byte) []byte {
	e.finder.any = true
	return e.encode(dst, src)
}

func (e *Encoder) encode(dst, src []byte) []byte {
	if len(src) > MaxInput {
		panic("dumpzstd: the input is too large")
	}
	dst = appendHeader(dst, len(src))
	e.finder.reset()
	e.lits.reset()
	e.seqs.reset()
	e.alone = 0
	for start := 0; ; start += blockSize {
		end := min(start+blockSize, len(src))
		dst = e.block(dst, src, start, end)
		if end == len(src) {
			break
		}
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(xxhash.Sum64(src)))
}

// appendHeader writes a header with the content size (RFC 8878, 3.1.1.1).
func appendHeader(dst []byte, size int) []byte {
	const singleSegment, checksum = 1 << 5, 1 << 2
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	switch {
	case size < 256:
		return append(dst, singleSegment|checksum, byte(size))
	case size < 256+1<<16:
		dst = append(dst, 1<<6|singleSegment|checksum)
		return binary.LittleEndian.AppendUint16(dst, uint16(size-256))
	}
	dst = append(dst, 2<<6|singleSegment|checksum)
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

const (
	rawBlock = iota
	runBlock
	packedBlock
)

func appendBlockHeader(dst []byte, last bool, kind, size int) []byte {
	h := size<<3 | kind<<1
	if last {
		h |= 1
	}
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// block packs src[start:end]. What does not shrink is stored.
func (e *Encoder) block(dst, src []byte, start, end int) []byte {
	plain, last := src[start:end], end == len(src)
	if len(plain) > 1 && isRun(plain) {
		return append(appendBlockHeader(dst, last, runBlock, len(plain)), plain[0])
	}
	at := len(dst)
	if len(plain) >= 32 {
		former := e.seqs.offsets
		dst = e.sections(append(dst, 0, 0, 0), src, start, end)
		if size := len(dst) - at - 3; size < len(plain) {
			appendBlockHeader(dst[:at], last, packedBlock, size)
			return dst
		}
		// The decoder never sees these tables and offsets.
		e.lits.reset()
		e.seqs.reset()
		e.seqs.offsets = former
	}
	return append(appendBlockHeader(dst[:at], last, rawBlock, len(plain)), plain...)
}

// sections appends literals and sequences of src[start:end].
func (e *Encoder) sections(dst, src []byte, start, end int) []byte {
	plain, at := src[start:end], len(dst)
	if e.alone > 0 {
		e.alone--
		dst = e.lits.encode(dst, plain)
		if cost := (len(dst) - at) << 12 / len(plain); max(cost, e.cost)-min(cost, e.cost) <= e.cost/16 {
			return append(dst, 0) // sequences
		}
		dst = dst[:at] // another kind of data begins
		e.lits.reset()
		e.alone = 0
	}
	lits := e.finder.find(src, start, end, &e.lits, &e.seqs)
	dst = e.lits.encode(dst, lits)
	size := len(dst) - at
	dst = e.seqs.encode(dst)
	// If everything at the literals' cost is hardly larger, the next blocks are
	// spared the search; then it is tried again.
	if !e.finder.any && len(lits) >= minLiterals && uint64(size)*uint64(len(plain))*50 <= uint64(len(dst)-at)*uint64(len(lits))*51 {
		e.alone, e.cost = 3, size<<12/len(lits)
	}
	return dst
}

func isRun(b []byte) bool {
	for _, c := range b[1:] {
		if c != b[0] {
			return false
		}
	}
	return true
}

// log2 is the logarithm of v in 1/256, rounded down in its fraction. It is
// computed in integers, so that every machine makes the same choices.
func log2(v uint32) uint32 {
	n := uint32(bits.Len32(v) - 1)
	x := uint64(v) << (31 - n) // 1 <= x < 2, in 2^-31
	out := n << 8
	for bit := uint32(128); bit > 0; bit >>= 1 {
		x = x * x >> 31
		if x >= 1<<32 {
			x >>= 1
			out |= bit
		}
	}
	return out
}
