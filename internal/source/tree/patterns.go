package tree

import (
	"fmt"
	"path"
	"strings"
)

// Patterns selects paths in a tree. Each pattern is a path in which *, ? and
// [a-z] stand for characters of one name, as in [path.Match], and ** as a whole
// name stands for any number of folders. A pattern with a slash in the middle or
// at its beginning is meant from the root of the tree on, any other for names at
// any depth. A slash at the end is ignored, and ** at the end is whatever a folder
// holds, but not the folder.
type Patterns [][]string

// ParsePatterns checks patterns that a user wrote.
func ParsePatterns(texts []string) (Patterns, error) {
	var all Patterns
	for _, text := range texts {
		clean := strings.TrimRight(text, "/")
		anchored := strings.Contains(clean, "/")
		clean = strings.TrimLeft(clean, "/")
		if clean == "" {
			return nil, fmt.Errorf("the pattern %q names nothing", text)
		}
		names := strings.Split(clean, "/")
		for _, n := range names {
			if _, err := path.Match(n, ""); err != nil || n == "" || n == "." || n == ".." {
				return nil, fmt.Errorf("the pattern %q is not one: %q cannot be the name of a file", text, n)
			}
		}
		if !anchored {
			names = append([]string{"**"}, names...)
		}
		all = append(all, names)
	}
	return all, nil
}

// Match reports whether a pattern matches the path, which has no slash at either
// end.
func (p Patterns) Match(path string) bool {
	if len(p) == 0 {
		return false
	}
	names := strings.Split(path, "/")
	for _, pattern := range p {
		if matches(pattern, names) {
			return true
		}
	}
	return false
}

// MatchAbove reports whether a pattern matches the path or a folder above it.
func (p Patterns) MatchAbove(path string) bool {
	names := strings.Split(path, "/")
	for i := range names {
		for _, pattern := range p {
			if matches(pattern, names[:i+1]) {
				return true
			}
		}
	}
	return false
}

// matches goes back only to the last ** that it met: what an earlier one could
// take in addition, the last one can as well.
func matches(pattern, names []string) bool {
	p, n := 0, 0
	lastStar, resume := -1, 0
	for n < len(names) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			lastStar, resume = p, n
			p++
			continue
		case p < len(pattern):
			if ok, _ := path.Match(pattern[p], names[n]); ok {
				p, n = p+1, n+1
				continue
			}
		}
		if lastStar < 0 {
			return false
		}
		resume++
		p, n = lastStar+1, resume
	}
	return p == len(pattern)
}
