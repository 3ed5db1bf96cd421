package envelope

import (
	"fmt"
	"io"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

// ParseRescue reads the usable part of a damaged detached envelope, for Options.Detached: the
// preamble, which must be intact, and the slots that parse. Without padding and
// authenticator only a rescue opens with it. For a backup's own envelope Options.Rescue
// does this. The errors are those of [Parse].
func ParseRescue(src io.Reader) (*Envelope, error) {
	f, err := readFront(src, Options{Rescue: true})
	if err != nil {
		return nil, err
	}
	return f.rescue, nil
}

// salvage reads as much as an envelope can have, and uses the intact part. A payload may
// then begin after any unit.
func (f *front) salvage(src io.Reader) error {
	have := len(f.text)
	text := append(f.text, make([]byte, max(0, MaxSize-have))...)
	n, err := parallel.ReadFull(src, text[have:])
	if f.text = text[:have+n]; err != nil && err != io.EOF {
		return fmt.Errorf("reading the envelope: %w", err)
	}
	for start := int64(Unit); start <= MaxSize; start += Unit {
		if len(f.starts) == 0 || start != f.starts[0] {
			f.starts = append(f.starts, start)
		}
	}
	if checkMagic(f.text) != nil {
		return nil
	}
	e := new(Envelope)
	l := &lines{rest: string(f.text[:min(len(f.text), MaxSize)])}
	l.next()
	if e.parsePreamble(l) != nil {
		return nil
	}
	e.Slots = goodSlots(l.rest)
	e.text = f.text[:min(int64(len(f.text)), f.starts[0])]
	f.rescue = e
	return nil
}

// goodSlots finds the slots that parse. They need not begin a line, since the LF before may
// be damaged.
func goodSlots(text string) []Slot {
	const word = "slot "
	var slots []Slot
	for len(slots) < maxSlots {
		i := strings.Index(text, word)
		if i < 0 {
			break
		}
		text = text[i:]
		if s, err := parseSlot(&lines{rest: text}); err == nil {
			slots = append(slots, s)
		}
		text = text[len(word):]
	}
	return slots
}
