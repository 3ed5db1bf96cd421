// Package stream seals and opens long messages with Cobblestone-256, the
// chunked encryption of c2sp.org/chunked-encryption instantiated with SHA-512
// and AES-256-GCM:
//
//	message = salt[24] || commitment[32] || chunk 0 || chunk 1 || … || final chunk
//	key[32] || base IV[12] || commitment[32] =
//	    HKDF-Expand-SHA-512(input key, "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" || 0x00 || salt || context)
//	chunk i = AES-256-GCM(key, nonce = base IV XOR i, 16 KiB of plaintext; the final chunk always holds less)
//
// Use a [Writer] to seal a stream, a [Reader] to open one in order, a
// [ReaderAt] for random access, and [Seal] and [Open] for messages of a few
// bytes. All take a 32-byte input key, uniformly random and never a
// passphrase, and a context: bytes that both sides know and that the
// commitment authenticates.
//
// What a Reader hands out is authentic and in order, but until it has returned
// io.EOF it is a prefix of the message and not the message. Commit to nothing
// (a rename, a transaction) before that.
//
// # Speed and memory
//
// [io.Copy] into a Writer and out of a Reader ([Writer.ReadFrom] and
// [Reader.WriteTo]) works on all cores, GOMAXPROCS of them, and gives the same
// bytes as one core would. It holds GOMAXPROCS+2 runs of 32 chunks, in and out:
// about 1 MiB for each run. Plain Write and Read work on the caller's goroutine
// and hold about 1 MiB at most. Nothing is allocated per chunk, and no
// goroutine outlives a call, so an abandoned Writer or Reader costs nothing.
package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const (
	// KeySize is the length of the input key in bytes.
	KeySize = 32
	// ChunkSize is the plaintext length of every chunk but the final one.
	ChunkSize = 16 << 10
	// TagSize is what AES-256-GCM adds to each chunk.
	TagSize = 16
	// HeaderSize is the length of salt and commitment, which stand first.
	HeaderSize = saltSize + commitmentSize
	// MaxChunks is the largest number of chunks in a message (4 PiB).
	MaxChunks = 1 << 38

	saltSize        = 24
	commitmentSize  = 32
	baseIVSize      = 12
	sealedChunkSize = ChunkSize + TagSize
	infoPrefix      = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

	// A run is what one worker takes at a time. At 32 chunks the hand-off
	// costs about 2 % of the encryption, and a run's input and output still
	// fit a 2 MiB second-level cache.
	runChunks = 32
)

var (
	// ErrKeySize is returned for an input key that is not KeySize bytes.
	ErrKeySize = errors.New("the input key is not 32 bytes")
	// ErrCommitment is returned when the commitment does not match: the key or
	// the context is another one, or the salt or commitment was changed.
	ErrCommitment = errors.New("the key, the context or the header does not fit")
	// ErrTruncated is returned when a message ends where a chunk, or the rest
	// of the header, must follow.
	ErrTruncated = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the sealed data ends too early")
	// ErrTooLong is returned for a message of more than MaxChunks chunks.
	ErrTooLong = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the message is longer than 2^38 chunks")
	// ErrClosed is returned when a Writer is used after Close.
	ErrClosed = errors.New("write to a closed stream")
	// ErrAborted is returned when a Writer is used after Abort.
	ErrAborted = errors.New("write to a stream that was given up")
)

// ChunkError says that a chunk does not verify: it was changed, moved, or cut
// short, and nothing of it was released.
type ChunkError struct {
	Index  int64 // of the chunk, from 0
	Offset int64 // of the sealed chunk's first byte in the message
	// Last says that the data ends with this chunk, so that it may also have
	// been cut short.
	Last bool
}

// Error names the chunk and where it stands.
func (e *ChunkError) Error() string {
	if e.Last {
		return fmt.Sprintf("chunk %d (the last, at byte %d) does not verify: it is damaged or cut short", e.Index, e.Offset)
	}
	return fmt.Sprintf("chunk %d (at byte %d) does not verify: it is damaged", e.Index, e.Offset)
}

// Fail is the class and the hint of the error.
func (*ChunkError) Fail() (fail.Class, string) {
	return fail.Damaged, "use another copy of this backup, or an older one"
}

// TrailingError says that a whole and authentic message is followed by other
// bytes.
type TrailingError struct {
	Offset int64 // of the first byte after the message
}

// Error names where the foreign bytes begin.
func (e *TrailingError) Error() string {
	return fmt.Sprintf("foreign bytes follow the end of the sealed data (at byte %d)", e.Offset)
}

// Fail is the class and the hint of the error.
func (*TrailingError) Fail() (fail.Class, string) {
	return fail.Damaged, "the backup itself is whole: cut the file at that byte, and find out who appended to it"
}

