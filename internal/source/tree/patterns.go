package tree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// Patterns selects paths in a tree, as gitignore(5) does: *, ? and [a-z] or [!a-z] match
// characters of one name, ** as a whole name any number of folders, a backslash quotes the
// next character. A pattern with a slash at its beginning or in the middle is relative to
// the root of the tree, any other matches names at any depth; one with a slash at its end
// matches only folders. ! excludes what patterns before it matched. The last matching
// pattern decides. There are no braces.
//
// Patterns remember which of them matched, and are safe for concurrent use.
type Patterns []*pattern

type pattern struct {
	text    string
	names   []segment
	not     bool // takes back
	folders bool // matches folders alone
	used    atomic.Bool
}

type segment struct {
	any  bool
	text string // without wildcards; or
	wild *regexp.Regexp
}

func (s *segment) match(name string) bool {
	if s.wild != nil {
		return s.wild.MatchString(name)
	}
	return s.text == name
}

// ParsePatterns checks patterns that a user wrote.
func ParsePatterns(texts []string) (Patterns, error) {
	var all Patterns
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q is not one: %w", text, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// ReadPatterns returns a file's patterns, one a line, as git reads it: empty lines and
// those that begin with # are ignored, and so are blanks at the end of a line, unless a
// backslash precedes them.
func ReadPatterns(r io.Reader) ([]string, error) {
	var texts []string
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return texts, lines.Err()
		}
		line := strings.TrimSuffix(lines.Text(), "\r")
		if len(texts) == 0 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
			line = line[:len(line)-1]
		}
		if line != "" && line[0] != '#' {
			texts = append(texts, line)
		}
	}
}

func parsePattern(text string) (*pattern, error) {
	p := &pattern{text: text}
	rest, not := strings.CutPrefix(text, "!")
	p.not = not
	clean := strings.TrimRight(rest, "/")
	p.folders = clean != rest
	anchored := strings.Contains(clean, "/")
	clean = strings.TrimPrefix(clean, "/")
	if clean == "" {
		return nil, errors.New("it names nothing")
	}
	if !anchored {
		p.names = append(p.names, segment{any: true})
	}
	for name := range strings.SplitSeq(clean, "/") {
		s, err := parseSegment(name)
		if err != nil {
			return nil, err
		}
		p.names = append(p.names, s)
	}
	return p, nil
}

func parseSegment(name string) (segment, error) {
	switch {
	case name == "**":
		return segment{any: true}, nil
	case name == "" || name == "." || name == "..":
		return segment{}, fmt.Errorf("%q cannot be the name of a file", name)
	case !strings.ContainsAny(name, `*?[\`):
		return segment{text: name}, nil
	case !utf8.ValidString(name):
		return segment{}, errors.New("a pattern with wildcards has to be UTF-8")
	}
	// s: a name may hold a line end.
	expr := `(?s)\A`
	for rest := name; rest != ""; {
		part, left, err := translate(rest)
		if err != nil {
			return segment{}, err
		}
		expr, rest = expr+part, left
	}
	wild, err := regexp.Compile(expr + `\z`)
	if err != nil {
		return segment{}, fmt.Errorf("in %q, a range is the wrong way round or no class", name)
	}
	return segment{wild: wild}, nil
}

func translate(name string) (expr, rest string, err error) {
	switch name[0] {
	case '*':
		return ".*", strings.TrimLeft(name, "*"), nil
	case '?':
		return ".", name[1:], nil
	case '[':
		return translateClass(name)
	case '\\':
		if name = name[1:]; name == "" {
			return "", "", errors.New("it ends with a backslash")
		}
	}
	_, size := utf8.DecodeRuneInString(name)
	return regexp.QuoteMeta(name[:size]), name[size:], nil
}

func translateClass(name string) (expr, rest string, err error) {
	expr, rest = "[", name[1:]
	if rest != "" && (rest[0] == '!' || rest[0] == '^') {
		expr, rest = "[^", rest[1:]
	}
	for first := true; ; first = false {
		switch {
		case rest == "" || rest == `\`:
			return "", "", fmt.Errorf("%q has no end", name)
		case rest[0] == ']' && !first:
			return expr + "]", rest[1:], nil
		case strings.HasPrefix(rest, "[:"):
			end := strings.Index(rest, ":]")
			if end < 0 {
				return "", "", fmt.Errorf("%q has no end", name)
			}
			expr, rest = expr+rest[:end+2], rest[end+2:]
			continue
		case rest[0] == '-' && !first && len(rest) > 1 && rest[1] != ']':
			expr, rest = expr+"-", rest[1:]
			if rest[0] == '[' || rest[0] == '-' {
				expr, rest = expr+`\`+rest[:1], rest[1:]
			}
			continue
		case rest[0] == '\\':
			rest = rest[1:]
		}
		char, size := utf8.DecodeRuneInString(rest)
		expr, rest = expr+fmt.Sprintf(`\x{%x}`, char), rest[size:]
	}
}

// Match reports whether the patterns select the path, which has no slash at either end. It
// ignores the folders above: a walk skips an excluded folder as a whole.
func (p Patterns) Match(path string, isDir bool) bool {
	if len(p) == 0 {
		return false
	}
	last := p.last(strings.Split(path, "/"), isDir)
	return last != nil && !last.not
}

// MatchAbove reports whether the patterns select the path or a folder above it; the nearest
// mentioned one decides.
func (p Patterns) MatchAbove(path string, isDir bool) bool {
	names, found := strings.Split(path, "/"), false
	for i := range names {
		if last := p.last(names[:i+1], isDir || i+1 < len(names)); last != nil {
			found = !last.not
		}
	}
	return found
}

func (p Patterns) last(names []string, isDir bool) (last *pattern) {
	for i := len(p) - 1; i >= 0; i-- {
		if last != nil && p[i].used.Load() {
			continue // only whether it ever matches is still of interest
		}
		if (isDir || !p[i].folders) && matches(p[i].names, names) {
			p[i].used.Store(true)
			if last == nil {
				last = p[i]
			}
		}
	}
	return last
}

// Unused returns a message, with a possible reason, for each pattern that has matched
// nothing.
func (p Patterns) Unused() (words []string) {
	for _, q := range p {
		if q.used.Load() {
			continue
		}
		why := ""
		if open := strings.Index(q.text, "{"); open >= 0 && strings.Contains(q.text[open:], ",") {
			why = ": braces stand for themselves; give a pattern for each"
		}
		words = append(words, fmt.Sprintf("the pattern %q matches nothing%s", q.text, why))
	}
	return words
}

// matches backtracks only to the last **: what an earlier one could take in addition, the
// last one can as well.
func matches(pattern []segment, names []string) bool {
	p, n := 0, 0
	lastStar, resume := -1, 0
	for n < len(names) {
		switch {
		case p < len(pattern) && pattern[p].any:
			lastStar, resume = p, n
			p++
			continue
		case p < len(pattern) && pattern[p].match(names[n]):
			p, n = p+1, n+1
			continue
		}
		if lastStar < 0 {
			return false
		}
		resume++
		p, n = lastStar+1, resume
	}
	return p == len(pattern)
}
