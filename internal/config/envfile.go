// Package config reads the settings of the program once: those of the environment,
// and of a file. Call [Load].
//
// A backup.toml is a [File]. A file of NAME=VALUE lines means the same to a POSIX
// shell that sources it and, but for its rarer escapes, to systemd's
// EnvironmentFile=; nothing in it is evaluated, and what a shell would expand, split
// or run is an error that says so.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// MaxSize bounds a file in bytes.
const MaxSize = 64 << 10

// ErrOpen is returned for a file that others may read or change.
var ErrOpen = fsutil.ErrOpen

// Variable is one line.
type Variable struct {
	Name, Value string
	Line        int
}

// SyntaxError says which line is wrong, or with Line 0 only what. It never shows a value.
type SyntaxError struct {
	Line   int
	Reason string
}

// Error names the line.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Reason
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
}

// Read reads the file at path, which must be as private as a key file
// (fsutil.Private). known tells
// whether a variable of that name is one: a misspelt name must not pass for a
// setting that was left out; names are those to suggest in its place. The errors are ErrOpen, *SyntaxError and those of
// package os, with the path.
func Read(path string, known func(name string) bool, names ...string) ([]Variable, error) {
	text, err := fsutil.ReadPrivate(path, MaxSize+1)
	if err != nil {
		return nil, err
	}
	variables, err := Parse(bytes.NewReader(text), known, names...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return variables, nil
}

// Parse is Read without the file.
func Parse(src io.Reader, known func(name string) bool, names ...string) ([]Variable, error) {
	text, err := io.ReadAll(io.LimitReader(src, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxSize {
		return nil, &SyntaxError{bytes.Count(text, []byte("\n")) + 1, fmt.Sprintf("the file is longer than %d bytes", MaxSize)}
	}
	seen := make(map[string]bool)
	var variables []Variable
	for i, line := range strings.Split(string(text), "\n") {
		n := i + 1
		v, err := parseLine(line)
		switch {
		case err != nil:
			return nil, &SyntaxError{n, err.Error()}
		case v.Name == "":
			continue
		case !known(v.Name):
			reason := v.Name + " is not a setting of this program"
			if near := Nearest(v.Name, names); near != "" {
				reason += ": did you mean " + near + "?"
			}
			return nil, &SyntaxError{n, reason}
		case seen[v.Name]:
			return nil, &SyntaxError{n, fmt.Sprintf("%s is set a second time", v.Name)}
		}
		seen[v.Name], v.Line = true, n
		variables = append(variables, v)
	}
	return variables, nil
}

var (
	assignment = regexp.MustCompile(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)
	// bare are the values that need no quotes anywhere.
	bare = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)
)

func parseLine(line string) (Variable, error) {
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return Variable{}, errors.New("it is not plain UTF-8 text (or the file has Windows line ends)")
	}
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return Variable{}, nil
	}
	parts := assignment.FindStringSubmatch(line)
	if parts == nil {
		return Variable{}, errors.New("it is not NAME=VALUE")
	}
	value := parts[2]
	switch {
	case bare.MatchString(value):
	case len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' && !strings.Contains(value[1:len(value)-1], "'"):
		value = value[1 : len(value)-1]
	case len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' && !strings.ContainsAny(value[1:len(value)-1], "\"$`\\"):
		value = value[1 : len(value)-1]
	default:
		return Variable{}, fmt.Errorf("put the value of %s in single quotes: a shell would take it apart, and nothing here is evaluated", parts[1])
	}
	return Variable{Name: parts[1], Value: value}, nil
}
