package envelope

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrName is what every error of CheckName wraps.
var ErrName = errors.New("the name cannot be in an envelope")

// CheckName checks a backup's name: 1 to 255 bytes of valid UTF-8, no "/", no control
// characters, and neither "." nor "..".
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("%w: it has %d bytes, not 1 to %d", ErrName, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not UTF-8", ErrName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q names a folder", ErrName, name)
	case strings.ContainsRune(name, '/'):
		return fmt.Errorf("%w: %q has a slash", ErrName, name)
	case strings.ContainsFunc(name, unicode.IsControl): // exactly U+0000-1F and U+007F-9F
		return fmt.Errorf("%w: %q has a control character", ErrName, name)
	}
	return nil
}

func isUnreserved(c byte) bool { // RFC 3986, section 2.3
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// EncodeName percent-encodes every byte outside RFC 3986's unreserved ones, and no other.
func EncodeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; isUnreserved(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// decodeName accepts only EncodeName's results for valid names.
func decodeName(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' {
			if i+2 >= len(text) {
				return "", errors.New("the name ends inside a % escape")
			}
			fmt.Sscanf(text[i+1:i+3], "%02X", &c) // what that does not read is encoded otherwise
			i += 2
		}
		b.WriteByte(c)
	}
	name := b.String()
	if EncodeName(name) != text {
		return "", errors.New("the name is not encoded in the one right way")
	}
	return name, CheckName(name)
}
