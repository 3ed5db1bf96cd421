// Package backup makes, finds, opens and lists sealed backups in a store.
//
// A [Job] makes one backup from a source. [List] and [Find] find the backups of a
// store as [Backup] values, and [Open] is the one reader: it joins a file with the
// detached envelope next to it and with the keys at hand. The packages below it
// work on many backups: prune deletes by rules, replicate copies, rekey changes
// who may open them.
//
// Nothing in this package deletes or changes a backup.
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

// State says how well a backup is known. Each step includes the ones before it,
// but for Bad, and for Sidecar, SealedHere and Signed, which need no key.
type State int

const (
	// Bad backups cannot be read, are not sealed backups, or were altered.
	Bad State = iota - 1
	// Claimed is what the envelope says of itself; no key that opens it is at hand.
	Claimed
	// SidecarHolds says that the bytes are those the sidecar names.
	SidecarHolds
	// SealedHere says that this host has a record of sealing it, and that the
	// file is unchanged since.
	SealedHere
	// Signed says that a trusted signer signed it.
	Signed
	// Authentic says that a key opened it: preamble and length are proved.
	Authentic
	// Whole says that every chunk of the payload was verified.
	Whole
	// Content says that the payload was unpacked and judged by the guard.
	Content
	// Restored says that a rehearsal restored it.
	Restored
)

func (s State) String() string {
	return [...]string{"bad", "not checked", "sidecar holds", "sealed here", "signed", "authentic", "whole", "content", "restored"}[s+1]
}

// Backup is one sealed file of a store, and how well it is known.
type Backup struct {
	store.Backup
	// ID and Label are what the backup says of itself. They are claims below
	// Authentic, and zero when the envelope cannot be read ([Backup.Readable]).
	ID envelope.ID
	envelope.Label
	// Keys are the ids of the keys that have a slot, in the backup or in the
	// envelope next to it; Own those in the backup itself, when there is another.
	Keys, Own  []kek.ID
	Recipients []slot.Holder // who else has a slot, in the backup or next to it
	State      State
	// Err says why State is not Authentic or better. It is nil when no key was given.
	Err error
	// Doubt says why a backup that is not Bad is not to be restored unasked, nor
	// counted as one that others may go for: its file has the name of another, the key
	// that opens it was no longer in use when it was made, it appeared too late, or none
	// of the signers that were asked for has signed it.
	Doubt error
	// Signer is who signed its head, by the word of the signers that were asked for.
	Signer string
}

// Readable reports whether the envelope could be parsed.
func (b *Backup) Readable() bool { return b.Name != "" }

// Archived reports whether it has to be fetched back from an archive before it can
// be read: it is Bad, and nothing is said against it.
func (b *Backup) Archived() bool { return errors.Is(b.Err, store.ErrArchived) }

func unreadable(path string, err error) Backup {
	return Backup{Backup: store.Backup{Path: path}, State: Bad, Err: err}
}

// describe fills in what the envelopes say. The strings are copies: an envelope
// keeps all of its text in memory.
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

// Series is the name without its time: backups of one thing share it. It is empty
// when the envelope could not be read, and else like "takumi_db.sql".
func (b *Backup) Series() string { return SeriesOf(b.Name) }

// stamp is the time in a generated name, with the number of a second backup of
// the same second, and the place in a chain.
var stamp = regexp.MustCompile(`_\d{8}_\d{6}(-\d+)?(\.[0-9a-f]{16}-\d{1,4}\b)?`)

// SeriesOf returns the series of a name, as the label or the file has it.
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
