package stream

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// ReaderAt opens any part of a message. It is safe for concurrent use when its source is.
// NewReaderAt authenticates the length, and ReadAt each chunk before it returns any of it.
type ReaderAt struct {
	*schedule
	src    io.ReaderAt
	sealed int64 // length of the message in src
	size   int64 // length of the plaintext
	pool   sync.Pool
}

// readAtRun is how many chunks ReadAt reads at once: 2 MiB, for sources in a network.
const readAtRun = 128

type scratch struct {
	chunker
	buf []byte // one chunk, or as many as were read at once
}

func (sc *scratch) room(n int64) []byte {
	sc.buf = slices.Grow(sc.buf[:0], int(n))[:n]
	return sc.buf
}

// NewReaderAt reads the header of the message in the first size bytes of src, checks the
// commitment, and authenticates the final chunk and with it the length. The errors are
// ErrKeySize, ErrTruncated, ErrTooLong, ErrCommitment, *ChunkError, and those of src.
// Trailing bytes look like a damaged final chunk here.
func NewReaderAt(src io.ReaderAt, size int64, key, context []byte) (*ReaderAt, error) {
	if len(key) != KeySize {
		return nil, ErrKeySize
	}
	if size < HeaderSize {
		return nil, ErrTruncated
	}
	header := make([]byte, HeaderSize)
	if err := readAt(src, header, 0); err != nil {
		return nil, fmt.Errorf("reading the header of the sealed data: %w", err)
	}
	s, err := open(header, key, context)
	if err != nil {
		return nil, err
	}
	plain, err := PlainSize(size)
	if err != nil {
		return nil, err
	}
	r := &ReaderAt{schedule: s, src: src, sealed: size, size: plain}
	r.pool.New = func() any { return &scratch{chunker: chunker{schedule: s}} }
	sc := r.pool.Get().(*scratch)
	defer r.pool.Put(sc)
	if _, err := r.chunk(sc, plain/ChunkSize); err != nil {
		return nil, err
	}
	return r, nil
}

// readAt fills p from off. An io.ReaderAt may return io.EOF with a full p.
func readAt(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return ErrTruncated // shorter than its size was said to be
	}
	return err
}

// Header returns the salt and commitment, which bind the message to its key.
func (r *ReaderAt) Header() [HeaderSize]byte { return r.header }

// Size returns the length of the plaintext, which is authentic.
func (r *ReaderAt) Size() int64 { return r.size }

// chunk returns the plaintext of chunk i, which aliases sc.
func (r *ReaderAt) chunk(sc *scratch, i int64) ([]byte, error) {
	sealed, err := r.sealedChunks(sc, i, 1)
	if err != nil {
		return nil, err
	}
	return r.openChunk(sc, sealed, i)
}

// sealedChunks reads n chunks from i on, or as many as there are.
func (r *ReaderAt) sealedChunks(sc *scratch, i, n int64) ([]byte, error) {
	off := chunkOffset(i)
	sealed := sc.room(min(n*sealedChunkSize, r.sealed-off))
	if err := readAt(r.src, sealed, off); err != nil {
		return nil, fmt.Errorf("reading chunk %d: %w", i, err)
	}
	return sealed, nil
}

// openChunk opens the first of the sealed chunks, chunk i, in place.
func (r *ReaderAt) openChunk(sc *scratch, sealed []byte, i int64) ([]byte, error) {
	sealed = sealed[:min(sealedChunkSize, len(sealed))]
	var plain []byte
	var err error
	fips140.WithoutEnforcement(func() { plain, err = sc.aead.Open(sealed[:0], sc.nonceOf(i), sealed, nil) })
	if err != nil {
		return nil, &ChunkError{Index: i, Offset: chunkOffset(i), Last: i == r.size/ChunkSize}
	}
	return plain, nil
}

// ReadAt implements io.ReaderAt. The n bytes are authentic even with an error.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("reading the sealed data at a negative offset")
	}
	sc := r.pool.Get().(*scratch)
	defer r.pool.Put(sc)
	limit := int64(readAtRun)
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		i := off / ChunkSize
		last := min(off+int64(len(p)-n), r.size) - 1
		sealed, err := r.sealedChunks(sc, i, min(last/ChunkSize-i+1, limit))
		if err != nil && limit > 1 {
			limit = 1 // return the good part before the error
			continue
		}
		if err != nil {
			return n, err
		}
		for ; len(sealed) > 0; i++ {
			plain, err := r.openChunk(sc, sealed, i)
			if err != nil {
				return n, err
			}
			sealed = sealed[min(sealedChunkSize, len(sealed)):]
			got := copy(p[n:], plain[off%ChunkSize:])
			n += got
			off += int64(got)
		}
	}
	return n, nil
}
