package secrets

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// Problem is one thing that is wrong with a name. It holds no value.
type Problem struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// String is the name and what is wrong with it.
func (p Problem) String() string { return p.Name + " " + p.Reason }

// CheckOptions say what Check looks at.
type CheckOptions struct {
	Environment string
	Components  []string            // none: all of the catalogue
	Names       []string            // further required names
	Setting     func(string) string // of the environment; os.Getenv
	// Others are the backends of other environments, by name, in which no secret may
	// be the same.
	Others map[string]*Manager
}

// Check fetches all that the components need, by one request, and says what is wrong:
// what is missing, malformed, weak, an example, the same under two names, or shared
// with another environment. The error is of a backend that cannot be asked.
func Check(ctx context.Context, m *Manager, o CheckOptions) ([]Problem, error) {
	specs := o.specs()
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	values, err := m.Many(ctx, names...)
	if err != nil {
		return nil, err
	}
	setting := func(name string) string {
		if v := o.Setting(name); v != "" {
			return v
		}
		return values[name].Reveal()
	}
	var problems []Problem
	for _, s := range specs {
		value := values[s.Name].Reveal()
		if !s.Secret {
			value = setting(s.Name)
		}
		if p := s.judge(value, o.Environment, setting); p != nil {
			problems = append(problems, *p)
		}
	}
	problems = append(problems, twice(specs, values)...)
	shared, err := o.shared(ctx, specs, values)
	return append(problems, shared...), err
}

func (o CheckOptions) specs() []Spec {
	var specs []Spec
	for _, s := range Catalog {
		if len(o.Components) == 0 && len(o.Names) == 0 || slices.Contains(o.Components, s.Component) {
			specs = append(specs, s)
		}
	}
	for _, name := range o.Names {
		s, known := Known(name)
		if !known {
			s = Spec{Name: name, Secret: true}
		}
		s.When = always
		specs = append(specs, s)
	}
	return specs
}

func (s Spec) judge(value, environment string, setting func(string) string) *Problem {
	problem := func(reason, hint string) *Problem { return &Problem{s.Name, reason, hint} }
	switch {
	case value == "" && s.needed(environment, setting):
		return problem("is missing", s.makeHint())
	case value == "":
		return nil
	case s.Malformed(value) != "":
		return problem(s.Malformed(value), "")
	case s.Form == "bool" && environment == production && value != "true":
		return problem("is false, which production refuses", "set it to true")
	case !s.Secret:
		return nil
	case secretenv.Placeholder(value):
		return problem("is an example or a common word", s.makeHint())
	}
	if reason := Weakness(value, s.Min); reason != "" {
		return problem(reason, s.makeHint())
	}
	return nil
}

func (s Spec) makeHint() string {
	if !s.Secret || s.Form == "url" {
		return ""
	}
	form := map[string]string{"jwt": JWT, "database": Password, "redis": Password, "grafana": Password, "contracts": Ethereum}[s.Component]
	if form == "" || s.Name == "ETHERSCAN_API_KEY" {
		form = APIKey
	}
	return "takumi-secrets generate " + form + " makes one"
}

// Weakness says why a secret is weak, without the secret; "" when it is not. Fewer
// characters than least, or hardly any different ones, are weak.
func Weakness(value string, least int) string {
	different := make(map[rune]bool)
	for _, r := range value {
		different[r] = true
	}
	switch {
	case len(value) < least:
		return fmt.Sprintf("has %d characters, and %d are the fewest", len(value), least)
	case least > 0 && len(different) < min(8, least/2):
		return fmt.Sprintf("has only %d different characters", len(different))
	}
	return ""
}

// digest lets values be compared without being kept.
func digest(key []byte, v Value) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(v.Reveal()))
	return string(h.Sum(nil))
}

func runKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

func twice(specs []Spec, values map[string]Value) []Problem {
	var problems []Problem
	key, names := runKey(), make(map[string]string)
	for _, s := range specs {
		v := values[s.Name]
		if !s.Secret || !v.IsSet() || s.Form == "url" {
			continue
		}
		d := digest(key, v)
		if first := names[d]; first != "" {
			problems = append(problems, Problem{s.Name, "is the same as " + first, "give each its own"})
			continue
		}
		names[d] = s.Name
	}
	return problems
}

func (o CheckOptions) shared(ctx context.Context, specs []Spec, values map[string]Value) ([]Problem, error) {
	var problems []Problem
	var names []string
	key := runKey()
	for _, s := range specs {
		if s.Secret {
			names = append(names, s.Name)
		}
	}
	for environment, m := range o.Others {
		theirs, err := m.Many(ctx, names...)
		if err != nil {
			return problems, fmt.Errorf("comparing with %s: %w", environment, err)
		}
		for _, name := range names {
			if ours := values[name]; ours.IsSet() && digest(key, ours) == digest(key, theirs[name]) {
				problems = append(problems, Problem{name, "is the same in " + environment, "make one for each environment"})
			}
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Name, b.Name) })
	return problems, nil
}
