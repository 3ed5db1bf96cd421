package stream

import (
	"crypto/fips140"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// Reader opens a message in order. Every byte it returns is authentic and in its place;
// that the message ends there is known only with io.EOF. A Reader is not safe for
// concurrent use.
type Reader struct {
	chunker
	src    io.Reader
	raw    []byte // what src gives is read into here
	sealed []byte // the part of raw that is not opened yet
	srcEnd bool   // src returned io.EOF
	plain  []byte // chunks are opened into here
	unread []byte // the rest of plain
	index  int64  // of the next chunk
	err    error  // sticky
}

// NewReader reads the 56-byte header from src and checks the commitment against the 32-byte
// key and the context. The errors are ErrKeySize, ErrTruncated, ErrCommitment, and those of
// src. The key is not kept.
func NewReader(src io.Reader, key, context []byte) (*Reader, error) {
	header := make([]byte, HeaderSize)
	switch _, err := parallel.ReadFull(src, header); {
	case err == io.EOF:
		return nil, ErrTruncated
	case err != nil:
		return nil, fmt.Errorf("reading the header of the sealed data: %w", err)
	}
	s, err := open(header, key, context)
	if err != nil {
		return nil, err
	}
	return &Reader{chunker: chunker{schedule: s}, src: src}, nil
}

// open derives a header's schedule and checks its commitment, in constant time.
func open(header, key, context []byte) (*schedule, error) {
	s, err := derive(key, header[:saltSize], context)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(s.commitment[:], header[saltSize:]) != 1 {
		return nil, ErrCommitment
	}
	s.header = [HeaderSize]byte(header)
	return s, nil
}

// Header returns the salt and commitment, which bind the message to its key.
func (r *Reader) Header() [HeaderSize]byte { return r.header }

// Open returns the message sealed under key and context, all of it verified. It is for
// messages that fit in memory.
func Open(key, context, sealed []byte) ([]byte, error) {
	if len(sealed) < HeaderSize {
		return nil, ErrTruncated
	}
	s, err := open(sealed[:HeaderSize], key, context)
	if err != nil {
		return nil, err
	}
	if len(sealed) == HeaderSize {
		return nil, ErrTruncated
	}
	c := chunker{schedule: s}
	var plain []byte
	fips140.WithoutEnforcement(func() { plain, err = c.openRun(nil, sealed[HeaderSize:], 0) })
	if err == nil && (len(sealed)-HeaderSize)%sealedChunkSize == 0 {
		err = ErrTruncated // all chunks are full: the final one is missing
	}
	if err != nil {
		return nil, err
	}
	return plain, nil
}

// Read opens chunks on the caller's goroutine. It returns io.EOF if, and only if, the whole
// message verified. The other errors are *ChunkError, *TrailingError, ErrTruncated,
// ErrTooLong and those of the source; every error stays.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.unread) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

func (r *Reader) next() {
	switch {
	case r.raw == nil: // for one chunk: many messages are small
		r.raw = make([]byte, sealedChunkSize)
		r.plain = make([]byte, 0, ChunkSize)
	case len(r.raw) == sealedChunkSize:
		r.raw = make([]byte, runChunks*sealedChunkSize)
	}
	// A full chunk is never the final one, so no look-ahead is needed.
	if len(r.sealed) < sealedChunkSize && !r.srcEnd {
		have := copy(r.raw, r.sealed)
		n, err := parallel.ReadAtLeast(r.src, r.raw[have:], sealedChunkSize-have)
		r.sealed = r.raw[:have+n]
		if err == io.EOF {
			r.srcEnd = true
		} else if err != nil {
			r.err = err
			return
		}
	}
	chunk := r.sealed[:min(len(r.sealed), sealedChunkSize)]
	if len(chunk) == 0 {
		r.err = ErrTruncated // the chunk before was full, so not the final one
		return
	}
	r.sealed = r.sealed[len(chunk):]
	fips140.WithoutEnforcement(func() { r.unread, r.err = r.openRun(r.plain, chunk, r.index) })
	if r.err == nil && len(chunk) < sealedChunkSize {
		r.err = io.EOF // Read hands out unread first
	}
	r.index++
}

// WriteTo opens the rest of the message on all cores and writes it to dst; io.Copy uses it.
// It returns nil if, and only if, the whole message verified and was written. Otherwise dst
// has exactly the chunks before the first bad one, and the error is one of Read's, or that
// of dst.
func (r *Reader) WriteTo(dst io.Writer) (int64, error) {
	var total int64
	write := func(p []byte) error {
		n, err := parallel.WriteFull(dst, p)
		total += int64(n)
		return err
	}
	if err := write(r.unread); err != nil {
		r.err = err
	}
	r.unread = nil
	if r.err == io.EOF {
		return total, nil
	}
	if r.err != nil {
		return total, r.err
	}
	runs := newRuns(r.schedule, func(run *run) { run.out, run.err = run.openRun(run.out[:0], run.in, run.index) })
	fill := func(run *run) (bool, error) {
		if run.in == nil {
			run.in = make([]byte, runChunks*sealedChunkSize)
			run.out = make([]byte, 0, runChunks*ChunkSize)
		}
		buf := run.in[:cap(run.in)]
		n := copy(buf, r.sealed)
		r.sealed = nil
		var err error
		if !r.srcEnd {
			var got int
			got, err = parallel.ReadFull(r.src, buf[n:])
			n += got
		}
		if err == nil && n < len(buf) {
			err = io.EOF
		}
		run.in, run.index = buf[:n], r.index
		r.index += int64(n / sealedChunkSize)
		if err == io.EOF && n%sealedChunkSize == 0 {
			err = ErrTruncated
		} else if err != nil && err != io.EOF {
			// Whole chunks before the failure are good.
			run.in = buf[:n/sealedChunkSize*sealedChunkSize]
		}
		return true, err
	}
	err := pipe(runs, fill, func(run *run) error {
		if err := write(run.out); err != nil {
			return err
		}
		return run.err
	})
	for i := range runs {
		clear(runs[i].out[:cap(runs[i].out)]) // plaintext
	}
	r.err = err
	if err == nil {
		r.err = io.EOF
	}
	return total, err
}
