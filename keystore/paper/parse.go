package paper

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

// MaxText bounds a text for Parse: many times every share of a key.
const MaxText = 1 << 20

var (
	headLine = regexp.MustCompile(`^TAKUM1BACKUP(KEY|SHARE)V([0-9]{1,3})$`)
	heads    = [][]byte{plain([]byte(title + " KEY V" + version)), plain([]byte(title + " SHARE V" + version))}

	// firstLine is what cannot be outside of a block by chance.
	firstLine = regexp.MustCompile(`^1(SET.{8}SHARE[0-9]+0F[0-9]+NEED|KEY[0-9A-F]{16}.{4}$)`)
)

// Parse returns the keys and shares of a text, in order. A slash counts as a line feed.
// Text outside of blocks is ignored; in a block only empty lines are.
//
// It returns blocks or an error, never both. The error is ErrNone, ErrTooLong, or joined
// *LineError and *BlockError for every bad line that can be located. The caller wipes text.
func Parse(text []byte) ([]*Block, error) {
	if len(text) > MaxText {
		return nil, ErrTooLong
	}
	var p parser
	for line := range bytes.Lines(text) {
		p.at++
		for piece := range bytes.SplitSeq(line, []byte(lineBreak)) {
			p.line(plain(piece))
		}
	}
	p.close()
	switch {
	case len(p.faults) > 0:
		Wipe(p.blocks)
		return nil, errors.Join(p.faults...)
	case len(p.blocks) == 0:
		return nil, ErrNone
	}
	return p.blocks, nil
}

type parser struct {
	at     int     // line of the text
	badAt  int     // the last one with a bad line of a block
	open   *Typist // the block that the next line belongs to, or nil
	blocks []*Block
	faults []error
}

func (p *parser) report(block string, line int, reason string) {
	p.faults = append(p.faults, &LineError{Block: block, Line: line, TextLine: p.at, Reason: reason})
}

func (p *parser) line(line []byte) {
	if len(line) == 0 {
		return
	}
	if m := headLine.FindSubmatch(line); m != nil {
		p.close()
		if string(m[2]) != version {
			p.report("block", 0, fmt.Sprintf("it is in version %s of the written form, which a newer takumi-backup reads; or the number is mistyped", m[2]))
			return
		}
		p.open = NewTypist(Kind(m[1]))
		return
	}
	if p.open == nil {
		p.outside(line)
		clear(line)
		return
	}
	if !p.inside(line) {
		clear(line)
	}
}

// outside checks whether a line outside of blocks should have begun one.
func (p *parser) outside(line []byte) {
	if firstLine.Match(line) {
		p.report("block", 0, "it is missing: "+ErrNone.Error())
		return
	}
	for _, head := range heads {
		if near(line, head) {
			p.report("block", 0, "it is mistyped: "+ErrNone.Error())
			return
		}
	}
}

// inside takes a line of the open block, and reports whether it belongs to it.
func (p *parser) inside(line []byte) bool {
	t := p.open
	n := len(t.lines) + 1
	reason := t.fault(n, line)
	if reason != "" && n == 1 {
		// Without the first line no other can be checked.
		p.report(t.name(), n, reason)
		p.open = nil
		return false
	}
	if reason != "" {
		// A line may be missing, and this be a later one.
		for later := n + 1; later <= t.last() && reason != ""; later++ {
			if t.fault(later, line) != "" {
				continue
			}
			for ; n < later; n++ {
				p.report(t.name(), n, "it is missing")
				t.skip()
			}
			reason = ""
		}
	}
	if reason != "" && p.badAt == p.at {
		return false // a slash in a line makes two bad ones of it
	}
	if reason != "" {
		p.badAt = p.at
		p.report(t.name(), n, reason)
		t.skip()
	} else {
		t.take(line)
	}
	if n == t.last() {
		p.finish()
	}
	return reason == ""
}

// finish ends the open block, all of whose lines are there.
func (p *parser) finish() {
	t := p.open
	p.open = nil
	if t.bad {
		t.wipe()
		return
	}
	b, err := t.finish()
	if err != nil {
		p.faults = append(p.faults, err)
		return
	}
	p.blocks = append(p.blocks, b)
}

func (p *parser) close() {
	if p.open == nil {
		return
	}
	p.report(p.open.name(), len(p.open.lines)+1, "it is missing")
	p.open.wipe()
	p.open = nil
}

// near reports whether at most two mistakes lead from b to a: letters changed, left out,
// added, or (which counts as two) exchanged.
func near(a, b []byte) bool {
	const most = 2
	if len(a) > len(b)+most || len(b) > len(a)+most {
		return false
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)] <= most
}
