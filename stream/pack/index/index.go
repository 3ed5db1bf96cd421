// Package index writes and reads the index of a packed stream: lines of JSON,
// sorted by a key, in zstd frames that can be found by key (docs/FORMAT.md,
// "The index"). What a line says, and what its key is, is for the caller to know.
//
// A [Writer] takes lines in any order. It holds no more than Options.Memory of
// them; the rest waits in a temporary file, sealed under a key that lives in
// memory alone. What [Writer.Finish] returns goes to pack.Writer.WriteIndex.
// A [Reader] reads the frames that a range of keys may be in, and no others.
//
//	content   = "TKBI" 0x01 frames directory footer
//	frames    = zstd frames (RFC 8878) of whole lines, at most 1 MiB unpacked each
//	directory = for each frame: packed length u32 || length of the key u32 || key of its first line
//	footer    = length of the directory u32 || number of frames u32 || length of the content u64 || "TKBI"
//
// All numbers are little-endian. The first line is about the whole and has the
// empty key.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	magic      = "TKBI"
	version    = 1
	intro      = magic + string(rune(version))
	footerSize = 4 + 4 + 8 + len(magic)
	entrySize  = 4 + 4

	// MaxFrame bounds a frame in bytes of lines, and so a line with its LF.
	MaxFrame = 1 << 20
	// MaxKey bounds a key in bytes.
	MaxKey = 64 << 10
)

var (
	// ErrLine is returned for a line that an index cannot hold.
	ErrLine = errors.New("the line is longer than 1 MiB, has a line feed in it, or has a key of more than 64 KiB")
	// ErrMalformed is returned for an index that departs from the format.
	ErrMalformed = errors.New("the index is malformed")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

type frame struct {
	offset, length int64 // in the content
	first          []byte
}

func appendEntry(b []byte, length int, first []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(first)))
	return append(b, first...)
}

func appendFooter(b []byte, directory, frames int, size int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(directory))
	b = binary.LittleEndian.AppendUint32(b, uint32(frames))
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	return append(b, magic...)
}
