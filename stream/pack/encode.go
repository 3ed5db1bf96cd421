package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// coder packs blocks and unpacks what was packed. It is for one goroutine.
type coder interface {
	// encode appends a frame or member of block to dst.
	encode(dst, block []byte) []byte
	// ordinary does the same by the general encoder.
	ordinary(dst, block []byte) []byte
	// decode appends the content of packed, of n bytes if it is good, to dst.
	decode(dst, packed []byte, n int) ([]byte, error)
	// wipe clears plaintext.
	wipe()
}

// prover packs blocks, each by a coder that is free, and proves what comes out.
// It is safe for concurrent use.
type prover struct {
	free             chan *proving
	unproved         bool
	frames, differed atomic.Int64
}

type proving struct {
	coder
	plain []byte // what was unpacked again
}

func newProver(o Options) (*prover, error) {
	p := &prover{free: make(chan *proving, runtime.GOMAXPROCS(0)), unproved: o.Unproved}
	var library *zstdLibrary
	for range cap(p.free) {
		if o.Codec == Gzip {
			p.free <- &proving{coder: newGzipCoder(o)}
			continue
		}
		if library == nil {
			var err error
			if library, err = newZstdLibrary(o); err != nil {
				return nil, err
			}
		}
		c := &zstdCoder{zstdLibrary: library, fastest: o.Level == "" || o.Level == Fastest}
		p.free <- &proving{coder: c}
	}
	return p, nil
}

// errDiffers says that twice something else came out than went in.
var errDiffers = fail.New(fail.Failed, "test the memory of this machine, and make the backup again",
	"a block does not unpack to what was packed, twice in a row")

func (p *prover) encode(dst, block []byte) ([]byte, error) {
	c := <-p.free
	defer func() { p.free <- c }()
	at := len(dst)
	packed, ok := c.try(dst, block)
	if p.unproved && ok {
		return packed, nil
	}
	p.frames.Add(1)
	if ok && c.opens(packed[at:], block) {
		return packed, nil
	}
	p.differed.Add(1)
	if dst = c.ordinary(dst[:at], block); !c.opens(dst[at:], block) {
		return dst[:at], errDiffers
	}
	return dst, nil
}

// try is encode; a panic is a fault of the encoder, which is no reason to have no
// backup.
func (c *proving) try(dst, block []byte) (packed []byte, ok bool) {
	defer func() { ok = recover() == nil }()
	return c.encode(dst, block), true
}

func (c *proving) opens(packed, block []byte) bool {
	var err error
	c.plain, err = c.decode(c.plain[:0], packed, len(block))
	return err == nil && bytes.Equal(c.plain, block)
}

func (p *prover) wipe() {
	if p == nil {
		return
	}
	for range cap(p.free) {
		c := <-p.free
		clear(c.plain[:cap(c.plain)])
		c.wipe()
		p.free <- c
	}
}

type zstdLibrary struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newZstdLibrary(o Options) (*zstdLibrary, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstdLevels[o.Level]),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(windowFor(o.BlockSize)),
		zstd.WithSingleSegment(true), // the header then always has the content size
		zstd.WithEncoderCRC(true),
		// Text without repeats, such as hex, still has half its size to lose.
		// By itself the library stores a block in which it finds no match.
		zstd.WithAllLitEntropyCompression(true),
	)
	if err != nil {
		return nil, fmt.Errorf("setting up zstd: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(MaxBlockSize))
	if err != nil {
		return nil, fmt.Errorf("setting up zstd: %w", err)
	}
	return &zstdLibrary{enc, dec}, nil
}

// zstdCoder packs blocks by its own encoder, at the fastest level, and those that
// hardly shrink by the library.
type zstdCoder struct {
	*zstdLibrary
	fastest bool
	own     dumpzstd.Encoder
	sample  []byte
}

// sampleSize is how much of a block is packed to see which way does best.
const sampleSize = 16 << 10

func (c *zstdCoder) encode(dst, block []byte) []byte {
	if !c.fastest || len(block) > dumpzstd.MaxInput {
		return c.ordinary(dst, block)
	}
	sample := block[:min(len(block), sampleSize)]
	if hasFields(sample) {
		return c.own.Encode(dst, block)
	}
	c.sample = c.own.EncodeAny(c.sample[:0], sample)
	size := len(c.sample)
	if bytes.IndexByte(sample, 0) < 0 { // unlike an archive
		// The finder of fields is faster, and may need 4 % more.
		if c.sample = c.own.Encode(c.sample[:0], sample); len(c.sample)*25 <= size*26 {
			return c.own.Encode(dst, block)
		}
	}
	if size > len(sample)/4*3 {
		return c.ordinary(dst, block)
	}
	return c.own.EncodeAny(dst, block)
}

// hasFields says whether a tab follows a digit or a letter every hundred bytes on
// average. In source code tabs begin lines.
func hasFields(sample []byte) bool {
	want := len(sample) / 100
	for rest := sample; want > 0; want-- {
		i := bytes.IndexByte(rest, '\t')
		for i >= 0 && (i == 0 || rest[i-1] < '0') {
			next := bytes.IndexByte(rest[i+1:], '\t')
			if next < 0 {
				return false
			}
			i += 1 + next
		}
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	return len(sample) >= 100
}

// emptyFrame is a frame of no bytes, with content size and checksum; the
// library would leave the checksum out.
var emptyFrame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x24, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51}

func (c *zstdCoder) ordinary(dst, block []byte) []byte {
	if len(block) == 0 {
		return append(dst, emptyFrame...)
	}
	return c.enc.EncodeAll(block, dst)
}

func (c *zstdCoder) decode(dst, packed []byte, _ int) ([]byte, error) {
	return c.dec.DecodeAll(packed, dst)
}

func (c *zstdCoder) wipe() {
	c.own.Wipe()
	clear(c.sample[:cap(c.sample)]) // it may hold what was stored
}

type gzipCoder struct {
	w   *gzip.Writer
	r   gzip.Reader
	out appender
	in  bytes.Reader
}

// appender is where a member goes; a new bytes.Buffer for each would be garbage.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func newGzipCoder(o Options) *gzipCoder {
	w, err := gzip.NewWriterLevel(nil, gzipLevels[o.Level])
	if err != nil {
		panic("pack: " + err.Error()) // the table holds an impossible level
	}
	return &gzipCoder{w: w}
}

func (c *gzipCoder) encode(dst, block []byte) []byte {
	c.out = dst
	c.w.Reset(&c.out)
	c.w.Write(block) // an appender takes everything
	c.w.Close()
	dst, c.out = c.out, nil
	return dst
}

func (c *gzipCoder) ordinary(dst, block []byte) []byte { return c.encode(dst, block) }

func (c *gzipCoder) decode(dst, packed []byte, n int) ([]byte, error) {
	c.in.Reset(packed)
	if err := c.r.Reset(&c.in); err != nil {
		return nil, err
	}
	if cap(dst) < n+1 {
		dst = make([]byte, n+1)
	}
	got, err := io.ReadFull(&c.r, dst[:n])
	if err != nil {
		return dst[:got], err
	}
	if more, err := c.r.Read(dst[n : n+1]); more > 0 || err != io.EOF { // the sum is checked at the end
		return dst[:n], errors.Join(errors.New("the member does not end where it should"), err)
	}
	return dst[:n], nil
}

func (c *gzipCoder) wipe() {}
