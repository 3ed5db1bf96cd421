// Package pack is the codec between a backup's bytes and the stream that is
// sealed: zstd (RFC 8878), gzip (RFC 1952) or none.
//
// The input is cut into blocks, 1 MiB by default, and each block becomes a
// frame or member of its own, so that packing runs on all cores, and unpacking
// zstd does too. After the zstd frames is a seek table in the zstd seekable
// format. What comes out is an ordinary .zst or .gz file.
//
// [Writer] packs and [Reader] unpacks, in order. [io.Copy] into a Writer
// ([Writer.ReadFrom]) and out of a Reader ([Reader.WriteTo]) works on
// GOMAXPROCS cores; plain Write and Read work on the caller's goroutine. Memory
// is bounded by (GOMAXPROCS+2) × 2 blocks and the coder's own tables, plus 8
// bytes for each block written, 32 MiB at the very most; no goroutine outlives
// a call.
//
// Nothing here is authenticated. Read from a [stream.Reader], and every byte
// that reaches the decompressor is.
package pack

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const (
	// DefaultBlockSize, MinBlockSize and MaxBlockSize bound the piece of input
	// that becomes one frame or member, in bytes.
	DefaultBlockSize = 1 << 20
	MinBlockSize     = 64 << 10
	MaxBlockSize     = 8 << 20

	// maxWindow is the largest zstd window that a Reader accepts.
	maxWindow = 8 << 20
)

// Codec names a way of packing, as the envelope does.
type Codec string

// The codecs of format version 1.
const (
	None Codec = "none"
	Gzip Codec = "gzip"
	Zstd Codec = "zstd"
)

// ParseCodec returns the codec of that name.
func ParseCodec(name string) (Codec, error) {
	c := Codec(name)
	if !slices.Contains([]Codec{None, Gzip, Zstd}, c) {
		return "", fmt.Errorf("unknown codec %q: there are zstd, gzip and none", name)
	}
	return c, nil
}

// Extension returns what a packed file's name ends in: ".zst", ".gz" or "".
func (c Codec) Extension() string {
	return map[Codec]string{Zstd: ".zst", Gzip: ".gz"}[c]
}

// Level trades speed for size.
type Level string

// The levels, from the fastest to the smallest. The zero Level means Fastest,
// which docs/BENCHMARKS.md chose for dumps.
const (
	Fastest Level = "fastest"
	Default Level = "default"
	Better  Level = "better"
	Best    Level = "best"
)

// ParseLevel returns the level of that name.
func ParseLevel(name string) (Level, error) {
	l := Level(name)
	if _, ok := zstdLevels[l]; !ok || l == "" {
		return "", fmt.Errorf("unknown level %q: there are fastest, default, better and best", name)
	}
	return l, nil
}

var zstdLevels = map[Level]zstd.EncoderLevel{
	"":      zstd.SpeedFastest,
	Fastest: zstd.SpeedFastest,
	Default: zstd.SpeedDefault,
	Better:  zstd.SpeedBetterCompression,
	Best:    zstd.SpeedBestCompression,
}

var gzipLevels = map[Level]int{
	"":      gzip.BestSpeed,
	Fastest: gzip.BestSpeed,
	Default: 5,
	Better:  7,
	Best:    gzip.BestCompression,
}

// Options says how to pack. The zero value of each field is its default.
type Options struct {
	Codec     Codec // required
	Level     Level // default Fastest; without meaning for None
	BlockSize int   // default DefaultBlockSize
	// Unproved leaves out that each frame or member is unpacked again and compared
	// with what went in, before it is written.
	Unproved bool
}

func (o *Options) check() error {
	if _, err := ParseCodec(string(o.Codec)); err != nil {
		return err
	}
	if _, ok := zstdLevels[o.Level]; !ok {
		return fmt.Errorf("unknown level %q", string(o.Level))
	}
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if o.BlockSize < MinBlockSize || o.BlockSize > MaxBlockSize {
		return fmt.Errorf("a block of %d bytes is outside %d to %d", o.BlockSize, MinBlockSize, MaxBlockSize)
	}
	return nil
}

// windowFor returns the smallest window that holds a block: a power of two.
func windowFor(blockSize int) int { return 1 << bits.Len(uint(blockSize-1)) }

// ErrClosed is returned when a Writer is used after Close.
var ErrClosed = errors.New("write to a closed packer")

// ErrAborted is returned when a Writer is used after Abort.
var ErrAborted = errors.New("write to a packer that was given up")

// Error says that a packed stream does not unpack. It wraps the decoder's
// words. Errors of the source are returned as they are, and are never an Error.
type Error struct {
	Codec Codec
	Err   error
}

// Error names the codec and says what the decoder said.
func (e *Error) Error() string { return fmt.Sprintf("unpacking %s: %v", e.Codec, e.Err) }

// Fail is the class and the hint of the error.
func (*Error) Fail() (fail.Class, string) {
	return fail.Damaged, "use another copy of this backup, or an older one"
}

// Unwrap returns the decoder's error.
func (e *Error) Unwrap() error { return e.Err }
