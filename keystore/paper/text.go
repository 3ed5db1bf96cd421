package paper

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// alphabet is Douglas Crockford's base 32: I, L and O are read as digits, U is unused.
	alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

	// The messages of the two checksums begin with these.
	lineLabel  = "takumi-backup/v1 written line\x00"
	blockLabel = "takumi-backup/v1 written block\x00"

	title      = "TAKUMI-BACKUP"
	version    = "1"
	dataSize   = 40 // payload and checksum of the block: 4 lines of 16 letters
	lineData   = 16
	dataLines  = 4
	checkSize  = 4 // letters at the end of a line
	groupSize  = 4
	lineBreak  = "/" // in the compact form
	checkSpace = "  "
)

var letters = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// Text returns the block for printing: lines of capital letters and digits in groups. It is
// as secret as the payload; the caller wipes it.
func (b *Block) Text() []byte {
	head := b.header()
	text := append([]byte(head), '\n')
	var labels [][]byte // in plain form
	add := func(line []byte) {
		p := plain(line)
		first := p
		if len(labels) > 0 {
			first = labels[0]
		}
		text = append(text, line...)
		text = append(text, checkSpace...)
		text = append(text, lineCheck(plain([]byte(head)), first, p)...)
		text = append(text, '\n')
		if len(labels) < firstData(b.Kind)-1 {
			labels = append(labels, p)
		} else {
			clear(p)
		}
	}
	if b.Kind == KindShare {
		add(fmt.Appendf(nil, "1 SET %s SHARE %d OF %d NEED %d", groups([]byte(b.Set)), b.Number, b.Total, b.Threshold))
	}
	add(fmt.Appendf(nil, "%d KEY %s", firstData(b.Kind)-1, groups([]byte(strings.ToUpper(string(b.KeyID))))))

	data := b.data(labels)
	defer clear(data)
	encoded := letters.AppendEncode(nil, data)
	defer clear(encoded)
	for i := range dataLines {
		line := fmt.Appendf(nil, "%d %s", firstData(b.Kind)+i, groups(encoded[i*lineData:][:lineData]))
		add(line)
		clear(line)
	}
	return text
}

// Compact returns the block on one line for a QR code, which packs its characters densely:
// without blanks, and a slash for each line feed. Parse reads it.
func (b *Block) Compact() []byte {
	text := b.Text()
	defer clear(text)
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	for i := 1; i < len(lines); i++ {
		lines[i] = bytes.ReplaceAll(lines[i], []byte(" "), nil)
	}
	return bytes.Join(lines, []byte(lineBreak))
}

func (b *Block) header() string { return title + " " + string(b.Kind) + " V" + version }

func firstData(k Kind) int {
	if k == KindShare {
		return 3
	}
	return 2
}

// data is the payload and the block's checksum, which covers the lines before the data.
func (b *Block) data(labels [][]byte) []byte {
	data := make([]byte, 0, dataSize)
	data = append(data, b.payload()...)
	sum := blockCheck(plain([]byte(b.header())), labels, data)
	return append(data, sum[:dataSize-len(data)]...)
}

func blockCheck(head []byte, labels [][]byte, payload []byte) [sha256.Size]byte {
	message := append([]byte(blockLabel), head...)
	for _, l := range labels {
		message = append(append(message, '\n'), l...)
	}
	message = append(append(message, '\n'), payload...)
	defer clear(message)
	return sha256.Sum256(message)
}

// lineCheck returns a line's checksum. It covers the header and the first line too, and so
// the kind, set and number of the share: another share's line does not pass. All are in
// plain form, without their own checksums.
func lineCheck(head, first, line []byte) []byte {
	message := append([]byte(lineLabel), head...)
	message = append(append(message, '\n'), first...)
	if line[0] != '1' {
		message = append(append(message, '\n'), line...)
	}
	defer clear(message)
	sum := sha256.Sum256(message)
	return letters.AppendEncode(nil, sum[:5])[:checkSize]
}

func groups(s []byte) []byte {
	var out []byte
	for i, c := range s {
		if i > 0 && i%groupSize == 0 {
			out = append(out, ' ')
		}
		out = append(out, c)
	}
	return out
}

// plain returns a line as the checksums see it: in capitals, without blanks and dashes, O
// as 0, I and L as 1. Non-ASCII becomes a question mark, which is invalid.
func plain(line []byte) []byte {
	out := make([]byte, 0, len(line))
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		line = line[n:]
		if isFiller(r) {
			continue
		}
		switch {
		case 'a' <= r && r <= 'z':
			r -= 'a' - 'A'
		case r <= ' ' || r >= utf8.RuneSelf-1:
			r = '?'
		}
		switch r {
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		out = append(out, byte(r))
	}
	return out
}

func isFiller(r rune) bool {
	return unicode.IsSpace(r) || r == '-' || '\u2010' <= r && r <= '\u2015' || r == '\u2212' || r == '\ufeff'
}
