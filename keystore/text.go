package keystore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

const (
	digits = 2 * kek.Size
	// maxText exceeds the text of a key in any form.
	maxText = 512

	byteOrderMark = "\xef\xbb\xbf"
)

// ParseText parses 64 hex digits of either case; blanks and line ends around them and a
// byte order mark do not matter. Errors do not repeat the text; those of [FromBytes] are
// passed on. The caller wipes text.
func ParseText(text []byte) (*kek.Key, error) {
	hexText := trim(text)
	var material [kek.Size]byte
	defer clear(material[:])
	if len(hexText) == digits {
		// hex's error would repeat a character of the key.
		if _, err := hex.Decode(material[:], hexText); err == nil {
			return FromBytes(material[:])
		}
	}
	return nil, errors.New(textFault(text, hexText))
}

func trim(text []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(text, []byte(byteOrderMark)), " \t\r\n")
}

func textFault(text, hexText []byte) string {
	const want = "want 64 hex digits, as openssl rand -hex 32 writes"
	if material, form := otherForm(text); material != nil {
		clear(material)
		return "it holds " + form + "; " + want + ", and takumi-backup key import makes them of it"
	}
	switch {
	case len(text) == 0:
		return "it is empty; " + want
	case len(text) == kek.Size:
		return "it holds 32 bytes of text, and a key is random; " + want
	case len(text) >= maxText, len(hexText) > digits+1 && len(bytes.Trim(hexText, "0123456789abcdefABCDEF")) == 0:
		return "it holds more than 64 hex digits; " + want
	case bytes.ContainsAny(hexText, " \t\r\n"):
		return "it holds blanks or several lines; " + want
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

var (
	// assigned matches the part before a value in files of settings, and in the output of
	// `openssl enc -P`.
	assigned = regexp.MustCompile(`^(?:export\s+)?"?[A-Za-z_][A-Za-z0-9_-]*"?\s*[=:]\s*`)
	quotes   = []string{`"`, `'`}
)

// otherForm finds 32 bytes in another form than 64 hex digits, and names the form; nil if
// there are none. The caller wipes them.
func otherForm(text []byte) (material []byte, form string) {
	if len(text) == kek.Size && !isText(text) {
		return bytes.Clone(text), "32 raw bytes"
	}
	if narrow, wide := narrowed(text); wide {
		defer clear(narrow)
		if material := hexIn(trim(narrow)); material != nil {
			return material, "the digits in UTF-16"
		}
	}
	plain := trim(text)
	if len(plain) == digits {
		if material := hexIn(plain); material != nil {
			clear(material)
			return nil, "" // the form itself
		}
	}
	value := bytes.TrimPrefix(plain, assigned.Find(plain))
	for _, quote := range quotes {
		if inner, ok := bytes.CutPrefix(value, []byte(quote)); ok {
			value = bytes.TrimSuffix(inner, []byte(quote))
		}
	}
	// With and without a seeming name, which may be part of the key.
	for _, value := range [][]byte{plain, value} {
		if material := hexIn(value); material != nil {
			return material, "the digits with something around or between them"
		}
		if material, form := base64In(value); material != nil {
			return material, form
		}
	}
	return nil, ""
}

// hexIn reads 64 hex digits with or without 0x, colons, dashes or blanks, as of od, xxd and
// fingerprints.
func hexIn(text []byte) []byte {
	compact := compacted(bytes.TrimPrefix(bytes.TrimPrefix(text, []byte("0x")), []byte("0X")), " \t\r\n:-")
	defer clear(compact)
	material := make([]byte, kek.Size)
	if len(compact) != digits {
		return nil
	}
	if _, err := hex.Decode(material, compact); err != nil {
		clear(material)
		return nil
	}
	return material
}

// base64In reads base64 (RFC 4648) of 32 bytes or of 64 hex digits, in either alphabet,
// with or without padding.
func base64In(text []byte) (material []byte, form string) {
	compact := bytes.TrimRight(compacted(text, " \t\r\n"), "=")
	defer clear(compact)
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		decoded := make([]byte, encoding.DecodedLen(len(compact)))
		if _, err := encoding.Strict().Decode(decoded, compact); err != nil {
			clear(decoded)
			continue
		}
		if len(decoded) == kek.Size {
			return decoded, "base64"
		}
		material := hexIn(trim(decoded))
		clear(decoded)
		if material != nil {
			return material, "base64 of the digits, as a Kubernetes manifest has it"
		}
	}
	return nil, ""
}

// compacted returns a copy without the characters of cut.
func compacted(text []byte, cut string) []byte {
	kept := make([]byte, 0, len(text))
	for _, c := range text {
		if bytes.IndexByte([]byte(cut), c) < 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// narrowed turns UTF-16 with a byte order mark, as of Windows' shell, into ASCII; what is
// none becomes a byte that is none.
func narrowed(text []byte) (narrow []byte, wide bool) {
	little := bytes.HasPrefix(text, []byte("\xff\xfe"))
	if !little && !bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, false
	}
	high := 0
	if little {
		high = 1
	}
	units := make([]uint16, 0, len(text)/2)
	defer func() { clear(units) }()
	for at := 2; at+1 < len(text); at += 2 {
		units = append(units, uint16(text[at+high])<<8|uint16(text[at+1-high]))
	}
	runes := utf16.Decode(units)
	defer clear(runes)
	for _, r := range runes {
		narrow = append(narrow, byte(min(r, utf8.RuneSelf)))
	}
	return narrow, true
}

// foreign are forms of a key that another program opens, and its command for FILE.
var foreign = []struct {
	form    *regexp.Regexp // of the text as Latin-1
	what    string
	command string
}{
	{regexp.MustCompile(`^\s*-----BEGIN PGP MESSAGE-----|^[\x8c\xc3][\x00-\x20]\x04`), "a file that gpg has encrypted", "gpg --decrypt FILE"},
	{regexp.MustCompile(`^Salted__|^\s*U2FsdGVkX1`), "a file that openssl has encrypted", "openssl enc -d -aes-256-cbc -pbkdf2 -in FILE"},
	{regexp.MustCompile(`^\s*-----BEGIN AGE ENCRYPTED FILE-----|^age-encryption\.org/v1\n`), "a file that age has encrypted", "age --decrypt FILE"},
	// ssss-combine asks for the shares and writes the result to standard error.
	{regexp.MustCompile(`(?m)^(\S+-)?[0-9]{1,3}-[0-9A-Fa-f]{64}\s*$`), "a share that ssss-split -x has made", "ssss-combine -x -q -t 3 2>&1"},
	{regexp.MustCompile(`(?m)^(\S+-)?[0-9]{1,3}-[0-9A-Fa-f]{128,}\s*$`), "a share that ssss-split has made", "ssss-combine -q -t 3 2>&1"},
}

// latin1 reads bytes as characters, for expressions on text that is not UTF-8.
type latin1 struct{ text []byte }

// ReadRune implements io.RuneReader.
func (l *latin1) ReadRune() (r rune, size int, err error) {
	if len(l.text) == 0 {
		return 0, 0, io.EOF
	}
	r, l.text = rune(l.text[0]), l.text[1:]
	return r, 1, nil
}

// Import parses the forms that other tools and people give a key: ParseText's, digits in
// groups or after a name, base64, 32 raw bytes. path names the source in errors, "-"
// standard input; the caller wipes text. The error is an *Error of kind ErrRefused; where
// another program has to open the text first, Fix is its command.
func Import(path string, text []byte) (*kek.Key, error) {
	e := &Error{URI: File{Path: path}.String(), Kind: ErrRefused}
	file := shellWord(path)
	if path == "-" {
		e.URI, file = "standard input", "FILE"
	}
	material, _ := otherForm(text)
	if material == nil {
		for _, f := range foreign {
			if f.form.MatchReader(&latin1{text}) {
				e.Reason, e.Fix = "it is "+f.what, strings.ReplaceAll(f.command, "FILE", file)+" | takumi-backup key import -o KEYFILE -"
				return nil, e
			}
		}
	}
	var key *kek.Key
	var err error
	if material != nil {
		key, err = FromBytes(material)
		clear(material)
	} else {
		key, err = ParseText(text)
	}
	if err != nil {
		e.Reason, e.Err = err.Error(), err
		return nil, e
	}
	return key, nil
}
