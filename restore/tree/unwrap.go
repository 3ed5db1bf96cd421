package tree

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// maxWindow bounds the memory of a zstd stream, as zstd itself does.
const maxWindow = 128 << 20

// Unwrapped is an archive without its compression.
type Unwrapped struct {
	Format guard.Format // Gzip, Zstd, XZ or Bzip2, or Unknown
	src    *sealedSource
	in     *bufio.Reader // of src
	from   io.Reader
	stop   func()
}

// sealedSource keeps the source's error, which precedes the decompressor's.
type sealedSource struct {
	io.Reader
	n   int64
	err error
}

func (s *sealedSource) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.Reader.Read(p)
	s.n += int64(n)
	s.err = err
	return n, err
}

// Unwrap decompresses src if it begins as gzip, zstd, xz or bzip2. Errors of src are kept;
// a stream that does not decompress to its end is a [*guard.IncompleteError]. The caller
// closes it; src is not closed. zstd takes at most 128 MiB of memory.
func Unwrap(src io.Reader) (*Unwrapped, error) {
	u := &Unwrapped{src: &sealedSource{Reader: src}, stop: func() {}}
	in := bufio.NewReaderSize(u.src, 64<<10)
	u.in, u.from = in, in
	head, err := in.Peek(guard.SniffLen)
	if err != nil && err != io.EOF {
		return nil, err
	}
	u.Format, err = guard.Sniff(head), nil
	switch u.Format {
	case guard.Gzip:
		u.from, err = gzip.NewReader(in)
	case guard.Zstd:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1)); err == nil {
			u.from, u.stop = z, z.Close
		}
	case guard.XZ:
		u.from, err = xz.NewReader(in)
	case guard.Bzip2:
		u.from = bzip2.NewReader(in)
	default:
		u.Format = guard.Unknown
		return u, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, u.fault(err)
	}
	return u, nil
}

func (u *Unwrapped) fault(err error) error {
	e := &guard.IncompleteError{Format: u.Format, Offset: u.src.n}
	switch {
	case u.src.err != nil && u.src.err != io.EOF:
		return u.src.err
	case u.Format == guard.Unknown, err == nil, err == io.EOF:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Reason = "it ends before its end"
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		e.Reason, e.Err = fmt.Sprintf("it needs a window above %d MiB", maxWindow>>20), guard.ErrUnsupported
	default:
		e.Reason = "it does not decompress: " + err.Error()
	}
	return e
}

// Read returns the next bytes of the archive.
func (u *Unwrapped) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	if err == io.EOF {
		// The sealed stream may end after the compressed one.
		rest, drained := io.Copy(io.Discard, u.in)
		if drained == nil && rest > 0 {
			drained = errors.New("something follows it")
		}
		if drained != nil {
			err = drained
		}
	}
	return n, u.fault(err)
}

// Close frees what the decompressor holds. It returns nil.
func (u *Unwrapped) Close() error {
	u.stop()
	return nil
}
