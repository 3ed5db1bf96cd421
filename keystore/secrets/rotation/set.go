// Package rotation replaces secrets as a transaction: new values are made, stored in
// one write with the former ones next to them, rolled out, proved, and recorded, and
// after a grace period the former ones are taken away. Make a [Rotator] of a [Set] and
// a secrets.Store, and call its Rotate, Finish or Status.
//
// The state of a rotation is kept in the same document as the secrets and changes with
// them in one write under check-and-set. That write is lease, intent and effect at
// once: whoever reads the document knows how far it is, on whichever host, and two that
// write at once cannot both win. Killed at any moment, the next run goes on from there.
package rotation

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// The handbook's figures, which a set may change.
const (
	DefaultMaxAge  = Duration(90 * 24 * time.Hour)
	DefaultGrace   = Duration(48 * time.Hour)
	DefaultTimeout = Duration(5 * time.Minute) // of a rollout
)

// Kinds of sets next to the forms of secrets.Generate.
const (
	Postgres = "postgres" // the password of alternating roles
	Command  = "command"  // whatever a program makes
)

// Duration is a time.Duration that is written 90d, 2w, 48h, 30m or 10s.
type Duration time.Duration

// ParseDuration reads one.
func ParseDuration(text string) (Duration, error) {
	if n := len(text); n > 1 && (text[n-1] == 'd' || text[n-1] == 'w') {
		days, err := strconv.Atoi(text[:n-1])
		if text[n-1] == 'w' {
			days *= 7
		}
		if err != nil || days < 0 || days > 36500 {
			return 0, fmt.Errorf("%q is not a duration such as 90d, 2w or 48h", text)
		}
		return Duration(time.Duration(days) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 90d, 2w or 48h", text)
	}
	return Duration(d), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(text []byte) (err error) {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("a duration is a text such as 90d or 48h")
	}
	*d, err = ParseDuration(s)
	return err
}

// String writes whole days as such.
func (d Duration) String() string {
	if day := Duration(24 * time.Hour); d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return time.Duration(d).String()
}

// Set is secrets that are rotated together.
type Set struct {
	Name   string   `json:"-"`
	Secret string   `json:"secret"` // the backend, as secrets.Open takes it
	Kind   string   `json:"kind"`   // a form of secrets.Generate, postgres or command
	Names  []string `json:"names"`  // of the current values; the former ones are NAME_PREVIOUS
	Bytes  int      `json:"bytes"`  // random ones; 0 for the kind's own

	MaxAge Duration `json:"max_age"`
	Grace  Duration `json:"grace"`
	Window string   `json:"window"` // in UTC, such as "Sun 02:00-04:00"; "" is any time
	// Announce stores and rolls out new values as _PREVIOUS first, so that every replica
	// knows them before the first one signs with them; nil is yes for jwt.
	Announce *bool `json:"announce"`

	Health   string          `json:"health"` // a URL that answers 2xx
	Rollout  RolloutConfig   `json:"rollout"`
	Proof    ProofConfig     `json:"proof"`
	Postgres *PostgresConfig `json:"postgres"`
	// Command makes the new values, for kind command: it prints a JSON object with a
	// field for each name.
	Command []string `json:"command"`
}

// Config is the file that declares sets.
type Config struct {
	Environment string          `json:"environment"`
	Sets        map[string]*Set `json:"sets"`
}

// ParseConfig reads the YAML of sets, and fills in what it leaves out. A name that it
// does not know is an error, of class fail.Usage as all are.
func ParseConfig(text []byte) (*Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return nil, fail.Usagef("the sets: %w", err)
	}
	for name, set := range c.Sets {
		if set == nil {
			return nil, fail.Usagef("the set %s is empty", name)
		}
		if err := set.Complete(name); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// JWTSet is the handbook's: JWT_SECRET and JWT_REFRESH_SECRET.
func JWTSet() *Set {
	return &Set{Kind: secrets.JWT, Names: []string{"JWT_SECRET", "JWT_REFRESH_SECRET"}}
}

var setName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

// Complete names the set, fills in what is left out, and refuses what cannot be.
func (s *Set) Complete(name string) error {
	s.Name = name
	if s.Kind == secrets.JWT && len(s.Names) == 0 {
		s.Names = JWTSet().Names
	}
	if s.Kind == Postgres && len(s.Names) == 0 {
		s.Names = []string{"DB_USER", "DB_PASSWORD"}
	}
	for _, d := range []struct{ field, usual *Duration }{{&s.MaxAge, ptr(DefaultMaxAge)}, {&s.Grace, ptr(DefaultGrace)}, {&s.Rollout.Timeout, ptr(DefaultTimeout)}} {
		if *d.field == 0 {
			*d.field = *d.usual
		}
	}
	if s.Announce == nil {
		s.Announce = ptr(s.Kind == secrets.JWT)
	}
	return s.refuse()
}

func ptr[T any](v T) *T { return &v }

func (s *Set) refuse() error {
	no := func(format string, args ...any) error {
		return fail.Usagef("the set %s: %w", s.Name, fmt.Errorf(format, args...))
	}
	_, _, err := s.window()
	switch {
	case !setName.MatchString(s.Name):
		return no("a name has small letters, digits and dashes")
	case len(s.Names) == 0:
		return no("it lists no names")
	case !slices.Contains(secrets.Forms, s.Kind) && s.Kind != Postgres && s.Kind != Command:
		return no("%q is not a kind: %s, postgres and command are", s.Kind, strings.Join(secrets.Forms, ", "))
	case s.Kind == Command && len(s.Command) == 0:
		return no("kind command needs a command")
	case s.Kind == Postgres && (s.Postgres == nil || len(s.Postgres.Roles) != 2 || s.Postgres.Roles[0] == s.Postgres.Roles[1] || len(s.Names) != 2):
		return no("kind postgres needs postgres.roles with two roles, and the names of user and password")
	case s.MaxAge < s.Grace:
		return no("max_age is shorter than grace")
	case *s.Announce && s.Kind == Postgres:
		return no("alternating roles are not announced")
	case err != nil:
		return no("%w", err)
	}
	for _, name := range s.Names {
		if strings.HasSuffix(name, previous) || name == secrets.StateField {
			return no("%s is not a name of a current secret", name)
		}
	}
	return s.Rollout.refuse(no)
}

const previous = "_PREVIOUS"

var windowForm = regexp.MustCompile(`^(Sun|Mon|Tue|Wed|Thu|Fri|Sat|daily) ([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$`)

// window returns the day, -1 for every one, and the minutes in it.
func (s *Set) window() (day int, minutes [2]int, err error) {
	if s.Window == "" {
		return -1, [2]int{0, 24 * 60}, nil
	}
	m := windowForm.FindStringSubmatch(s.Window)
	if m == nil {
		return 0, minutes, fmt.Errorf("window is %q, not such as \"Sun 02:00-04:00\" or \"daily 02:00-04:00\"", s.Window)
	}
	day = slices.Index([]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}, m[1])
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v }
	minutes = [2]int{n(2)*60 + n(3), n(4)*60 + n(5)}
	if minutes[0] >= minutes[1] {
		err = fmt.Errorf("window %q ends before it begins", s.Window)
	}
	return day, minutes, err
}

func (s *Set) inWindow(now time.Time) bool {
	day, minutes, err := s.window()
	now = now.UTC()
	at := now.Hour()*60 + now.Minute()
	return err == nil && (day < 0 || int(now.Weekday()) == day) && at >= minutes[0] && at < minutes[1]
}
