//go:build !amd64 || purego || noasm

package dumpzstd

// There is no assembly: Go does all of the work.

func markFast([]uint64, []byte, *marked) (done int) { return 0 }

func (f *finder) probeFast(_ []byte, _, at, _ int) (from, n int) { return at, 0 }

func (f *finder) takeFast(_ int, _ []byte, _, anchor, _ int, _ *literals, _ *sequences) int {
	return anchor
}

func pack2Fast(_, _, _, _ []byte, _ *[256]uint64) (done int, accA, accB, haveA, haveB uint64, atA, atB int, seen uint64) {
	return
}

func (q *sequences) codeFast([]codes) bool { return false }

func (w *sequenceWriter) fast([]sequence, []codes) bool { return false }

func (f *finder) generalFast(*generalFinder, []byte, int, int, *literals, *sequences) {}
