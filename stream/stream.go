// Package stream seals and opens long messages with Cobblestone-256, the chunked encryption
// of c2sp.org/chunked-encryption instantiated with SHA-512 and AES-256-GCM:
//
//	message = salt[24] || commitment[32] || chunk 0 || chunk 1 || … || final chunk
//	key[32] || base IV[12] || commitment[32] =
//	    HKDF-Expand-SHA-512(input key, "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" || 0x00 || salt || context)
//	chunk i = AES-256-GCM(key, nonce = base IV XOR i, 16 KiB of plaintext; the final chunk always holds less)
//
// Use a [Writer] to seal a stream, a [Reader] to open one in order, a [ReaderAt] for random
// access, and [Seal] and [Open] for short messages. All take a 32-byte input key, uniformly
// random and never a passphrase, and a context: bytes that both sides know and that the
// commitment authenticates.
//
// A Reader returns authentic bytes in order, but until io.EOF they are only a prefix of the
// message. Commit to nothing (a rename, a transaction) before that.
//
// # Speed and memory
//
// [io.Copy] into a Writer and out of a Reader ([Writer.ReadFrom] and [Reader.WriteTo]) uses
// GOMAXPROCS cores, with the same bytes as one core. It holds GOMAXPROCS+2 runs of 32
// chunks, about 1 MiB each with input and output. Write and Read work on the caller's
// goroutine and hold about 1 MiB. Nothing is allocated per chunk, and no goroutine outlives
// a call, so a Writer or Reader can be abandoned.
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
	// in bytes, of the input key
	KeySize = 32
	// ChunkSize is the plaintext length of every chunk but the final one.
	ChunkSize = 16 << 10
	// TagSize is what AES-256-GCM adds to each chunk.
	TagSize = 16
	// HeaderSize is the length of salt and commitment, at the beginning.
	HeaderSize = saltSize + commitmentSize
	// MaxChunks is the largest number of chunks in a message (4 PiB).
	MaxChunks = 1 << 38

	saltSize        = 24
	commitmentSize  = 32
	baseIVSize      = 12
	sealedChunkSize = ChunkSize + TagSize
	infoPrefix      = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

	// A run is a worker's unit. At 32 chunks the hand-over costs about 2 % of the
	// encryption, and input and output fit a 2 MiB second-level cache.
	runChunks = 32
)

var (
	// ErrKeySize is returned for an input key of another size than KeySize.
	ErrKeySize = errors.New("the input key is not 32 bytes")
	// ErrCommitment is returned for another key or context, or a changed salt or
	// commitment.
	ErrCommitment = errors.New("the key, the context or the header does not fit")
	// ErrTruncated is returned when a message ends before its final chunk, or within the
	// header.
	ErrTruncated = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the sealed data ends too early")
	// ErrTooLong is returned for a message of more than MaxChunks chunks.
	ErrTooLong = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the message is longer than 2^38 chunks")
	// ErrClosed is returned by a Writer after Close.
	ErrClosed = errors.New("write to a closed stream")
	// ErrAborted is returned by a Writer after Abort.
	ErrAborted = errors.New("write to a stream that was given up")
)

// ChunkError is a chunk that does not verify: it was changed, moved, or cut short. Nothing
// of it was released.
type ChunkError struct {
	Index  int64 // of the chunk, from 0
	Offset int64 // of the sealed chunk's first byte in the message
	// Last means that the data ends with this chunk, which may be cut short.
	Last bool
}

// Error names the chunk and its place.
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

// TrailingError means that bytes follow a whole and authentic message.
type TrailingError struct {
	Offset int64 // of the first byte after the message
}

// Error names where the foreign bytes begin.
func (e *TrailingError) Error() string {
	return fmt.Sprintf("foreign bytes follow the end of the sealed data (at byte %d)", e.Offset)
}

// Fail is the class and the hint of the error.
func (*TrailingError) Fail() (fail.Class, string) {
	return fail.Damaged, "cut the file at that byte, and find out who appended to it: the backup itself is whole"
}

// PlainSize returns the plaintext length of a sealed message of n bytes, or ErrTruncated or
// ErrTooLong when no message has that length. The result is a claim until the final chunk
// is authenticated.
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

// derive is the key derivation of c2sp.org/chunked-encryption (RFC 5869, section 2.3,
// Expand only: the input key is uniformly random already).
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

// chunker seals and opens the chunks of one message. It owns a nonce buffer, so each
// goroutine has its own. Callers enter fips140.WithoutEnforcement.
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

// sealRun appends the sealed chunks of plain to dst, counting from index. Only the last may
// be short.
func (c *chunker) sealRun(dst, plain []byte, index int64) []byte {
	for len(plain) > 0 {
		n := min(len(plain), ChunkSize)
		dst = c.aead.Seal(dst, c.nonceOf(index), plain[:n], nil)
		plain = plain[n:]
		index++
	}
	return dst
}

// openRun appends the plaintext of the sealed chunks to dst, counting from index, up to the
// first that does not verify. Only the last of a message may be short.
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

// diagnose finds why a chunk does not verify. When a shorter piece verifies, that is the
// final chunk and the rest was appended: the message is whole. A failing stream pays some
// 50 ms for it, once.
func (c *chunker) diagnose(sealed []byte, index int64) error {
	scratch := make([]byte, 0, ChunkSize)
	for n := TagSize; n < len(sealed); n++ {
		if _, err := c.aead.Open(scratch, c.nonceOf(index), sealed[:n], nil); err == nil {
			return &TrailingError{Offset: chunkOffset(index) + int64(n)}
		}
	}
	return &ChunkError{Index: index, Offset: chunkOffset(index), Last: len(sealed) < sealedChunkSize}
}
