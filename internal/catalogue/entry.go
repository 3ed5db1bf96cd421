package catalogue

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/sealed"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// State is how far what an entry says can be believed.
type State int

const (
	// Unchecked entries are claims: no key that opens them is at hand.
	Unchecked State = iota
	// Authentic entries have an authenticated envelope and length. The content
	// was not read.
	Authentic
	// Bad entries cannot be read, are no backups, or were altered.
	Bad
)

// String returns the word that lists show.
func (s State) String() string { return [...]string{"not checked", "authentic", "bad"}[s] }

// Entry is one thing that stands in a store and should be a backup.
type Entry struct {
	store.Backup
	// Envelope is what the backup says of itself, nil when that cannot be read.
	// It is authentic when State is Authentic.
	Envelope *Envelope
	State    State
	// Err says why State is not Authentic. It is nil when no key was given.
	Err error
}

// Envelope is as much of an envelope as a list of thousands can hold.
type Envelope struct {
	ID envelope.ID
	envelope.Label
	// KeyIDs are the keys that have a slot, in the backup or in the envelope
	// beside it.
	KeyIDs     []kek.ID
	OtherSlots []string // types of slots that are not for a key
}

// summary copies what is kept of the envelopes of a backup: slots and strings
// are parts of whole texts.
func summary(seen *sealed.Seen) *Envelope {
	own, beside := seen.Own, seen.Beside
	e := cmp.Or(own, beside)
	if seen.Opened != nil {
		e = seen.Opened.Envelope
	}
	s := &Envelope{ID: e.ID, Label: e.Label}
	s.Kind, s.Name, s.Codec = strings.Clone(s.Kind), strings.Clone(s.Name), strings.Clone(s.Codec)
	for _, e := range []*envelope.Envelope{own, beside} {
		if e == nil || e.ID != s.ID {
			continue
		}
		for _, id := range e.KeyIDs() {
			if !slices.Contains(s.KeyIDs, id) {
				s.KeyIDs = append(s.KeyIDs, kek.ID(strings.Clone(string(id))))
			}
		}
		for _, kind := range e.OtherSlots() {
			if !slices.Contains(s.OtherSlots, kind) {
				s.OtherSlots = append(s.OtherSlots, strings.Clone(kind))
			}
		}
	}
	return s
}

// stamp is the time that the program puts in generated names, and what makes
// the second of one second unique.
var stamp = regexp.MustCompile(`_\d{8}_\d{6}(-\d+)?`)

// Series is the name that an entry shares with the backups of the same thing
// made at other times: that of the envelope without the time that the program
// put in, and without the codec's ending. It is as authentic as the envelope,
// and empty when there is none.
func (e *Entry) Series() string {
	if e.Envelope == nil {
		return ""
	}
	name := strings.TrimSuffix(e.Envelope.Name, backup.Suffix)
	at := stamp.FindAllStringIndex(name, -1)
	if at == nil {
		return name
	}
	last := at[len(at)-1] // a database may have a date in its name
	ending := name[last[1]:]
	for _, packed := range []string{".zst", ".gz"} {
		ending = strings.TrimSuffix(ending, packed)
	}
	return name[:last[0]] + ending
}
