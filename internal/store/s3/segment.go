package s3store

import (
	"fmt"
	"sync"
)

// segmentMark is in the names of segments, which no reader takes for backups.
const segmentMark = ".segment-"

// segment is a part of an upload that is put together as an object of its own.
type segment struct {
	up      *upload
	n       int // which part it becomes
	parts   int // that were given out
	sending sync.WaitGroup
	made    stamp
	done    chan struct{} // closed when it is a part of the upload
	deleted bool
}

// slot says where the next part goes. The caller calls sent when it is there,
// or failed.
func (w *Writer) slot() (up *upload, n int, sent func(), err error) {
	p := w.s.plan
	if w.n < p.direct {
		w.n++
		return w.up, w.n, func() {}, nil
	}
	perSegment := int(p.segment / p.top)
	seg := w.segment()
	if seg == nil || seg.parts == perSegment {
		w.endSegment()
		if w.n == p.parts {
			return nil, 0, nil, p.check(w.o.path, w.size, w.limit-1)
		}
		w.n++
		name := fmt.Sprintf("%s%05d", segmentMark, w.n)
		part := object{path: w.o.path + name, bucket: w.o.bucket, key: w.o.key + name, signed: true}
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

// segment is the one that is being sent, or nil.
func (w *Writer) segment() *segment {
	if len(w.segments) == 0 {
		return nil
	}
	return w.segments[len(w.segments)-1]
}

// endSegment makes the segment that was sent a part of the upload, beside the
// caller, and after the segment before it: at most two are kept.
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
	if err := w.up.copy(w.ctx, seg.n, source{o.bucket, o.key, seg.made.etag}, 0, seg.up.size); err != nil {
		return err
	}
	// Where the bucket locks everything by default it stays until that ends, and
	// Sweep deletes it.
	if err := w.s.delete(w.ctx, w.c, o.path, o.bucket, o.key, seg.made); err != nil && !isNotDeleted(err) {
		return err
	}
	seg.deleted = true
	return nil
}

// dropSegments takes back those that are no part of anything.
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
