package history

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/kek"
)

// document is the content of the file.
type document struct {
	Version int      `json:"version"`
	Keys    []Record `json:"keys"`
	Intents []Intent `json:"rotations_begun,omitempty"`
}

// maxIntents bounds the tries of one place that are remembered. Even a try that
// came to nothing is kept until one succeeds, because a server may carry out a
// request after its sender has died.
const maxIntents = 32

func (d document) clone() document {
	return document{Keys: slices.Clone(d.Keys), Intents: slices.Clone(d.Intents)}
}

func (d document) find(provider string, id kek.ID) *Record {
	for i := range d.Keys {
		if r := &d.Keys[i]; r.Provider == provider && r.ID == id {
			return r
		}
	}
	return nil
}

// live returns the id of the current key of a place, or "".
func (d document) live(provider string) kek.ID {
	for _, r := range d.Keys {
		if r.Provider == provider && r.Live() {
			return r.ID
		}
	}
	return ""
}

// contains reports whether a key of this id was ever in use, or about to be.
func (d document) contains(id kek.ID) bool {
	return slices.ContainsFunc(d.Keys, func(r Record) bool { return r.ID == id }) ||
		slices.ContainsFunc(d.Intents, func(i Intent) bool { return i.New == id })
}

// intents returns those of one place.
func (d document) intents(provider string) []Intent {
	var all []Intent
	for _, i := range d.Intents {
		if i.Provider == provider {
			all = append(all, i)
		}
	}
	return all
}

// begin writes down what is about to be done.
func (d *document) begin(i Intent) {
	if all := d.intents(i.Provider); len(all) >= maxIntents {
		d.Intents = slices.DeleteFunc(d.Intents, func(o Intent) bool { return o == all[0] })
	}
	d.Intents = append(d.Intents, i)
}

// end forgets the rotations that were begun in a place.
func (d *document) end(provider string) {
	d.Intents = slices.DeleteFunc(d.Intents, func(i Intent) bool { return i.Provider == provider })
}

// activate makes a key the current one of its place, and retires any other that
// was.
func (d *document) activate(key Record, now time.Time, grace time.Duration) {
	for i := range d.Keys {
		if r := &d.Keys[i]; r.Provider == key.Provider && r.ID != key.ID && r.Live() {
			r.Retired, r.DestroyAfter = now, now.Add(grace)
		}
	}
	known := d.find(key.Provider, key.ID)
	if known == nil {
		d.Keys = append(d.Keys, key)
		return
	}
	if known.Created.IsZero() {
		known.Created = key.Created
	}
	if !key.Activated.IsZero() && (!known.Live() || known.Activated.IsZero()) {
		known.Activated = key.Activated
	}
	known.Retired, known.DestroyAfter = time.Time{}, time.Time{}
}

var idForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// check finds what no version of this program writes.
func (d document) check(size int) error {
	switch {
	case size > maxSize:
		return fmt.Errorf("it is larger than %d bytes", maxSize)
	case d.Version != version:
		return fmt.Errorf("its version is %d, want %d", d.Version, version)
	}
	type place struct {
		provider string
		id       kek.ID
	}
	seen := make(map[place]bool)
	live := make(map[string]bool)
	for n, r := range d.Keys {
		fault := func(what string) error { return fmt.Errorf("key %d: %s", n+1, what) }
		switch {
		case !idForm.MatchString(string(r.ID)):
			return fault("its id is not 16 lower-case hex digits")
		case !isURI(r.Provider):
			return fault("its provider is no key URI")
		case r.Retired.IsZero() != r.DestroyAfter.IsZero():
			return fault("retired and destroy_after go together")
		case seen[place{r.Provider, r.ID}]:
			return fault("it stands there twice")
		case r.Live() && live[r.Provider]:
			return fault("its provider has two current keys")
		}
		seen[place{r.Provider, r.ID}] = true
		live[r.Provider] = live[r.Provider] || r.Live()
	}
	for n, i := range d.Intents {
		if !idForm.MatchString(string(i.Old)) || !idForm.MatchString(string(i.New)) || i.Old == i.New || !isURI(i.Provider) || i.Begun.IsZero() {
			return fmt.Errorf("rotation %d: it is malformed", n+1)
		}
	}
	if d.Keys == nil {
		return errors.New("it has no list of keys")
	}
	return nil
}

func isURI(s string) bool {
	return len(s) <= 8192 && strings.Contains(s, ":") && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// created returns when a key was made, wherever that is known from.
func (d document) created(id kek.ID) time.Time {
	for _, r := range d.Keys {
		if r.ID == id && !r.Created.IsZero() {
			return r.Created
		}
	}
	return time.Time{}
}
