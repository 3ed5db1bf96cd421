// Package redact keeps keys out of messages. People paste a key where the name
// of one belongs, and servers repeat what they were sent: whatever is printed of
// such text goes through here.
package redact

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"unicode"
)

const redacted = "[redacted]"

// likeKey matches what may be a key, in hex or base64, or an identity of age, or most of one. Digits
// after 0x are a hash or an address of a block chain: no key is written so.
var likeKey = regexp.MustCompile(`(?:0x)?[0-9A-Fa-f]{48,}|(?i:AGE-SECRET-KEY-(?:PQ-)?1[0-9a-z]{20,})|[0-9A-Za-z+/_-]{43,}=`)

// HasKey reports whether a part of text may be a key.
func HasKey(text string) bool { return Keys(text) != text }

// Keys replaces the parts of text that may be a key.
func Keys(text string) string {
	return likeKey.ReplaceAllStringFunc(text, func(found string) string {
		if strings.HasPrefix(found, "0x") {
			return found
		}
		return redacted
	})
}

// userOf matches who logs in by a URL, with a password perhaps.
var userOf = regexp.MustCompile(`://[^\s/?#@]+@`)

// URLs replaces the user and the password of each URL in text.
func URLs(text string) string { return userOf.ReplaceAllString(text, "://"+redacted+"@") }

// Error returns the text of err as it may be printed.
func Error(err error) string { return Keys(err.Error()) }

// Path returns path as it may be printed. A path that err reports missing may be a pasted
// key; the path of a file that exists stays whole, so that scripts find the file.
func Path(path string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return Keys(path)
	}
	return path
}

// Line makes text from outside fit for a message: one line of printable
// characters, at most max of them, without what may be a key.
func Line(text string, max int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	// Blanks first: a key must not hide in two lines that are then joined.
	text = Keys(strings.Join(strings.Fields(text), " "))
	if runes := []rune(text); len(runes) > max {
		text = strings.TrimSpace(string(runes[:max])) + "…"
	}
	return text
}