// SealedSize returns the length of a sealed message of n plaintext bytes. It
// panics when n is negative or needs more than MaxChunks chunks.
func SealedSize(n int64) int64 {
	if n < 0 || n/ChunkSize >= MaxChunks {
		panic("stream: impossible message size")
	}
	return HeaderSize + n + (n/ChunkSize+1)*TagSize
}

// PlainSize returns the plaintext length of a sealed message of n bytes. For a
// length that no message has, the error is ErrTruncated or ErrTooLong. The
// result is a claim until the final chunk was authenticated.
func PlainSize(n int64) (int64, error) {
	rest := n - HeaderSize
	last := rest % sealedChunkSize
	switch {
	case rest < TagSize || last < TagSize:
		return 0, ErrTruncated
	case rest/sealedChunkSize >= MaxChunks:
		return 0, ErrTooLong
	}
	return rest/sealedChunkSize*ChunkSize + last - TagSize, nil
}

func chunkOffset(i int64) int64 { return HeaderSize + i*sealedChunkSize }

type schedule struct {
	aead       cipher.AEAD
	baseIV     [baseIVSize]byte
	commitment [commitmentSize]byte
	header     [HeaderSize]byte // as it was read; of a Reader alone
}

// derive is the key derivation of c2sp.org/chunked-encryption (RFC 5869,
// section 2.3, Expand only: the input key is uniformly random already).
func derive(key, salt, context []byte) (*schedule, error) {
	if len(key) != KeySize {
		return nil, ErrKeySize
	}
	info := infoPrefix + string(salt) + string(context)
	okm, err := hkdf.Expand(sha512.New, key, info, KeySize+baseIVSize+commitmentSize)
	if err != nil {
		return nil, fmt.Errorf("deriving the message key: %w", err)
	}
	defer clear(okm)
	s := new(schedule)
	copy(s.baseIV[:], okm[KeySize:])
	copy(s.commitment[:], okm[KeySize+baseIVSize:])
	block, err := aes.NewCipher(okm[:KeySize])
	if err != nil {
		return nil, fmt.Errorf("deriving the message key: %w", err)
	}
	fips140.WithoutEnforcement(func() { s.aead, err = cipher.NewGCM(block) })
	if err != nil {
		return nil, fmt.Errorf("setting up AES-256-GCM: %w", err)
	}
	return s, nil
}

// chunker seals and opens the chunks of one message. It owns a nonce buffer,
// so each goroutine has its own. Callers enter fips140.WithoutEnforcement.
type chunker struct {
	*schedule
	nonce [baseIVSize]byte
}

func (c *chunker) nonceOf(index int64) []byte {
	c.nonce = c.baseIV
	low := c.nonce[baseIVSize-8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^uint64(index))
	return c.nonce[:]
}

// sealRun appends to dst the sealed chunks of plain, of which only the last
// may be short, counting from index.
func (c *chunker) sealRun(dst, plain []byte, index int64) []byte {
	for len(plain) > 0 {
		n := min(len(plain), ChunkSize)
		dst = c.aead.Seal(dst, c.nonceOf(index), plain[:n], nil)
		plain = plain[n:]
		index++
	}
	return dst
}

// openRun appends to dst the plaintext of the sealed chunks, counting from
// index, up to the first that does not verify. Only the last may be short, and
// it is when the message ends with it.
func (c *chunker) openRun(dst, sealed []byte, index int64) ([]byte, error) {
	for len(sealed) > 0 {
		n := min(len(sealed), sealedChunkSize)
		if n < TagSize {
			return dst, ErrTruncated
		}
		if index >= MaxChunks {
			return dst, ErrTooLong
		}
		out, err := c.aead.Open(dst, c.nonceOf(index), sealed[:n], nil)
		if err != nil {
			return dst, c.diagnose(sealed[:n], index)
		}
		dst = out
		sealed = sealed[n:]
		index++
	}
	return dst, nil
}

// diagnose finds out why a chunk does not verify. When a shorter piece of it
// verifies, that piece is the final chunk and the rest was appended: the
// message itself is whole. One chunk's worth of attempts takes some 50 ms, and
// only a failing stream pays it, once.
func (c *chunker) diagnose(sealed []byte, index int64) error {
	scratch := make([]byte, 0, ChunkSize)
	for n := TagSize; n < len(sealed); n++ {
		if _, err := c.aead.Open(scratch, c.nonceOf(index), sealed[:n], nil); err == nil {
			return &TrailingError{Offset: chunkOffset(index) + int64(n)}
		}
	}
	return &ChunkError{Index: index, Offset: chunkOffset(index), Last: len(sealed) < sealedChunkSize}
}
