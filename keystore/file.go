package keystore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

const (
	digits = 2 * kek.Size
	// maxText is the longest good file, digits and a newline.
	maxText = digits + 1
)

// File is the key file at Path. The package comment says what a key file
// must be like.
type File struct {
	Path string
}

// String returns "file:PATH".
func (f File) String() string { return "file:" + display(f.Path) }

// Load opens the file, judges what it opened, and reads it. At most 66 bytes
// are read, and neither a named pipe nor a device holds it up. The Error's
// Reason and Fix name the first thing that is wrong.
func (f File) Load(ctx context.Context) (*kek.Key, error) {
	text, err := f.ReadSecret(ctx, maxText+1) // one more, to see that a file is too long
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := ParseText(text)
	if err != nil {
		return nil, &Error{URI: f.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
	}
	return key, nil
}

// ReadSecret returns the first bytes of the file, at most max, if it is as
// private as a key file has to be. It is for secrets that lead to keys: a
// passphrase, a token. The caller wipes them. The errors are those of Load.
func (f File) ReadSecret(ctx context.Context, max int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if looksLikeKey(f.Path) {
		return nil, f.refuse("the path looks like a key itself", "give the path of the file that holds the key, and make a new key: others may have seen this one")
	}
	file, err := os.OpenFile(f.Path, openFlags, 0)
	if err != nil {
		return nil, f.openError(err)
	}
	defer file.Close()
	// What is judged is the open file, so that nobody can swap it between the
	// judgement and the reading.
	info, err := file.Stat()
	if err != nil {
		return nil, f.systemError(err)
	}
	if reason, fix := judge(f.Path, info, func() bool { return delivered(f.Path, file, info) }); reason != "" {
		return nil, f.refuse(reason, fix)
	}
	text := make([]byte, max)
	n, err := io.ReadFull(file, text)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		clear(text)
		return nil, f.systemError(err)
	}
	return text[:n], nil
}

// DestroyCommand implements Destroyable.
func (f File) DestroyCommand(kek.ID) string { return "shred -u " + shellWord(f.Path) }

func (f File) refuse(reason, fix string) error {
	return &Error{URI: f.String(), Kind: ErrRefused, Reason: reason, Fix: fix}
}

func (f File) systemError(err error) error {
	err = cause(err)
	return &Error{URI: f.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
}

// openError explains why the file did not open.
func (f File) openError(err error) error {
	err = cause(err)
	e := &Error{URI: f.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
	if isMissing(err) {
		e.Kind = ErrNotFound
		if _, err := os.Lstat(f.Path); err == nil {
			e.Reason = "it is a symbolic link to a file that does not exist"
		}
		return e
	}
	// The metadata may be readable where the file is not.
	info, statErr := os.Stat(f.Path)
	switch {
	case statErr != nil:
	case !info.Mode().IsRegular():
		e.Reason, e.Fix = judge(f.Path, info, func() bool { return false })
	case errors.Is(err, fs.ErrPermission):
		e.Reason = fmt.Sprintf("its owner and its mode, %s, do not let uid %d read it", octal(info.Mode()), os.Geteuid())
		e.Fix = ownerFix(f.Path)
	}
	return e
}

// ParseText turns the text of a key, wherever it was kept, into a key: 64 hex
// digits of either case and at most one newline after them. Errors say what is
// wrong with the text and do not repeat it. The text stays the caller's to wipe.
func ParseText(text []byte) (*kek.Key, error) {
	hexText := bytes.TrimSuffix(text, []byte("\n"))
	var material [kek.Size]byte
	defer clear(material[:])
	if len(hexText) == digits {
		// hex's own error names the offending character, so it is dropped.
		if _, err := hex.Decode(material[:], hexText); err == nil {
			return kek.New(material[:])
		}
	}
	return nil, errors.New(textFault(text, hexText))
}

func textFault(text, hexText []byte) string {
	const want = "want 64 hex digits and at most one newline after them, as openssl rand -hex 32 writes"
	switch {
	case len(text) == 0:
		return "it is empty; " + want
	case len(text) == kek.Size:
		return "it holds 32 bytes, perhaps the raw key; " + want
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return "it begins with a byte order mark, as some editors write; " + want
	case bytes.ContainsRune(text, '\r'):
		return "it has Windows line endings (CR LF); " + want
	case bytes.HasSuffix(hexText, []byte("\n")):
		return "it ends in more than one newline; " + want
	case bytes.ContainsAny(hexText, " \t\n"):
		return "it holds blanks or several lines; " + want
	case len(text) > maxText:
		return "it holds more than 64 hex digits and a newline; " + want
	}
	for i, c := range hexText {
		if !isHexDigit(c) {
			return fmt.Sprintf("character %d is not a hex digit; %s", i+1, want)
		}
	}
	return fmt.Sprintf("it holds %d hex digits; %s", len(hexText), want)
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
