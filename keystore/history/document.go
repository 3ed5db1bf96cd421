package history

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

type document struct {
	Version int      `json:"version"`
	Keys    []Record `json:"keys"`
	Intents []Intent `json:"rotations_begun,omitempty"`
}

// maxIntents bounds the unfinished tries of a place. Each is kept until one succeeds,
// because a server may carry out a request after its sender has died.
const maxIntents = 32

func (d document) clone() document {
	return document{Keys: slices.Clone(d.Keys), Intents: slices.Clone(d.Intents)}
}

// find returns the record of a key in a place, preferring one that names the place.
func (d document) find(at Site, id kek.ID) *Record {
	var found *Record
	for i := range d.Keys {
		if r := &d.Keys[i]; r.ID == id && r.At(at) && (found == nil || r.Place == at.Place) {
			found = r
		}
	}
	return found
}

// replaced returns another current key of a place, or "".
func (d document) replaced(at Site, id kek.ID) kek.ID {
	for _, r := range d.Keys {
		if r.ID != id && r.At(at) && r.Live() {
			return r.ID
		}
	}
	return ""
}

// contains reports whether a key of this id was ever used or prepared.
func (d document) contains(id kek.ID) bool {
	return slices.ContainsFunc(d.Keys, func(r Record) bool { return r.ID == id }) ||
		slices.ContainsFunc(d.Intents, func(i Intent) bool { return i.New == id })
}

func (d document) intents(at Site) []Intent {
	var all []Intent
	for _, i := range d.Intents {
		if i.At(at) {
			all = append(all, i)
		}
	}
	return all
}

func (d *document) begin(i Intent) {
	if all := d.intents(Site{i.Provider, i.Place}); len(all) >= maxIntents {
		d.Intents = slices.DeleteFunc(d.Intents, func(o Intent) bool { return o == all[0] })
	}
	d.Intents = append(d.Intents, i)
}

func (d *document) end(at Site) {
	d.Intents = slices.DeleteFunc(d.Intents, func(i Intent) bool { return i.At(at) })
}

// activate makes a key the current one of its place and retires the others. former, which
// this program replaced, may be destroyed after its time; any other is lost, since two
// places may share a name.
func (d *document) activate(key Record, former kek.ID, o Options) {
	at := Site{key.Provider, key.Place}
	for i := range d.Keys {
		r := &d.Keys[i]
		if r.ID == key.ID || !r.At(at) {
			continue
		}
		if r.Live() {
			r.Retired = o.Now
			if r.ID == former {
				r.DestroyAfter = o.Now.Add(o.Grace)
			}
		}
		if r.Lost() && o.Adopt {
			r.DestroyAfter = o.Now.Add(o.Grace)
		}
	}
	known := d.find(at, key.ID)
	if known == nil {
		d.Keys = append(d.Keys, key)
		return
	}
	known.Place = cmp.Or(known.Place, key.Place)
	if known.Created.IsZero() {
		known.Created = key.Created
	}
	if !key.Activated.IsZero() && (!known.Live() || known.Activated.IsZero()) {
		known.Activated = key.Activated
	}
	known.Retired, known.DestroyAfter, known.Cleared = time.Time{}, time.Time{}, time.Time{}
}

var idForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

func (d document) check(size int) error {
	switch {
	case size > maxSize:
		return fmt.Errorf("it is larger than %d bytes", maxSize)
	case d.Version != version:
		return fmt.Errorf("its version is %d, want %d", d.Version, version)
	}
	type key struct {
		place string
		id    kek.ID
	}
	seen := make(map[key]bool)
	live := make(map[string]bool)
	for n, r := range d.Keys {
		fault := func(what string) error { return fmt.Errorf("key %d: %s", n+1, what) }
		place := Site{r.Provider, r.Place}.key()
		switch {
		case !idForm.MatchString(string(r.ID)):
			return fault("its id is not 16 lower-case hex digits")
		case !isURI(r.Provider):
			return fault("its provider is not a key URI")
		case r.Place != "" && !isURI(r.Place):
			return fault("its place is empty or invalid")
		case r.Live() && !r.DestroyAfter.IsZero():
			return fault("it has a time to be destroyed after, and was not retired")
		case r.Live() && !r.Cleared.IsZero():
			return fault("it was cleared to be destroyed, and was not retired")
		case seen[key{place, r.ID}]:
			return fault("it is there twice")
		case r.Live() && live[place]:
			return fault("its provider has two current keys")
		}
		seen[key{place, r.ID}] = true
		live[place] = live[place] || r.Live()
	}
	for n, i := range d.Intents {
		if !idForm.MatchString(string(i.Old)) || !idForm.MatchString(string(i.New)) || i.Old == i.New || !isURI(i.Provider) || i.Begun.IsZero() ||
			i.Place != "" && !isURI(i.Place) || !slices.Contains([]string{"", CommandRotate, CommandStore}, i.Command) {
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

func (d document) created(id kek.ID) time.Time {
	for _, r := range d.Keys {
		if r.ID == id && !r.Created.IsZero() {
			return r.Created
		}
	}
	return time.Time{}
}
