package keystore

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// The kinds of Error, for errors.Is.
var (
	// ErrNotFound means that the place has no key.
	ErrNotFound = errors.New("key not found")

	// ErrRefused means that the content may not be used as a key: it is open to others,
	// malformed or unreadable.
	ErrRefused = errors.New("key refused")

	// ErrUnreachable means that the place did not answer in time or asked to come back
	// later: another try may succeed.
	ErrUnreachable = errors.New("key store unreachable")

	// ErrConflict means that the place holds another key than the caller of Store named.
	ErrConflict = errors.New("the key was changed by somebody else")

	// ErrNone is returned by a Ring without sources.
	ErrNone = fail.New(fail.Key, "give --key file:PATH, or set BACKUP_ENCRYPTION_KEY_FILE or SECRETS_BACKEND; `takumi-backup key generate -o PATH` makes a key", "no key is named")
)

// Error is why a key is not available. It never contains key material. It wraps its Kind
// and, if any, the operating system's error.
type Error struct {
	URI    string // of the source
	Kind   error  // ErrNotFound, ErrRefused, ErrUnreachable or ErrConflict
	Reason string // what is wrong
	Fix    string // what to do, often a shell command; may be empty
	Err    error  // the cause; may be nil
}

// Error names the source, the fault and the fix.
func (e *Error) Error() string {
	s := "key " + e.URI + ": " + e.Reason
	if e.Fix != "" {
		s += "; to fix: " + e.Fix
	}
	return s
}

// Fail returns the class of an error with keys, and for a key that was not found how to
// bring it back.
func (e *Error) Fail() (fail.Class, string) {
	if errors.Is(e.Kind, ErrNotFound) && e.Fix == "" {
		return fail.Key, "bring the key back from a copy: takumi-backup key scan reads paper, key combine puts shares together; a new one of key generate opens nothing that was sealed before"
	}
	return fail.Key, ""
}

// Unwrap returns the kind, and the cause if there is one.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

const redacted = "[redacted]"

var (
	// Shorter than a key, to match one that was pasted in part, and longer than the digests
	// that files are commonly named after.
	hexRun = regexp.MustCompile(`[0-9A-Fa-f]{48,}`)
	hexKey = regexp.MustCompile(`^[0-9A-Fa-f]{64}\n?$`)
)

// looksLikeKey reports whether s, given as a name, is most likely a key.
func looksLikeKey(s string) bool {
	if hexKey.MatchString(s) {
		return true
	}
	// Without the padding, any path of 43 letters would match.
	if len(s) != base64.StdEncoding.EncodedLen(32) || !strings.HasSuffix(s, "=") {
		return false
	}
	_, err := base64.StdEncoding.DecodeString(s)
	_, urlErr := base64.URLEncoding.DecodeString(s)
	return err == nil || urlErr == nil
}

// display makes a path safe to print: without possible keys and control characters.
func display(path string) string {
	if looksLikeKey(path) {
		return redacted
	}
	path = hexRun.ReplaceAllString(path, redacted)
	if !printable(path) {
		return strconv.Quote(path)
	}
	return path
}

// shellWord quotes a path for a shell.
func shellWord(path string) string {
	return fsutil.ShellWord(hexRun.ReplaceAllString(path, redacted))
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// cause strips the wrappers of package os, which repeat the path.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	case *os.SyscallError:
		return e.Err
	}
	return err
}
