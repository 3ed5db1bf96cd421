package vectors

import (
	"embed"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// What compressors wrote is kept, for a later release of any of them may write
// something else for the same input. All hold dump(150_000).
//
//	frames.zst  this program's packer, with blocks of 64 KiB: three frames and a seek table
//	pipe.zst    zstd 1.5.4 -19 from a pipe: one frame, a window of 8 MiB, no content size
//	multi.gz    this program's packer, with blocks of 64 KiB: three members
//	named.gz    gzip 1.12 -9 from a file: one member that bears the file's name and time
//
//	*.slot      slots for age recipients, by age 1.3.2, each for the vector of its name
//
//go:embed testdata
var samples embed.FS

func sample(name string) []byte { return must(samples.ReadFile("testdata/" + name)) }

// dump is text that compresses as dumps do.
func dump(n int) string {
	var b strings.Builder
	for i := 1; b.Len() < n; i++ {
		fmt.Fprintf(&b, "INSERT INTO endorsement VALUES (%d, 'member-%d', 'skill-%d');\n", i, i*7919%1000, i*31%77)
	}
	return b.String()[:n]
}

const (
	frameMagic     = "\x28\xb5\x2f\xfd"
	skippableMagic = "\x50\x2a\x4d\x18"
	tableMagic     = "\x5e\x2a\x4d\x18"
	footerMagic    = "\xb1\xea\x92\x8f"
	indexMagic     = "\x5b\x2a\x4d\x18"

	// emptyFrame has a content size of 0, an empty raw block and a checksum.
	emptyFrame = frameMagic + "\x24\x00\x01\x00\x00\x99\xe9\xd8\x51"
)

// rawFrame is a zstd frame of one raw block, after a header that is given
// without the magic number.
func rawFrame(header, content string) string {
	return frameMagic + header + block(0, content)
}

// block is the last block of a frame.
func block(kind int, content string) string {
	head := uint32(1 | kind<<1 | len(content)<<3)
	return string([]byte{byte(head), byte(head >> 8), byte(head >> 16)}) + content
}

// sized is a header with a content size of one byte; the window is as long.
func sized(n int) string { return "\x20" + string([]byte{byte(n)}) }

// windowed is a header with a window of 2^(10+exponent) × (1 + eighths/8) bytes
// and nothing else.
func windowed(exponent, eighths int) string {
	return "\x00" + string([]byte{byte(exponent<<3 | eighths)})
}

func skippable(content string) string {
	return skippableMagic + le32(len(content)) + content
}

// table is a seek table over pairs of a packed and a plain length.
func table(lengths ...int) string {
	var entries string
	for _, n := range lengths {
		entries += le32(n)
	}
	return tableMagic + le32(len(entries)+9) + entries + le32(len(lengths)/2) + "\x00" + footerMagic
}

const (
	indexHeader = `{"v":1,"format":"tar","size":58}`
	indexLineA  = `{"p":"a","t":"f","o":0,"n":29}`
	indexLineB  = `{"p":"b","t":"f","o":29,"n":29}`
)

// indexFrame is an index of frames: each the key of its first line, and its lines.
func indexFrame(frames ...[2]string) string {
	content, directory := "TKBI\x01", ""
	for _, f := range frames {
		packed := rawFrame(sized(len(f[1])), f[1])
		content += packed
		directory += le32(len(packed)) + le32(len(f[0])) + f[0]
	}
	size := len(content) + len(directory) + 20
	content += directory + le32(len(directory)) + le32(len(frames)) + le32(size) + le32(0) + "TKBI"
	return indexMagic + le32(len(content)) + content
}

// member is a gzip member of one stored block.
func member(content string) string {
	stored := "\x01" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(content)))) +
		string(binary.LittleEndian.AppendUint16(nil, ^uint16(len(content)))) + content
	return "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + stored + le32(int(crc32.ChecksumIEEE([]byte(content)))) + le32(len(content))
}

func le32(n int) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
