package pack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// maxPackedFrame bounds what is gathered of a frame before a worker gets it. A
// frame of at most 8 MiB is larger than this only when it is cut into a great
// many tiny blocks; it is then unpacked as it comes, like a large one.
const maxPackedFrame = MaxBlockSize + MaxBlockSize/4

// zstdPieces finds frames by their headers. A frame with a modest content size
// goes to a worker whole; any other is unpacked here, a part at a time.
type zstdPieces struct {
	src    *bufio.Reader
	whole  *zstd.Decoder // for the workers
	parts  *zstd.Decoder // for large frames
	inPart bool
	frames int
	head   zstd.Header // of the frame that next looks at
	frame  frameReader // its bytes
}

// next implements pieces. It alone reads src, and only one goroutine calls it.
func (z *zstdPieces) next(p *piece) (bool, error) {
	p.packed = p.packed[:0]
	p.err = nil
	for {
		if z.inPart {
			n, err := z.part(p)
			if n > 0 || err != nil {
				return true, err
			}
		}
		if err := z.header(); err != nil {
			return false, err
		}
		head := &z.head
		if head.Skippable {
			if _, err := discard(z.src, int64(head.HeaderSize)+int64(head.SkippableSize)); err != nil {
				return false, err
			}
			continue
		}
		z.frames++
		z.frame = frameReader{src: z.src, left: head.HeaderSize, checksum: head.HasCheckSum}
		if !head.HasFCS || head.FrameContentSize > MaxBlockSize {
			if err := z.startParts(&z.frame); err != nil {
				return false, err
			}
			continue
		}
		whole, err := p.gather(&z.frame)
		if err != nil {
			return false, err
		}
		if whole {
			return true, z.setUp()
		}
		if err := z.startParts(io.MultiReader(bytes.NewReader(p.packed), &z.frame)); err != nil {
			return false, err
		}
		p.packed = nil // the decoder reads from it now
	}
}

// header reads the next frame's header into z.head and leaves it in src. io.EOF
// is a good end.
func (z *zstdPieces) header() error {
	b, err := z.src.Peek(zstd.HeaderMaxSize)
	if len(b) == 0 && err == io.EOF && z.frames > 0 {
		return io.EOF
	}
	if err != nil && err != io.EOF {
		return err
	}
	head := &z.head
	if err := head.Decode(b); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return io.ErrUnexpectedEOF
		}
		return fmt.Errorf("at the start of a frame: %w", err)
	}
	if head.DictionaryID != 0 {
		return fmt.Errorf("the frame needs dictionary %d, and backups have none", head.DictionaryID)
	}
	if head.WindowSize > maxWindow {
		return fmt.Errorf("a window of %d bytes is more than the %d that are allowed", head.WindowSize, maxWindow)
	}
	return nil
}

// gather reads a frame into p.packed, which grows with the data. It returns
// false when the frame is longer than a worker should get.
func (p *piece) gather(frame io.Reader) (whole bool, err error) {
	for len(p.packed) < maxPackedFrame {
		if len(p.packed) == cap(p.packed) {
			grown := make([]byte, len(p.packed), max(64<<10, 2*cap(p.packed)))
			copy(grown, p.packed)
			p.packed = grown
		}
		n, err := frame.Read(p.packed[len(p.packed):cap(p.packed)])
		p.packed = p.packed[:len(p.packed)+n]
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

func (z *zstdPieces) setUp() (err error) {
	if z.whole == nil {
		z.whole, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
			zstd.WithDecoderMaxMemory(MaxBlockSize), zstd.WithDecoderMaxWindow(maxWindow))
	}
	return err
}

// finish implements pieces: it unpacks a whole frame, and leaves a part alone.
func (z *zstdPieces) finish(p *piece) {
	if len(p.packed) > 0 {
		p.plain, p.err = z.whole.DecodeAll(p.packed, p.plain[:0])
	}
}

func (z *zstdPieces) startParts(frame io.Reader) (err error) {
	z.inPart = true
	if z.parts == nil {
		z.parts, err = zstd.NewReader(frame, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		return err
	}
	return z.parts.Reset(frame)
}

// part unpacks the next part of a large frame; none are left when it returns 0
// and no error.
func (z *zstdPieces) part(p *piece) (int, error) {
	if cap(p.plain) < DefaultBlockSize {
		p.plain = make([]byte, DefaultBlockSize)
	}
	n, err := parallel.ReadFull(z.parts, p.plain[:DefaultBlockSize])
	p.plain = p.plain[:n]
	if err == io.EOF {
		z.inPart, err = false, nil
	}
	return n, err
}

func (z *zstdPieces) close() {
	for _, d := range []*zstd.Decoder{z.whole, z.parts} {
		if d != nil {
			d.Close()
		}
	}
}

func discard(src *bufio.Reader, n int64) (int64, error) {
	got, err := io.CopyN(io.Discard, src, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return got, err
}

// frameReader reads one zstd frame from src, and not a byte more: header,
// blocks by their 3-byte headers (RFC 8878, 3.1.1.2), checksum.
type frameReader struct {
	src      *bufio.Reader
	left     int  // bytes until the next block header
	last     bool // the last block's header was read
	checksum bool // 4 more bytes are after the last block
}

func (f *frameReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for f.left == 0 {
		if f.last {
			if !f.checksum {
				return 0, io.EOF
			}
			f.checksum = false
			f.left = 4
			break
		}
		if err := f.nextBlock(); err != nil {
			return 0, err
		}
	}
	n, err := f.src.Read(p[:min(len(p), f.left)])
	f.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// nextBlock peeks at a block header, so that it is read as part of the block.
func (f *frameReader) nextBlock() error {
	b, err := f.src.Peek(3)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	var size int
	f.last, size, err = blockHeader(b)
	f.left = 3 + size
	return err
}

// blockHeader reads the 3 bytes that a block begins with: whether it is the last,
// and how many bytes follow.
func blockHeader(b []byte) (last bool, size int, err error) {
	head := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	size = int(head >> 3)
	switch head >> 1 & 3 {
	case 1: // run of one byte
		size = 1
	case 3:
		return false, 0, errors.New("a block of a reserved type")
	}
	return head&1 != 0, size, nil
}
