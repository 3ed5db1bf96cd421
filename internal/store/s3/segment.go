package s3store

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// segmentMark is in the names of segments, which are never read as backups.
const segmentMark = ".segment-"

// segment is a part of an upload that is composed as an object of its own.
type segment struct {
	up      *upload
	n       int // which part it becomes
	parts   int // that were given out
	sending sync.WaitGroup
	made    stamp
	done    chan struct{} // closed when it is a part of the upload
	deleted bool
}

// slot returns the place of the next part. The caller calls sent when the part was sent, or
// failed.
func (w *Writer) slot() (up *upload, n int, sent func(), err error) {
	p := w.plan
	if w.n < p.direct {
		w.n++
		return w.up, w.n, func() {}, nil
	}
	perSegment := int(p.segment / p.part)
	seg := w.segment()
	if seg == nil || seg.parts == perSegment {
		w.endSegment()
		if w.n == p.parts {
			return nil, 0, nil, p.tooLarge(w.o.path)
		}
		if len(w.segments) == 0 {
			if able, err := w.s.unequal(w.ctx, w.c, w.o); err != nil || !able {
				return nil, 0, nil, cmp.Or(err, p.equal().tooLarge(w.o.path))
			}
		}
		w.n++
		name := fmt.Sprintf("%s%05d", segmentMark, w.n)
		part := object{path: store.Beside(w.o.path, name), bucket: w.o.bucket, key: w.o.key + name, signed: true}
		begun, err := w.s.begin(w.ctx, w.c, part)
		if err != nil {
			return nil, 0, nil, err
		}
		seg = &segment{up: begun, n: w.n, done: make(chan struct{})}
		w.segments = append(w.segments, seg)
	}
	seg.parts++
	seg.sending.Add(1)
	return seg.up, seg.parts, seg.sending.Done, nil
}

// segment is the one being sent, or nil.
func (w *Writer) segment() *segment {
	if len(w.segments) == 0 {
		return nil
	}
	return w.segments[len(w.segments)-1]
}

// endSegment adds the sent segment to the upload, concurrently, and after the segment
// before it: at most two exist.
func (w *Writer) endSegment() {
	seg := w.segment()
	if seg == nil {
		return
	}
	var before *segment
	if len(w.segments) > 1 {
		before = w.segments[len(w.segments)-2]
		<-before.done
	}
	w.wg.Go(func() {
		defer close(seg.done)
		seg.sending.Wait()
		if err := w.adopt(seg); err != nil {
			_ = w.fail(err)
		}
	})
}

func (w *Writer) adopt(seg *segment) (err error) {
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if seg.made, err = seg.up.complete(w.ctx); err != nil {
		return err
	}
	seg.up.id = ""
	o := seg.up.o
	if seg.up.unproved {
		w.up.failedProof()
	}
	if err := w.up.copy(w.ctx, seg.n, source{o.bucket, o.key, seg.made.etag}, 0, seg.up.size, seg.up.size); err != nil {
		return err
	}
	// With a default lock on the bucket it stays until that ends, and Sweep deletes it.
	if err := w.s.delete(w.ctx, w.c, o.path, o.bucket, o.key, seg.made); err != nil && !isNotDeleted(err) {
		return err
	}
	seg.deleted = true
	return nil
}

// dropSegments deletes segments that are not part of an upload.
func (w *Writer) dropSegments() (err error) {
	ctx, cancel := w.s.cleanup(w.ctx)
	defer cancel()
	for _, seg := range w.segments {
		switch {
		case seg.deleted:
		case seg.up.id != "":
			err = seg.up.abort(ctx)
		default:
			err = w.s.fault(ctx, "delete", seg.up.o.path, w.s.delete(ctx, w.c, seg.up.o.path, seg.up.o.bucket, seg.up.o.key, seg.made))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plan has the sizes of an upload's parts. All sent parts have one size, which some servers
// demand (Cloudflare R2). The last numbers that S3 allows are for segments of its largest
// size.
type plan struct {
	part    int64 // size of those that are sent
	least   int64 // that a part has, unless it is the last
	segment int64 // of the largest that S3 copies
	copied  int64 // of a piece that S3 copies between objects, where that suffices
	object  int64 // the most that it takes
	parts   int
	direct  int // parts that are sent; later ones are copied from segments
}

func (p plan) split() plan {
	p.direct = p.parts
	if p.limit() < p.object {
		segments := int((p.object-1)/p.segment) + 1
		p.direct = max(p.parts-segments, p.parts/20, 1)
	}
	return p
}

// equal is the plan for a server that demands equal parts.
func (p plan) equal() plan {
	p.direct = p.parts
	return p
}

// holding is the plan with parts large enough for so many bytes, or the largest.
func (p plan) holding(size int64) plan {
	p.part = max(p.part, min(size/int64(p.parts)/mib*mib+mib, gib))
	return p
}

// whole is the size up to which an object with a new head is sent whole, because S3 copies
// no range of an object of 5 MiB, and the least size of a copied range where parts must be
// equal.
func (p plan) whole() int64 { return p.least / 5 * 8 }

func (p plan) limit() int64 {
	return min(p.object, p.part*int64(p.direct)+int64(p.parts-p.direct)*p.segment)
}

// pieceSize is the size of the pieces in which S3 copies rest bytes.
func (p plan) pieceSize(rest int64) int64 {
	return max(p.copied, (rest-1)/int64(p.parts-1)+1)
}

func (p plan) tooLarge(path string) error {
	return fmt.Errorf("write %s: %w: it takes %d bytes, in %d parts of %d MiB; nothing was kept", path, ErrTooLarge, p.limit(), p.parts, p.part>>20)
}

// maxSlots bounds the parts of a writer in memory.
const maxSlots = 6

// tokens pay for parts in memory: see cost.
const tokens = 2 * maxSlots

// cost is the tokens for a part of this size, so that all writers stay within budget.
func cost(size int64, writers int32) int {
	slots := min(max(budget/int64(max(writers, 1))/size, 2), maxSlots)
	return int((tokens + slots - 1) / slots)
}
