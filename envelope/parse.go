package envelope

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

var (
	// ErrNotSealed is returned for a file that does not begin as a sealed backup.
	ErrNotSealed = fail.New(fail.Damaged, `takumi-backup seal makes files that begin with "takumi-backup/v1"`, "not a sealed backup")
	// ErrTruncated is returned for an envelope that breaks off.
	ErrTruncated = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the sealed backup ends inside its envelope")
)

// VersionError means that a newer version of the format made the file.
type VersionError struct{ Version string }

// Error names the version.
func (e *VersionError) Error() string {
	return fmt.Sprintf("made by a newer version: the format is version %s, this program reads version 1", e.Version)
}

// Fail is the class and the hint of the error.
func (*VersionError) Fail() (fail.Class, string) {
	return fail.Failed, "upgrade takumi-backup"
}

// SyntaxError says where an envelope departs from the format.
type SyntaxError struct {
	Line   int // from 1; 0 when it is about the whole
	Reason string
}

// Error names the line.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return "malformed envelope: " + e.Reason
	}
	return fmt.Sprintf("malformed envelope, line %d: %s", e.Line, e.Reason)
}

// Fail is the class and the hint of the error.
func (*SyntaxError) Fail() (fail.Class, string) {
	return fail.Damaged, "use another copy of this backup, or an older one"
}

// Parse reads an envelope from src, to its last byte and no further, and checks its form.
// It reads and allocates at most MaxSize bytes. Until [Open] has succeeded the result is an
// unauthenticated claim. The errors are ErrNotSealed, ErrTruncated, *VersionError,
// *SyntaxError and those of src.
func Parse(src io.Reader) (*Envelope, error) {
	e, _, err := parse(src)
	return e, err
}

// parse is Parse, and returns all that it has read, even with an error.
func parse(src io.Reader) (*Envelope, []byte, error) {
	text, err := readText(src)
	if err != nil {
		return nil, text, err
	}
	e := &Envelope{text: text}
	if err := e.parse(string(text)); err != nil {
		return nil, text, err
	}
	return e, text, nil
}

// isForm reports whether an error of Parse is about the form and not of the source.
func isForm(err error) bool {
	return errors.Is(err, ErrNotSealed) || errors.Is(err, ErrTruncated) ||
		errors.As(err, new(*VersionError)) || errors.As(err, new(*SyntaxError))
}

// readText reads whole units until one holds the terminator. A valid envelope ends with a
// unit, so nothing of the payload is read. It returns what it has read.
func readText(src io.Reader) ([]byte, error) {
	var text []byte
	for len(text) < MaxSize {
		text = append(text, make([]byte, Unit)...)
		n, err := parallel.ReadFull(src, text[len(text)-Unit:])
		text = text[:len(text)-Unit+n]
		if n < Unit && err != io.EOF {
			return text, fmt.Errorf("reading the envelope: %w", err)
		}
		if err := checkMagic(text); err != nil {
			return text, err
		}
		if end := bytes.Index(text, []byte("\n"+terminator)); end >= 0 {
			if end += 1 + len(terminator); end%Unit != 0 {
				return text, &SyntaxError{0, fmt.Sprintf("its length, %d bytes, is not a multiple of %d", end, Unit)}
			}
			return text, nil
		}
		if n < Unit {
			return text, ErrTruncated
		}
	}
	return text, &SyntaxError{0, fmt.Sprintf("it is longer than %d bytes", MaxSize)}
}

func checkMagic(text []byte) error {
	line, _, whole := strings.Cut(string(text[:min(len(text), len(magicPrefix)+maxDecimalLen)]), "\n")
	version, ours := strings.CutPrefix(line, magicPrefix)
	switch {
	case whole && line == magic:
		return nil
	case !whole && line != "" && strings.HasPrefix(magic, line):
		return ErrTruncated
	case whole && ours && version != "" && onlyIn(version, "0123456789"):
		return &VersionError{version}
	}
	return ErrNotSealed
}

