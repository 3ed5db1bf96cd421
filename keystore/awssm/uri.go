package awssm

import (
	"errors"
	"regexp"
	"strings"
	"unicode"

	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// The stages that Secrets Manager itself gives a meaning.
const (
	stageCurrent  = "AWSCURRENT"
	stagePrevious = "AWSPREVIOUS"
	stagePending  = "AWSPENDING"
)

// stageOf is the stage that keeps a former key.
const stageOf = "takumi-"

// Names have letters, digits and /_+=.@- (CreateSecret), ARNs colons too.
var secretID = regexp.MustCompile(`^[A-Za-z0-9/_+=.@:-]+$`)

// parse reads SECRET-ID[#field][@version]. Its errors do not repeat what it
// was given.
func parse(rest string) (*Secret, error) {
	s := &Secret{}
	var hasField, hasVersion bool
	s.id, s.field, hasField = strings.Cut(rest, "#")
	last := &s.id
	if hasField {
		last = &s.field
	}
	if i := strings.LastIndexByte(*last, '@'); i >= 0 {
		hasVersion = true
		*last, s.version = (*last)[:i], (*last)[i+1:]
	}
	switch {
	case redact.HasKey(rest):
		return nil, errors.New("a part of it looks like a key itself; others may have seen it by now, so make a new key")
	case len(s.id) > 2048 || !secretID.MatchString(s.id):
		return nil, errors.New("a secret's name has letters, digits and /_+=.@- only, and an ARN colons too")
	case strings.HasPrefix(s.id, "arn:") && arnRegion(s.id) == "":
		return nil, errors.New("an ARN of a secret reads arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
	case hasField && !plain(s.field, 1024):
		return nil, errors.New("no name of a JSON field is after the #")
	case hasVersion && !plain(s.version, 256):
		return nil, errors.New("no stage and no version id is after the last @; a name that has an @ itself is written NAME@AWSCURRENT")
	}
	return s, nil
}

// plain reports whether s is some printable text of at most max bytes.
func plain(s string, max int) bool {
	return s != "" && len(s) <= max && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}

// arnRegion is the region of a secret's ARN, and "" when id is none.
func arnRegion(id string) string {
	parts := strings.SplitN(id, ":", 7)
	if len(parts) != 7 || parts[0] != "arn" || parts[2] != "secretsmanager" || parts[5] != "secret" {
		return ""
	}
	return parts[3]
}

// isID reports whether version is an id: 32 to 64 characters by the API, which a stage
// hardly has.
func isID(version string) bool { return 32 <= len(version) && len(version) <= 64 }
