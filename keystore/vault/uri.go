package vault

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/redact"
)

const defaultField = "key"

// parse reads what is after "vault:". Its errors do not repeat it.
func parse(rest string) (Secret, error) {
	switch {
	case redact.HasKey(rest):
		return Secret{}, errors.New("a part of it looks like a key itself; others may have seen it by now, so make a new key")
	case !printable(rest):
		return Secret{}, errors.New("it holds characters that cannot be printed")
	}
	rest, versionText, pinned := strings.Cut(rest, "@")
	location, field, named := strings.Cut(rest, "#")
	s := Secret{field: defaultField}
	if pinned {
		n, err := strconv.Atoi(versionText)
		if err != nil || n < 1 || n > math.MaxInt32 || strconv.Itoa(n) != versionText {
			return Secret{}, errors.New("what is after @ is the version, a positive number, and nothing follows it")
		}
		s.version = n
	}
	if named {
		if field == "" || strings.Contains(field, "#") {
			return Secret{}, errors.New("what is after # is the name of one field")
		}
		s.field = field
	}
	mount, path, double := strings.Cut(location, "//")
	if !double {
		mount, path, _ = strings.Cut(location, "/")
	}
	// The client would resolve the dots, and ask for another secret.
	for part := range strings.SplitSeq(mount+"/"+path, "/") {
		if part == "" || part == "." || part == ".." {
			return Secret{}, errors.New("the mount and the path are names parted by single slashes, none of them empty, . or ..")
		}
	}
	s.mount, s.path = mount, path
	return s, nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:+,%][A-Za-z0-9_./:+,%-]*$`)

func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func clean(s string) string { return redact.Line(s, 200) }