// lines yields and counts the lines of an envelope.
type lines struct {
	rest   string
	number int
}

func (l *lines) next() string {
	line, rest, _ := strings.Cut(l.rest, "\n")
	l.rest = rest
	l.number++
	return line
}

func (l *lines) peekIs(prefix string) bool { return strings.HasPrefix(l.rest, prefix) }

func (l *lines) field(keyword string) (string, error) {
	value, ok := strings.CutPrefix(l.next(), keyword+" ")
	if !ok {
		return "", l.errorf("%q expected", keyword)
	}
	return value, nil
}

func (l *lines) errorf(format string, args ...any) error {
	return &SyntaxError{l.number, fmt.Sprintf(format, args...)}
}

func (e *Envelope) parse(text string) error {
	l := &lines{rest: text}
	l.next() // the magic, checked already
	if err := e.parsePreamble(l); err != nil {
		return err
	}
	for l.peekIs("slot ") {
		s, err := parseSlot(l)
		if err != nil {
			return err
		}
		if e.Slots = append(e.Slots, s); len(e.Slots) > maxSlots {
			return l.errorf("more than %d slots", maxSlots)
		}
	}
	if len(e.Slots) == 0 {
		l.next()
		return l.errorf("\"slot\" expected")
	}
	dots, err := l.field("pad")
	if err != nil {
		return err
	}
	if e.pad = len(dots); e.pad == 0 || strings.Trim(dots, ".") != "" {
		return l.errorf("the padding is not dots")
	}
	auth, err := l.field("auth")
	if err != nil {
		return err
	}
	b, err := slot.DecodeBase64(auth, authSize)
	if err != nil {
		return l.errorf("%v", err)
	}
	e.auth = [authSize]byte(b)
	if l.next() != "---" { // the first of its kind: nothing follows
		return l.errorf("\"---\" expected")
	}
	return nil
}

func (e *Envelope) parsePreamble(l *lines) error {
	id, err := l.field("id")
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != idSize || strings.ToLower(id) != id {
		return l.errorf("the id is not 32 lower-case hex digits")
	}
	e.ID = ID(raw)

	created, err := l.field("created")
	if err != nil {
		return err
	}
	e.Created, err = time.Parse(timeLayout, created)
	if err != nil || e.Created.Format(timeLayout) != created {
		return l.errorf("the time is not a real one of the form %s", timeLayout)
	}

	if e.Kind, err = l.field("kind"); err != nil {
		return err
	}
	if err := CheckKind(e.Kind); err != nil {
		return l.errorf("%v", err)
	}

	name, err := l.field("name")
	if err != nil {
		return err
	}
	if e.Name, err = decodeName(name); err != nil {
		return l.errorf("%v", err)
	}

	if e.Codec, err = l.field("codec"); err != nil {
		return err
	}
	if err := e.Label.check(); err != nil {
		return l.errorf("%v", err)
	}
	return nil
}

func parseSlot(l *lines) (Slot, error) {
	words := strings.Split(l.next(), " ")
	s := Slot{Type: words[1], Args: words[2:]}
	if err := checkSlot(s); err != nil {
		return Slot{}, l.errorf("%v", err)
	}
	return s, nil
}

// checkSlot checks a slot by the grammar, which defines arguments for type key only.
func checkSlot(s Slot) error {
	if err := s.Check(); err != nil || s.Type != kek.SlotType {
		return err
	}
	if len(s.Args) != 2 {
		return errors.New("a key slot has a key id and a wrapped key, nothing more or less")
	}
	if id := s.Args[0]; len(id) != 16 || !onlyIn(id, "0123456789abcdef") {
		return errors.New("the key id is not 16 lower-case hex digits")
	}
	_, err := slot.DecodeBase64(s.Args[1], kek.WrappedSize)
	return err
}
