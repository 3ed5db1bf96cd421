package pack

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// Reader unpacks a stream in order. It is not safe for concurrent use. Errors
// stay: those of the source as they are, and *Error for a stream that does not
// unpack. A Reader that is given up early needs no closing.
type Reader struct {
	codec   Codec
	src     *source
	pieces  pieces
	current piece // what Read works on
	unread  []byte
	err     error
}

// piece is a bounded part of the output, on its way through the workers.
type piece struct {
	packed []byte // a whole frame, when that is what it is
	plain  []byte
	err    error
}

// pieces cuts a packed stream up. next fills the piece with the next part of
// the input, and finish, which may run on several goroutines at once, unpacks
// what next left packed.
type pieces interface {
	next(p *piece) (ok bool, err error)
	finish(p *piece)
	close()
}

// source remembers the error of the reader below, so that it is not taken for
// one of the decoder's.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// NewReader returns a Reader of src, which was packed with codec. It reads
// nothing yet.
func NewReader(src io.Reader, codec Codec) (*Reader, error) {
	if _, err := ParseCodec(string(codec)); err != nil {
		return nil, err
	}
	r := &Reader{codec: codec, src: &source{r: src}}
	switch codec {
	case Zstd:
		r.pieces = &zstdPieces{src: bufio.NewReaderSize(r.src, 64<<10)}
	case Gzip:
		r.pieces = &gzipPieces{src: bufio.NewReaderSize(r.src, 64<<10)}
	}
	return r, nil
}

// fault sorts the errors of pieces into those of the source and the codec's.
func (r *Reader) fault(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case r.src.err != nil:
		return r.src.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{r.codec, errors.New("the packed stream ends too early")}
	}
	return &Error{r.codec, err}
}

// Read unpacks on the caller's goroutine.
func (r *Reader) Read(p []byte) (int, error) {
	if r.pieces == nil {
		return r.src.r.Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.unread) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		ok, err := r.pieces.next(&r.current)
		r.err = r.fault(err)
		if ok {
			r.pieces.finish(&r.current)
			r.unread = r.current.plain
			if r.current.err != nil { // of a whole frame: never the source's
				r.unread, r.err = nil, &Error{r.codec, r.current.err}
			}
		}
		if r.err != nil {
			r.pieces.close()
		}
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// WriteTo unpacks the rest of the stream and writes it to dst; io.Copy uses it.
// zstd frames with a content size of at most 8 MiB are unpacked on all cores;
// larger ones, and gzip members, whose end is not to be found without
// unpacking, on one, while the source's work goes on next to it.
func (r *Reader) WriteTo(dst io.Writer) (int64, error) {
	if r.pieces == nil {
		return io.Copy(dst, r.src.r)
	}
	n, err := parallel.WriteFull(dst, r.unread)
	total := int64(n)
	r.unread = r.unread[n:]
	if err != nil {
		return total, err
	}
	if r.err == nil {
		workers := runtime.GOMAXPROCS(0)
		err := parallel.Run(workers, make([]piece, workers+2), parallel.Stages[piece]{
			Fill: r.pieces.next,
			Work: r.pieces.finish,
			Drain: func(p *piece) error {
				if p.err != nil { // of a whole frame: never the source's
					return &Error{r.codec, p.err}
				}
				n, err := parallel.WriteFull(dst, p.plain)
				total += int64(n)
				if err != nil {
					return &sinkError{err}
				}
				return nil
			},
		})
		r.pieces.close()
		var sink *sinkError
		switch {
		case errors.As(err, &sink):
			r.err = sink.error
		case errors.As(err, new(*Error)):
			r.err = err
		default:
			r.err = cmp.Or(r.fault(err), io.EOF)
		}
	}
	if r.err == io.EOF {
		return total, nil
	}
	return total, r.err
}

type sinkError struct{ error }

type gzipPieces struct {
	src *bufio.Reader
	gz  *gzip.Reader
}

func (g *gzipPieces) next(p *piece) (bool, error) {
	if g.gz == nil {
		gz, err := gzip.NewReader(g.src)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // even an empty input is one member
		}
		if err != nil {
			return false, err
		}
		g.gz = gz
	}
	if p.plain == nil {
		p.plain = make([]byte, DefaultBlockSize)
	}
	n, err := parallel.ReadFull(g.gz, p.plain[:cap(p.plain)])
	p.plain = p.plain[:n]
	return true, err
}

func (*gzipPieces) finish(*piece) {}
func (*gzipPieces) close()        {}
