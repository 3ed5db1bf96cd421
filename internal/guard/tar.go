package guard

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

const (
	tarBlock = 512

	// maxPAX bounds a PAX header, which is read into memory.
	maxPAX = 1 << 20

	// maxTarSize keeps a size and its padding within an int64.
	maxTarSize = 1 << 62
)

// tar walks an archive from header to header. It knows the ustar, PAX and GNU forms, and
// sparse files.
type tar struct {
	units
	state tarState

	size    int64 // of the sparse file whose maps are read, padded
	paxLeft int64 // bytes of the PAX header that are still to come
	pax     []byte
	paxSize int64 // size of the next file by its PAX header, or -1

	entry func(TarEntry) // may be nil
	raw   []byte         // with entry: the blocks of the header so far
	start int64
	lost  bool // not all of the header is in raw
}

// TarEntry is an entry's place in an archive. Head has all blocks of its header, extended
// ones too, and is valid during the call.
type TarEntry struct {
	Head   []byte
	Offset int64 // of the header in the archive
	Data   int64 // where the body begins
}

// maxHead bounds the headers of one entry; longer ones come without a Head.
const maxHead = 2 * maxPAX

func (t *tar) keep(block []byte) {
	if t.entry == nil {
		return
	}
	if len(t.raw) == 0 {
		t.start = t.pos - tarBlock
	}
	if t.lost = t.lost || len(t.raw) > maxHead; !t.lost {
		t.raw = append(t.raw, block...)
	}
}

// reportEntry reports an entry whose header has ended.
func (t *tar) reportEntry() {
	if t.entry == nil {
		return
	}
	e := TarEntry{Offset: t.start, Data: t.pos}
	if !t.lost {
		e.Head = t.raw
	}
	t.entry(e)
	t.raw, t.lost = t.raw[:0], false
}

// TarSpan returns the length of src's first entry, from its first header to the padding of
// its body. It reads only the headers. The error is an *IncompleteError or that of src.
func TarSpan(src io.Reader) (int64, error) {
	t := newTar()
	done := false
	t.entry = func(TarEntry) { done = true }
	for block := make([]byte, tarBlock); !done; {
		if _, err := io.ReadFull(src, block); err != nil {
			return 0, err
		}
		if err := t.write(block); err != nil {
			return 0, err
		}
		if t.state == afterZero {
			return 0, t.bad("its end is where an entry should begin")
		}
	}
	return t.pos + t.skip, nil
}

type tarState int

const (
	atHeader tarState = iota
	inPAX
	inLongName // of GNU tar, too long for a header
	inSparseMap
	afterZero // one zero block
	afterEnd  // two of them
)

func newTar() *tar {
	return &tar{units: units{want: tarBlock}, paxSize: -1}
}

func (t *tar) write(p []byte) error {
	for {
		var unit []byte
		if unit, p = t.next(p); unit == nil {
			return nil
		}
		if err := t.step(unit); err != nil {
			return err
		}
	}
}

func (t *tar) finish() error {
	switch {
	case t.state == afterEnd:
		// The padding need not be whole blocks.
		if !isZero(t.buf[:t.have]) {
			return t.bad("something follows its end")
		}
		return nil
	case t.between() && (t.state == atHeader || t.state == afterZero):
		return t.bad("it ends without its two closing blocks")
	}
	return t.bad("it ends inside a file or header")
}

func (t *tar) bad(format string, args ...any) error {
	return &IncompleteError{Format: Tar, Offset: t.pos, Reason: fmt.Sprintf(format, args...)}
}

func (t *tar) step(block []byte) error {
	switch t.state {
	case inPAX:
		t.keep(block)
		return t.paxBlock(block)
	case inLongName:
		t.keep(block)
		if t.paxLeft -= tarBlock; t.paxLeft <= 0 {
			t.state = atHeader
		}
		return nil
	case inSparseMap:
		t.keep(block)
		// the last relevant byte of a GNU sparse map: another follows
		if block[504] == 0 {
			t.skipBody(t.size)
			t.reportEntry()
		}
		return nil
	case afterEnd:
		if !isZero(block) {
			return t.bad("something follows its end")
		}
		return nil
	}
	switch zero := isZero(block); {
	case zero && t.state == afterZero:
		t.state = afterEnd
	case zero:
		t.state = afterZero
	case t.state == afterZero:
		return t.bad("a single zero block is between its files")
	default:
		return t.header(block)
	}
	return nil
}

