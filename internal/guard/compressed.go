package guard

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxZstdWindow is the zstd tool's default limit. The decoder reserves the declared
	// window; resident memory grows with the output.
	maxZstdWindow = 128 << 20

	compressedBuffer = 64 << 10
)

var errStopped = errors.New("guard: stopped")

// compressed decompresses its input in a goroutine into a checker of its own. Only that
// shows that it is whole: gzip has no lengths to follow, and no format shows whether its
// content was whole.
type compressed struct {
	format Format
	pos    int64
	in     *io.PipeWriter
	done   chan struct{}
	// Both belong to the goroutine until done is closed.
	content *checker
	err     error
}

func newCompressed(f Format, allowEmpty bool) *compressed {
	decode := map[Format]func(io.Writer, *bufio.Reader) error{Gzip: gunzip, Zstd: unzstd, Bzip2: unbzip2}[f]
	pr, pw := io.Pipe()
	c := &compressed{format: f, in: pw, done: make(chan struct{})}
	c.content = &checker{allowEmpty: allowEmpty, nested: true}
	go func() {
		defer close(c.done)
		c.err = decode(c.content, bufio.NewReaderSize(pr, compressedBuffer))
		if c.err == nil {
			c.err = c.content.finish()
		}
		pr.CloseWithError(errStopped)
	}()
	return c
}

func (c *compressed) write(p []byte) error {
	n, err := c.in.Write(p)
	c.pos += int64(n)
	if err != nil {
		return c.finish()
	}
	return nil
}

func (c *compressed) finish() error {
	c.in.Close()
	<-c.done
	if c.err == nil {
		return nil
	}
	e := &IncompleteError{Format: c.format, Offset: c.pos}
	var inner *IncompleteError
	switch {
	case errors.As(c.err, &inner), errors.Is(c.err, ErrEmpty):
		e.Reason, e.Err = "what was compressed is not whole", c.err
	case errors.Is(c.err, io.EOF), errors.Is(c.err, io.ErrUnexpectedEOF):
		e.Reason = "it ends before its end"
	case errors.Is(c.err, zstd.ErrUnknownDictionary):
		e.Reason, e.Err = "it needs a dictionary", ErrUnsupported
	case errors.Is(c.err, zstd.ErrWindowSizeExceeded):
		e.Reason, e.Err = fmt.Sprintf("it needs a window above %d MiB", maxZstdWindow>>20), ErrUnsupported
	default:
		e.Reason = "it does not decompress: " + c.err.Error()
	}
	return e
}

func (c *compressed) close() {
	c.in.CloseWithError(errStopped)
	<-c.done
}

// gunzip iterates over members itself, because an end inside a later member's header must
// not pass for the stream's.
func gunzip(dst io.Writer, src *bufio.Reader) error {
	var z gzip.Reader
	buf := make([]byte, compressedBuffer)
	for {
		if err := z.Reset(src); err != nil {
			return unexpectedEOF(err)
		}
		z.Multistream(false)
		if err := copyAll(dst, &z, buf); err != nil {
			return err
		}
		if _, err := src.Peek(1); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Unpack decompresses a gzip, zstd or bzip2 stream, and returns nil for other formats. Its
// errors, and io.EOF, come when src has been read to its end.
func Unpack(f Format, src *bufio.Reader) (io.Reader, error) {
	switch f {
	case Gzip:
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, unexpectedEOF(err)
		}
		return z, nil
	case Zstd:
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, unexpectedEOF(err)
		}
		return z, nil
	case Bzip2:
		return bzip2.NewReader(src), nil
	}
	return nil, nil
}

// unbzip2 unpacks all streams of a file: the reader goes on by itself.
func unbzip2(dst io.Writer, src *bufio.Reader) error {
	return copyAll(dst, bzip2.NewReader(src), make([]byte, compressedBuffer))
}

func unzstd(dst io.Writer, src *bufio.Reader) error {
	z, err := zstd.NewReader(src,
		zstd.WithDecoderConcurrency(1), // no goroutines of its own
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return unexpectedEOF(err)
	}
	defer z.Close()
	return copyAll(dst, z, make([]byte, compressedBuffer))
}

// copyAll is io.CopyBuffer without its shortcuts, which would ignore the buffer.
func copyAll(dst io.Writer, src io.Reader, buf []byte) error {
	_, err := io.CopyBuffer(dst, struct{ io.Reader }{src}, buf)
	return err
}

func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
