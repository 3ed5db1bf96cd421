package sign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const maxSigners = 1 << 20 // bytes of an allowed_signers file

// Signers are the trusted signers of OpenSSH's allowed_signers file (ssh-keygen(1),
// "ALLOWED SIGNERS").
type Signers struct {
	lines   []signer
	skipped []int
}

type signer struct {
	principals    string
	namespaces    string // a pattern list; "" is for all
	after, before time.Time
	key           ssh.PublicKey
}

// Signer is who signed, by an allowed_signers file.
type Signer struct {
	Principals  string // names or addresses with commas, as in the line
	Fingerprint string // SHA256:…
}

// String names the signer and the key.
func (s Signer) String() string { return s.Principals + " (" + s.Fingerprint + ")" }

// UntrustedError means that a valid signature is by a key that is not trusted with it.
type UntrustedError struct {
	Fingerprint string
	Why         string
}

// Error names the key and says why it is not trusted.
func (e *UntrustedError) Error() string {
	return fmt.Sprintf("the signature is by key %s, %s", e.Fingerprint, e.Why)
}

// ParseSigners reads an allowed_signers file: lines of principals, options, key type and
// key; empty lines and comments are skipped. The options are namespaces, valid-after and
// valid-before. Lines of certificate authorities are ignored, and listed by Skipped. An
// error names the line.
func ParseSigners(src io.Reader) (*Signers, error) {
	limited := &io.LimitedReader{R: src, N: maxSigners + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 64<<10)
	s := new(Signers)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		one, authority, err := parseSigner(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("reading the allowed signers, line %d: %w", n, err)
		case authority:
			s.skipped = append(s.skipped, n)
		default:
			s.lines = append(s.lines, one)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the allowed signers: %w", err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("reading the allowed signers: the file is longer than %d bytes", maxSigners)
	}
	if len(s.lines) == 0 {
		return nil, errors.New("reading the allowed signers: there is no key in it that could sign")
	}
	return s, nil
}

// Only returns signers with just this key.
func Only(key ssh.PublicKey) *Signers { return &Signers{lines: []signer{{key: key}}} }

// Skipped returns the numbers of ignored lines.
func (s *Signers) Skipped() []int { return s.skipped }

func parseSigner(line string) (one signer, authority bool, err error) {
	words := fields(line)
	if len(words) < 3 {
		return one, false, errors.New("principals, a key type and a key are wanted")
	}
	one.principals = strings.Trim(words[0], `"`)
	// As in authorized_keys, words before a key type are options.
	rest := words[1:]
	if key, err := parseKey(rest); err == nil {
		one.key = key
		return one, false, nil
	}
	for _, option := range split(rest[0], ',') {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "cert-authority":
			authority = true
		case "namespaces":
			if one.namespaces = value; value == "" {
				err = errors.New("there are no namespaces")
			}
		case "valid-after":
			one.after, err = parseTime(value)
		case "valid-before":
			one.before, err = parseTime(value)
		default:
			err = fmt.Errorf("there is no option or key type %q", name)
		}
		if err != nil {
			return one, false, err
		}
	}
	one.key, err = parseKey(rest[1:])
	return one, authority, err
}

func parseKey(words []string) (ssh.PublicKey, error) {
	if len(words) < 2 {
		return nil, errors.New("there is no key")
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(words[0] + " " + words[1]))
	if err != nil || len(options) > 0 || key.Type() != words[0] {
		return nil, errors.New("it is not an ssh public key")
	}
	return key, nil
}

// fields cuts a line at blanks outside double quotes.
func fields(line string) []string {
	var words []string
	for _, word := range split(strings.ReplaceAll(line, "\t", " "), ' ') {
		if word != "" {
			words = append(words, word)
		}
	}
	return words
}

// split cuts at a separator outside double quotes.
func split(s string, separator rune) []string {
	quoted := false
	var parts []string
	begin := 0
	for i, r := range s {
		switch {
		case r == '"':
			quoted = !quoted
		case r == separator && !quoted:
			parts = append(parts, s[begin:i])
			begin = i + 1
		}
	}
	return append(parts, s[begin:])
}

// parseTime reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in UTC with a Z, and else in
// local time.
func parseTime(value string) (time.Time, error) {
	where := time.Local
	digits, utc := strings.CutSuffix(value, "Z")
	if utc {
		where = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			if at, err := time.ParseInLocation(layout, digits, where); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time of the form YYYYMMDD[HHMM[SS]][Z]", value)
}

// Verify returns which signer made a signature. A line's validity is checked for the
// statement's time, so that a key that has expired since still counts. The error is
// *UntrustedError.
func (s *Signers) Verify(sig *Signature) (Signer, error) {
	why := "which is not among the allowed signers"
	blob := sig.Key.Marshal()
	for _, l := range s.lines {
		if !bytes.Equal(l.key.Marshal(), blob) {
			continue
		}
		switch {
		case l.namespaces != "" && !matchList(Namespace, l.namespaces):
			why = "which may not sign in the namespace " + Namespace
		case !l.after.IsZero() && sig.Signed.Before(l.after):
			why = fmt.Sprintf("which was not valid yet on %s", sig.Signed.Format(time.DateOnly))
		case !l.before.IsZero() && !sig.Signed.Before(l.before):
			why = fmt.Sprintf("which was not valid any more on %s", sig.Signed.Format(time.DateOnly))
		default:
			return Signer{l.principals, ssh.FingerprintSHA256(sig.Key)}, nil
		}
	}
	return Signer{}, &UntrustedError{ssh.FingerprintSHA256(sig.Key), why}
}

// matchList matches a list of patterns with commas; one with "!" excludes (ssh_config(5),
// "PATTERNS").
func matchList(s, list string) bool {
	matched := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, not := strings.CutPrefix(pattern, "!")
		if match(s, pattern) {
			if not {
				return false
			}
			matched = true
		}
	}
	return matched
}

// match matches a pattern in which * is any text and ? any character.
func match(s, pattern string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := range len(s) + 1 {
				if match(s[i:], pattern[1:]) {
					return true
				}
			}
			return false
		case s == "" || pattern[0] != '?' && pattern[0] != s[0]:
			return false
		}
		s, pattern = s[1:], pattern[1:]
	}
	return s == ""
}
