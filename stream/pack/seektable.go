package pack

import "encoding/binary"

// The seek table of the zstd seekable format (contrib/seekable_format in the
// zstd distribution): a skippable frame that holds, for each frame, its packed
// and its plain length, and a footer.
const (
	seekTableMagic  = 0x184D2A5E // skippable frame 14
	seekFooterMagic = 0x8F92EAB1
	seekEntrySize   = 8
	seekFooterSize  = 9
	maxSeekEntries  = 1 << 22
)

type seekTable struct {
	entries []byte
	tooMany bool
}

func (t *seekTable) add(packedLen, plainLen int) {
	if t.tooMany || len(t.entries) == maxSeekEntries*seekEntrySize {
		t.tooMany, t.entries = true, nil
		return
	}
	t.entries = binary.LittleEndian.AppendUint32(t.entries, uint32(packedLen))
	t.entries = binary.LittleEndian.AppendUint32(t.entries, uint32(plainLen))
}

// frame returns the table as a skippable frame, or nothing when there are too
// many entries for one.
func (t *seekTable) frame() []byte {
	if t.tooMany {
		return nil
	}
	out := make([]byte, 0, 8+len(t.entries)+seekFooterSize)
	out = binary.LittleEndian.AppendUint32(out, seekTableMagic)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(t.entries)+seekFooterSize))
	out = append(out, t.entries...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(t.entries)/seekEntrySize))
	out = append(out, 0) // descriptor: no checksums
	return binary.LittleEndian.AppendUint32(out, seekFooterMagic)
}
