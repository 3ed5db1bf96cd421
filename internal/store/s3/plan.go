package s3store

import "fmt"

// planLimits are what a plan is made from.
type planLimits struct {
	first   int64 // size of the first parts
	top     int64 // of the largest that is held in memory
	segment int64 // of the largest that S3 copies
	parts   int
	object  int64
	copied  int64 // of a piece that S3 copies from one object to another, where that is enough
}

// plan says how large each part of an upload is. A stream's length is not known
// beforehand, so that parts begin small and grow, and the last ones that S3
// takes are kept for segments, which are as large as it allows.
type plan struct {
	planLimits
	direct int // parts that are sent; further ones are copied from segments
}

func newPlan(l planLimits) plan {
	p := plan{planLimits: l, direct: l.parts}
	if p.capacity() >= l.object {
		return p
	}
	segments := int((l.object-1)/l.segment) + 1
	p.direct = max(l.parts-segments, l.parts/20, 1)
	return p
}

// size is that of part n, from 1, of those that are sent.
func (p plan) size(n int) int64 {
	step := max(1, p.parts/10)
	return min(p.first<<min((n-1)/step, 8), p.top)
}

// capacity is how much fits into the parts that are sent.
func (p plan) capacity() (sum int64) {
	for n := 1; n <= p.direct; n++ {
		sum += p.size(n)
	}
	return sum
}

// limit is the longest stream that fits, for a plan with few parts or a large
// MaxObject.
func (p plan) limit() int64 {
	return min(p.object, p.capacity()+int64(p.parts-p.direct)*p.segment)
}

// pieceSize is that of the pieces in which S3 copies so many bytes.
func (p plan) pieceSize(rest int64) int64 {
	return max(p.copied, (rest-1)/int64(p.parts-1)+1)
}

// check fails when size bytes are too many.
func (p plan) check(path string, size, limit int64) error {
	if size <= limit {
		return nil
	}
	return fmt.Errorf("write %s: %w: it takes %d bytes in %d parts; nothing was kept", path, ErrTooLarge, limit, p.parts)
}

// maxSlots is how many parts of one writer are in memory at most.
const maxSlots = 6

// tokens are what parts in memory are paid with: see cost.
const tokens = 2 * maxSlots

// cost is the tokens that a part of this size takes, so that those of all
// writers stay within budget.
func cost(size int64, writers int32) int {
	slots := min(max(budget/int64(max(writers, 1))/size, 2), maxSlots)
	return int((tokens + slots - 1) / slots)
}
