package paper

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// the lines without checksums, in plain form: O is 0 in OF and SHARE
var (
	setLine    = regexp.MustCompile(`^1SET([` + alphabet + `]{8})SHARE([1-9][0-9]{0,2})0F([1-9][0-9]{0,2})NEED([1-9][0-9]{0,2})$`)
	keyLine    = regexp.MustCompile(`^[12]KEY([0-9A-F]{16})$`)
	notALetter = regexp.MustCompile(`[^` + alphabet + `]`)
)

// Typist takes one block line by line and checks each at once. It is not safe for
// concurrent use.
type Typist struct {
	label Label
	head  []byte
	lines [][]byte // those that are done, plain, without checksums
	bad   bool     // one of them was passed over
}

// NewTypist returns a Typist for a block of the given kind.
func NewTypist(kind Kind) *Typist {
	t := &Typist{label: Label{Kind: kind}}
	t.head = plain([]byte((&Block{Label: t.label}).header()))
	return t
}

// Next returns the number and the form of the next line.
func (t *Typist) Next() (number int, form string) {
	n := len(t.lines) + 1
	return n, t.form(n)
}

func (t *Typist) form(n int) string {
	switch {
	case t.label.Kind == KindShare && n == 1:
		return "1 SET XXXX XXXX SHARE N OF N NEED N  XXXX"
	case n < firstData(t.label.Kind):
		return fmt.Sprintf("%d KEY XXXX XXXX XXXX XXXX  XXXX", n)
	}
	return fmt.Sprintf("%d XXXX XXXX XXXX XXXX  XXXX", n)
}

func (t *Typist) last() int { return firstData(t.label.Kind) + dataLines - 1 }

func (t *Typist) name() string {
	if len(t.lines) == 0 {
		return strings.ToLower(string(t.label.Kind))
	}
	return t.label.String()
}

// Line takes the next line, with or without its number. Empty lines are skipped, and so is
// the title before line 1. It returns the block after its last line, and nil before. After
// a *LineError the same line is expected again; a *BlockError ends the block. The caller
// wipes text.
func (t *Typist) Line(text []byte) (*Block, error) {
	n := len(t.lines) + 1
	line := plain(text)
	if len(line) == 0 || n == 1 && bytes.Equal(line, t.head) {
		return nil, nil
	}
	reason := t.fault(n, line)
	if reason != "" {
		numbered := append(strconv.AppendInt(nil, int64(n), 10), line...)
		if t.fault(n, numbered) == "" {
			clear(line)
			line, reason = numbered, ""
		}
	}
	if reason != "" {
		clear(line)
		return nil, &LineError{Block: t.name(), Line: n, Reason: reason}
	}
	t.take(line)
	if n < t.last() {
		return nil, nil
	}
	return t.finish()
}

// fault is the error of line, in plain form, as the block's line n.
func (t *Typist) fault(n int, line []byte) string {
	const compare = "compare it with the paper, letter by letter"
	wrong := fmt.Sprintf("it does not read %q; %s", t.form(n), compare)
	if len(line) <= checkSize {
		return wrong
	}
	body := line[:len(line)-checkSize]
	switch {
	case n >= firstData(t.label.Kind):
		if want := 1 + lineData + checkSize; len(line) != want {
			return fmt.Sprintf("it has %d letters and digits, where %d belong; %s", len(line), want, compare)
		}
		if at := notALetter.FindIndex(line); at != nil {
			return fmt.Sprintf("its character %d, blanks not counted, is not in use; %s", at[0]+1, compare)
		}
		if line[0] != byte('0'+n) {
			return wrong
		}
	case n == 1 && t.label.Kind == KindShare:
		if !setLine.Match(body) {
			return wrong
		}
	case !keyLine.Match(body) || line[0] != byte('0'+n):
		return wrong
	}
	first := body
	if n > 1 {
		first = t.lines[0]
	}
	if subtle.ConstantTimeCompare(lineCheck(t.head, first, body), line[len(body):]) != 1 {
		return "it does not fit its last four letters, the checksum; " + compare
	}
	if n == 1 && t.label.Kind == KindShare {
		return setLabel(body).check()
	}
	return ""
}

func setLabel(body []byte) Label {
	m := setLine.FindSubmatch(body)
	number := func(digits []byte) int {
		n, _ := strconv.Atoi(string(digits)) // three digits at most
		return n
	}
	return Label{Kind: KindShare, Set: string(m[1]), Number: number(m[2]), Total: number(m[3]), Threshold: number(m[4])}
}

func (t *Typist) take(line []byte) {
	n := len(t.lines) + 1
	body := line[:len(line)-checkSize]
	if n == 1 && t.label.Kind == KindShare {
		t.label = setLabel(body)
	} else if n < firstData(t.label.Kind) {
		t.label.KeyID = kek.ID(bytes.ToLower(keyLine.FindSubmatch(body)[1]))
	}
	t.lines = append(t.lines, body)
}

// skip skips a bad line, so that the following ones are checked.
func (t *Typist) skip() {
	t.lines, t.bad = append(t.lines, nil), true
}

func (t *Typist) finish() (*Block, error) {
	defer t.wipe()
	labels := t.lines[:firstData(t.label.Kind)-1]
	encoded := make([]byte, 0, dataLines*lineData)
	for _, line := range t.lines[len(labels):] {
		encoded = append(encoded, line[1:]...)
	}
	defer clear(encoded)
	data, err := letters.AppendDecode(make([]byte, 0, dataSize), encoded)
	defer clear(data)
	if err != nil {
		panic("paper: a line that passed has other letters than those of the alphabet")
	}
	size := kek.Size
	if t.label.Kind == KindShare {
		size = ShareSize
	}
	sum := blockCheck(t.head, labels, data[:size])
	if subtle.ConstantTimeCompare(sum[:dataSize-size], data[size:]) != 1 {
		return nil, &BlockError{t.name(), "each line fits its checksum, and together they do not fit that of the whole; compare them all with the paper"}
	}
	b := newBlock(t.label, data[:size])
	if fault := b.fault(); fault != "" {
		b.Wipe()
		return nil, &BlockError{t.name(), fault}
	}
	return b, nil
}

// fault is why a block, read without an error, cannot be of this program.
func (b *Block) fault() string {
	if b.Kind == KindShare {
		if b.payload()[ShareSize-1] == 0 {
			return "it holds no share"
		}
		return ""
	}
	secret, err := b.Secret()
	if err != nil {
		return "it does not hold the key that it names"
	}
	secret.Wipe()
	return ""
}

func (t *Typist) wipe() {
	for _, line := range t.lines {
		clear(line)
	}
}