func (t *tar) header(h []byte) error {
	if !checksumRight(h) {
		return t.bad("a header with a wrong checksum")
	}
	size, ok := tarNumber(h[124:136])
	if !ok {
		return t.bad("a header with the size %q", h[124:136])
	}
	t.keep(h)
	switch h[156] {
	case 'x':
		if size > maxPAX {
			return &IncompleteError{Format: Tar, Offset: t.pos,
				Reason: fmt.Sprintf("a PAX header of %d bytes", size), Err: ErrUnsupported}
		}
		t.state, t.paxLeft, t.pax = inPAX, size, t.pax[:0]
		if size == 0 {
			t.state = atHeader
		}
		return nil
	case 'L', 'K':
		if size > 0 && size <= maxPAX {
			t.state, t.paxLeft = inLongName, size
			return nil
		}
		t.lost = true
		t.skipBody(size)
		return nil
	case 'g':
		t.raw = t.raw[:0]
		t.skipBody(size)
		return nil
	}

	if t.paxSize >= 0 {
		size, t.paxSize = t.paxSize, -1
	}
	switch h[156] {
	case '1', '2', '3', '4', '5', '6':
		// Links, devices and folders: some writers give a size, none a body.
		size = 0
	case 'S':
		if h[482] != 0 {
			t.state, t.size = inSparseMap, size
			return nil
		}
	}
	t.skipBody(size)
	t.reportEntry()
	return nil
}

func (t *tar) skipBody(size int64) {
	t.state = atHeader
	t.skip = (size + tarBlock - 1) &^ (tarBlock - 1)
}

func (t *tar) paxBlock(block []byte) error {
	n := min(t.paxLeft, tarBlock)
	t.pax = append(t.pax, block[:n]...)
	if t.paxLeft -= n; t.paxLeft > 0 {
		return nil
	}
	t.state = atHeader
	size, ok := paxSize(t.pax)
	if !ok {
		return t.bad("an invalid PAX header")
	}
	t.paxSize = size
	return nil
}

// paxSize returns the last size record, or -1. A record is its length in decimal, a space,
// key=value and LF.
func paxSize(records []byte) (size int64, ok bool) {
	size = -1
	for len(records) > 0 {
		digits, _, found := bytes.Cut(records, []byte(" "))
		n, err := strconv.Atoi(string(digits))
		if !found || err != nil || n <= len(digits)+1 || n > len(records) || records[n-1] != '\n' {
			return 0, false
		}
		record := records[len(digits)+1 : n-1]
		records = records[n:]
		if value, found := bytes.CutPrefix(record, []byte("size=")); found {
			size, err = strconv.ParseInt(string(value), 10, 64)
			if err != nil || size < 0 || size > maxTarSize {
				return 0, false
			}
		}
	}
	return size, true
}

// tarNumber reads octal digits, or after a byte 0x80 a big-endian number.
func tarNumber(field []byte) (int64, bool) {
	if field[0] == 0x80 {
		var n int64
		for _, b := range field[1:] {
			if n > maxTarSize>>8 {
				return 0, false
			}
			n = n<<8 | int64(b)
		}
		return n, n <= maxTarSize
	}
	digits, _, _ := bytes.Cut(bytes.TrimLeft(field, " \x00"), []byte{0}) // some leave a rest behind the end
	digits = bytes.TrimRight(digits, " ")
	if len(digits) == 0 {
		return 0, true
	}
	n, err := strconv.ParseUint(string(digits), 8, 62)
	return int64(n), err == nil
}

// checksumRight accepts the sum of the header's bytes, its own field as spaces, and the sum
// of signed bytes of old tars.
func checksumRight(h []byte) bool {
	want, ok := tarNumber(h[148:156])
	var unsigned, signed int64
	for i, b := range h {
		if i >= 148 && i < 156 {
			b = ' '
		}
		unsigned += int64(b)
		signed += int64(int8(b))
	}
	return ok && (want == unsigned || want == signed)
}

// isOldTar knows the header of 1979, without a magic, by its checksum.
func isOldTar(head []byte) bool {
	if len(head) < tarBlock || head[0] == 0 || isZero(head[148:156]) {
		return false
	}
	_, sized := tarNumber(head[124:136])
	_, timed := tarNumber(head[136:148])
	return sized && timed && checksumRight(head[:tarBlock])
}

var zeroBlock [tarBlock]byte

func isZero(p []byte) bool { return bytes.Equal(p, zeroBlock[:len(p)]) }
