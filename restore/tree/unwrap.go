package tree

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow is the memory that a zstd stream may ask for, as of zstd itself.
const maxWindow = 128 << 20

// Unwrapped is an archive, without the compression that it had before it was sealed.
type Unwrapped struct {
	Format string // gzip, zstd, xz or bzip2, or empty
	src    *sealedSource
	in     *bufio.Reader // of src
	from   io.Reader
	stop   func()
}

// sealedSource keeps the error of what is compressed: it comes before what the
// decompressor makes of it.
type sealedSource struct {
	io.Reader
	err error
}

func (s *sealedSource) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.Reader.Read(p)
	s.err = err
	return n, err
}

var magics = []struct {
	format, magic string
}{{"gzip", "\x1f\x8b"}, {"zstd", "\x28\xb5\x2f\xfd"}, {"xz", "\xfd7zXZ\x00"}, {"bzip2", "BZh"}}

// Unwrap reads src through a decompressor if its first bytes are those of gzip,
// zstd, xz or bzip2, and unchanged otherwise. An error of src stays what it is; a
// stream that does not decompress to its end wraps [ErrArchive]. The caller closes
// it; src is not closed. Memory is what the stream asks for, of zstd at most 128 MiB.
func Unwrap(src io.Reader) (*Unwrapped, error) {
	u := &Unwrapped{src: &sealedSource{Reader: src}, stop: func() {}}
	in := bufio.NewReaderSize(u.src, 64<<10)
	u.in, u.from = in, in
	head, err := in.Peek(8)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			u.Format = m.format
		}
	}
	switch u.Format {
	case "gzip":
		u.from, err = gzip.NewReader(in)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1)); err == nil {
			u.from, u.stop = z, z.Close
		}
	case "xz":
		u.from, err = xz.NewReader(in)
	case "bzip2":
		u.from, err = bzip2.NewReader(in), nil
	default:
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
	switch {
	case u.src.err != nil && u.src.err != io.EOF:
		return u.src.err
	case u.Format == "", err == nil, err == io.EOF:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it ends early")
	}
	return fmt.Errorf("%w: what was sealed is a %s stream that does not decompress: %w", ErrArchive, u.Format, err)
}

// Read returns the next bytes of the archive.
func (u *Unwrapped) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	if err == io.EOF && u.Format != "" {
		// The end of what was sealed may be behind that of the stream.
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
