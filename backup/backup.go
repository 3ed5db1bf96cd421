// Package backup makes, finds, opens and lists sealed backups in a store. It never deletes
// or changes one.
//
// A [Job] makes a backup from a source. [List] and [Find] find backups as [Backup] values,
// and [Open] reads one with its detached envelope and the keys at hand. The packages below
// it work on many: prune deletes by rules, replicate copies, rekey changes who may open
// them.
package backup

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// State is how well a backup is known. Each step includes the ones before it, except for
// Bad and for SidecarHolds, SealedHere and Signed, which need no key.
type State int

const (
	// Bad backups are unreadable, not sealed backups, or altered.
	Bad State = iota - 1
	// Claimed rests on the envelope alone; no key opens it.
	Claimed
	// SidecarHolds means that the bytes match the sidecar.
	SidecarHolds
	// SealedHere means that this host recorded sealing it, and the file is unchanged.
	SealedHere
	// Signed says that a trusted signer signed it.
	Signed
	// Authentic means that a key opened it: preamble and length are proved.
	Authentic
	// Whole means that every chunk of the payload was verified.
	Whole
	// Content means that the guard has checked the unpacked payload.
	Content
	// Restored says that a rehearsal restored it.
	Restored
)

func (s State) String() string {
	return [...]string{"bad", "not checked", "sidecar holds", "sealed here", "signed", "authentic", "whole", "content", "restored"}[s+1]
}

type Backup struct {
	store.Backup
	// ID and Label are claims below Authentic, and zero when the envelope is unreadable
	// ([Backup.Readable]).
	ID envelope.ID
	envelope.Label
	// Keys are the ids of the keys with a slot, in the backup or the envelope next to it;
	// Own are those of the backup itself, when there is also an envelope.
	Keys, Own  []kek.ID
	Recipients []slot.Holder // other holders of slots
	State      State
	// Err is why State is below Authentic. It is nil without keys.
	Err error
	// Doubt is why a backup that is not Bad must not be restored unasked, nor justify
	// deleting others: its file has another backup's name, its key was retired when it was
	// made, it appeared too late, or no trusted signer has signed it.
	Doubt error
	// Signer is who signed its head, as the trusted signers name them.
	Signer string
}

// Readable reports whether the envelope could be parsed.
func (b *Backup) Readable() bool { return b.Name != "" }

// Archived reports whether it must be fetched from an archive first: it is Bad, but not
// known to be damaged.
func (b *Backup) Archived() bool { return errors.Is(b.Err, store.ErrArchived) }

func unreadable(path string, err error) Backup {
	return Backup{Backup: store.Backup{Path: path}, State: Bad, Err: err}
}

// describe copies the strings, because an envelope keeps all of its text in memory.
func (b *Backup) describe(seen *Seen) {
	e := seen.Own
	if e == nil {
		e = seen.Beside
	}
	if seen.Opened != nil {
		e = seen.Opened.Envelope
	}
	b.ID, b.Label = e.ID, e.Label
	b.Kind, b.Name, b.Codec = strings.Clone(b.Kind), strings.Clone(b.Name), strings.Clone(b.Codec)
	for _, e := range []*envelope.Envelope{seen.Own, seen.Beside} {
		if e == nil || e.ID != b.ID {
			continue
		}
		for _, id := range e.KeyIDs() {
			if !slices.Contains(b.Keys, id) {
				b.Keys = append(b.Keys, kek.ID(strings.Clone(string(id))))
			}
		}
		for _, h := range e.Recipients() {
			if !slices.Contains(b.Recipients, h) {
				b.Recipients = append(b.Recipients, slot.Holder{Type: strings.Clone(h.Type), Name: strings.Clone(h.Name)})
			}
		}
	}
	if seen.Beside != nil && seen.Own != nil {
		for _, id := range seen.Own.KeyIDs() {
			b.Own = append(b.Own, kek.ID(strings.Clone(string(id))))
		}
	}
}

// Series is the name without its time, such as "takumi_db.sql"; "" when the envelope is
// unreadable.
func (b *Backup) Series() string { return SeriesOf(b.Name) }

// stamp is the time in a generated name, with the number within the second, and the place
// in a chain.
var stamp = regexp.MustCompile(`_\d{8}_\d{6}(-\d+)?(\.[0-9a-f]{16}-\d{1,4}\b)?`)

// SeriesOf returns the series of the name of a label or file.
func SeriesOf(name string) string {
	name = strings.TrimSuffix(name, Suffix)
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
