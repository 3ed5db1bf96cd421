package guard

import (
	"encoding/binary"
	"fmt"
)

// An lz4 file is a row of frames:
//
//	magic 4 bytes, flags 1, block size 1, content size 8 if flagged,
//	dictionary id 4 if flagged, header checksum 1
//	blocks: size 4 bytes, top bit: not compressed; content; checksum 4 if flagged
//	size 0, content checksum 4 if flagged
const (
	lz4Magic     = "\x04\x22\x4d\x18"
	lz4Skippable = 0x184d2a50 // to …5f

	lz4BlockSums   = 1 << 4
	lz4ContentSize = 1 << 3
	lz4ContentSum  = 1 << 2
	lz4Dictionary  = 1

	lz4MaxBlock = 4 << 20
)

type lz4State int

const (
	lz4Frame lz4State = iota
	lz4Skip
	lz4Flags
	lz4Block
)

// lz4 walks from block to block and unpacks nothing.
type lz4 struct {
	units
	state lz4State
	flags byte
}

func newLZ4() *lz4 { return &lz4{units: units{want: 4}} }

func (z *lz4) write(p []byte) error {
	for {
		var unit []byte
		if unit, p = z.next(p); unit == nil {
			return nil
		}
		if err := z.step(unit); err != nil {
			return err
		}
	}
}

func (z *lz4) finish() error {
	if z.state == lz4Frame && z.between() {
		return nil
	}
	return z.bad("it ends inside a frame")
}

func (z *lz4) bad(format string, args ...any) error {
	return &IncompleteError{Format: LZ4, Offset: z.pos, Reason: fmt.Sprintf(format, args...)}
}

func (z *lz4) step(unit []byte) error {
	switch z.state {
	case lz4Frame:
		magic := binary.LittleEndian.Uint32(unit)
		switch {
		case string(unit) == lz4Magic:
			z.state, z.want = lz4Flags, 2
		case magic&^0xf == lz4Skippable:
			z.state = lz4Skip
		default:
			return z.bad("something else follows a frame")
		}
	case lz4Skip:
		z.skip = int64(binary.LittleEndian.Uint32(unit))
		z.state = lz4Frame
	case lz4Flags:
		z.flags, z.skip = unit[0], 1
		if z.flags&lz4ContentSize != 0 {
			z.skip += 8
		}
		if z.flags&lz4Dictionary != 0 {
			z.skip += 4
		}
		z.state, z.want = lz4Block, 4
	case lz4Block:
		size := int64(binary.LittleEndian.Uint32(unit) &^ (1 << 31))
		switch {
		case size == 0:
			z.state = lz4Frame
			if z.flags&lz4ContentSum != 0 {
				z.skip = 4
			}
		case size > lz4MaxBlock:
			return z.bad("a block of %d bytes", size)
		default:
			if z.skip = size; z.flags&lz4BlockSums != 0 {
				z.skip += 4
			}
		}
	}
	return nil
}
