package guard

import (
	"bytes"
	"fmt"
)

const (
	dumpBegins    = "-- PostgreSQL database dump"
	dumpEnds      = "-- PostgreSQL database dump complete"
	clusterBegins = "-- PostgreSQL database cluster dump"
	clusterEnds   = "-- PostgreSQL database cluster dump complete"

	restrict   = `\restrict `
	unrestrict = `\unrestrict `

	// tailLen is how much of the end of a plain dump is looked at.
	tailLen = 16 << 10
)

// plain judges a plain SQL dump by its last lines. The bulk is not scanned:
// the walk remembers the tail and nothing else.
//
// pg_dump writes its closing line between two "--" lines when all else is
// written, so a dump that was cut cannot end with it, unless the same lines
// stand in the data. COPY text escapes line breaks, so there a row must be
// equal to the closing line and the row before it to "--", and the cut must
// fall right behind. Such a dump is told by the COPY command in the
// remembered tail that no "\." has ended; if that table is larger than the
// tail it is not told. Neither is a cut inside a string that holds these
// lines: a value with --inserts, a comment, a function body.
type plain struct {
	ending []byte // the closing line that the opening line calls for
	pos    int64
	ring   [tailLen]byte // input byte i stands at i%tailLen
}

func newPlain(head []byte) *plain { return &plain{ending: plainEnding(head)} }

// plainEnding returns the closing line of the plain dump that begins with
// head, or nil if head is no plain dump's beginning.
func plainEnding(head []byte) []byte {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		switch line = trimCR(line); {
		case string(line) == dumpBegins:
			return []byte(dumpEnds)
		case string(line) == clusterBegins:
			return []byte(clusterEnds)
		case len(line) == 0, string(line) == "--", bytes.HasPrefix(line, []byte(restrict)):
		default:
			return nil
		}
	}
	return nil
}

func (d *plain) write(p []byte) error {
	d.pos += int64(len(p))
	if len(p) > tailLen {
		p = p[len(p)-tailLen:]
	}
	at := int((d.pos - int64(len(p))) % tailLen)
	k := copy(d.ring[at:], p)
	copy(d.ring[:], p[k:])
	return nil
}

func (d *plain) finish() error {
	lines := d.tail()
	// What stands behind the closing line may be cut, even inside a line: the
	// dump itself is all there.
	if rest, _ := lines.prev(); !beginsTrailer(rest) {
		return d.incomplete("it ends in the middle of a line")
	}
	for {
		line, whole := lines.prev()
		if whole && bytes.Equal(line, d.ending) {
			break
		}
		if !whole || !isTrailer(line) {
			return d.incomplete(fmt.Sprintf("it does not end with the line %q", d.ending))
		}
	}
	if line, _ := lines.prev(); string(line) != "--" {
		return d.incomplete("its last line stands where the dump program does not write it")
	}
	if lines.insideCopy() {
		return d.incomplete("it ends inside the rows of a table")
	}
	return nil
}

func (d *plain) incomplete(reason string) error {
	return &IncompleteError{Format: PlainDump, Offset: d.pos, Reason: reason}
}

// isTrailer says whether a line may stand behind the closing line: a comment,
// an empty line, the end of restricted mode. Another dump's opening line is a
// comment too, but says that more had to come.
func isTrailer(line []byte) bool {
	switch string(line) {
	case dumpBegins, clusterBegins:
		return false
	}
	return len(line) == 0 || bytes.HasPrefix(line, []byte("--")) || bytes.HasPrefix(line, []byte(unrestrict))
}

// beginsTrailer says whether an unfinished line can be the beginning of one
// that isTrailer accepts.
func beginsTrailer(line []byte) bool {
	return isTrailer(line) || bytes.HasPrefix([]byte("--"), line) || bytes.HasPrefix([]byte(unrestrict), line)
}

// tail returns the last lines of the input, at most tailLen bytes of them.
func (d *plain) tail() *backward {
	if d.pos <= tailLen {
		return &backward{text: d.ring[:d.pos], first: true}
	}
	at := d.pos % tailLen
	return &backward{text: append(append(make([]byte, 0, tailLen), d.ring[at:]...), d.ring[:at]...)}
}

// backward hands out the lines of a text from its end, without their LF or
// CR LF.
type backward struct {
	text  []byte
	first bool // the text begins where a line begins
}

// prev returns the line before the ones already returned. The first call
// returns what follows the last LF, mostly nothing. whole is false for a line
// whose beginning was not remembered, and when there are no more lines.
func (b *backward) prev() (line []byte, whole bool) {
	if b.text == nil {
		return nil, false
	}
	i := bytes.LastIndexByte(b.text, '\n')
	line = b.text[i+1:]
	if i < 0 {
		whole = b.first
		b.text = nil
		return trimCR(line), whole
	}
	b.text = b.text[:i]
	return trimCR(line), true
}

// insideCopy says whether the lines not yet returned leave a COPY open.
func (b *backward) insideCopy() bool {
	line, whole := b.prev()
	for whole {
		if string(line) == `\.` {
			return false
		}
		// pg_dump puts an empty line before each COPY. The same words in a
		// function body or a comment mostly lack it.
		isCopy := bytes.HasPrefix(line, []byte("COPY ")) && bytes.HasSuffix(line, []byte(" FROM stdin;"))
		line, whole = b.prev()
		if isCopy && whole && len(line) == 0 {
			return true
		}
	}
	return false
}

func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte("\r")) }
