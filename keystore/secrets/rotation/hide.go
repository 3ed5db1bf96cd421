package rotation

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// shortest is the length from which a value is hidden: a shorter one may be a common word.
const shortest = 6

// learn keeps the values of the set, of today and of before, for hide.
func (r *Rotator) learn(fields map[string]string) {
	for _, name := range r.Set.Names {
		if r.Set.Kind == Postgres && name == r.Set.Names[0] {
			continue // the role's name is no secret
		}
		for _, v := range []string{fields[name], fields[name+previous]} {
			if len(v) >= shortest && !slices.Contains(r.known, v) {
				r.known = append(r.known, v)
			}
		}
	}
	slices.SortFunc(r.known, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
}

// hide takes the values out of an error: programs that restart, prove or make may print what
// they are given, and errors go to logs, to the history, and next to the secrets.
func (r *Rotator) hide(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, v := range r.known {
		text = strings.ReplaceAll(text, v, "[redacted]")
	}
	return &hiding{err, text}
}

// hiding has the class and the hint of another error, and a text of its own.
type hiding struct {
	err  error
	text string
}

func (e *hiding) Error() string { return e.text }
func (e *hiding) Unwrap() error { return e.err }

// tail is the end of what a program printed, from a blank on: a value that is cut in two
// would not be known any more.
func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	_, text, _ = strings.Cut(strings.ReplaceAll(text[len(text)-most:], "\n", " "), " ")
	return text
}

// shown is a URL without the user and the query, where some have a key.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the URL"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
