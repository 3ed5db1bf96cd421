package postgres

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// TableName names a table, or anything else in a schema.
type TableName struct{ Schema, Table string }

var bare = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

// String returns the name as psql shows it: schema.table, in quotes where needed.
func (n TableName) String() string {
	text := ""
	for i, part := range []string{n.Schema, n.Table} {
		if i == 0 && part == "" {
			continue
		}
		if !bare.MatchString(part) {
			part = Quote(part)
		}
		text += part + "."
	}
	return strings.TrimSuffix(text, ".")
}

// Line is String, in Go's quotes where it is not one line of a terminal.
func (n TableName) Line() string {
	text := n.String()
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// Quoted returns the name as SQL has it.
func (n TableName) Quoted() string {
	if n.Schema == "" {
		return Quote(n.Table)
	}
	return Quote(n.Schema) + "." + Quote(n.Table)
}

// ParseTableName parses String's form, and psql's: unquoted upper case counts as lower
// case. Without a schema Schema is "".
func ParseTableName(text string) (TableName, error) {
	var parts []string
	rest := text
	for {
		var part string
		if inner, quoted := strings.CutPrefix(rest, `"`); quoted {
			for {
				before, after, closed := strings.Cut(inner, `"`)
				if !closed {
					return TableName{}, fmt.Errorf("%s is not a name: a quote is open", text)
				}
				part += before
				if inner, closed = strings.CutPrefix(after, `"`); !closed {
					rest = after
					break
				}
				part += `"`
			}
		} else {
			n := strings.IndexByte(rest+".", '.')
			part, rest = strings.ToLower(rest[:n]), rest[n:]
		}
		parts = append(parts, part)
		var more bool
		if rest, more = strings.CutPrefix(rest, "."); !more {
			break
		}
	}
	switch {
	case rest != "" || len(parts) > 2 || parts[0] == "" || parts[len(parts)-1] == "":
		return TableName{}, fmt.Errorf("%s is not a name of the form schema.table", text)
	case len(parts) == 1:
		return TableName{"", parts[0]}, nil
	}
	return TableName{parts[0], parts[1]}, nil
}
