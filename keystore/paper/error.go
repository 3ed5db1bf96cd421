package paper

import (
	"errors"
	"fmt"
)

var (
	// ErrNone is returned by Parse for a text without a key or share.
	ErrNone = errors.New("no written key and no share is in it: either begins with the line " + title + " KEY V1 or " + title + " SHARE V1")

	// ErrTooLong is returned by Parse for text of more than MaxText bytes.
	ErrTooLong = fmt.Errorf("it is longer than %d bytes, and so no written key", MaxText)
)

// LineError is a mistyped line, without its text.
type LineError struct {
	// Block names the key or share as far as known, as "share 2 of 5 of set 4T9K7M2Q", or
	// only "share" or "key".
	Block string
	// Line is the line's printed number; 0 is the title.
	Line int
	// TextLine is the line in the text, from 1, or 0 for a line typed by itself.
	TextLine int
	// Reason says what is wrong.
	Reason string
}

// Error names the block, the line and what is wrong.
func (e *LineError) Error() string {
	line := fmt.Sprintf("line %d", e.Line)
	if e.Line == 0 {
		line = "the line before line 1"
	}
	if e.TextLine > 0 {
		line += fmt.Sprintf(" (line %d of the text)", e.TextLine)
	}
	return e.Block + ", " + line + ": " + e.Reason
}

// BlockError means that all lines are valid but the whole is not: intended damage, or more
// errors than the checksums of lines show.
type BlockError struct {
	Block  string // as in LineError
	Reason string
}

// Error names the block and what is wrong.
func (e *BlockError) Error() string { return e.Block + ": " + e.Reason }
