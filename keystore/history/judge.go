package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

// Backup is a backup and the keys that open it.
type Backup struct {
	Path    string
	Created time.Time
	Keys    []kek.ID // of its slots, in the file or the envelope next to it
	Own     []kek.ID // of the file itself, if there is an envelope next to it
	// Recipients are the holders of its other slots, which the history does not record.
	Recipients []slot.Holder
	Err        error // why Keys may be incomplete
}

// Judgement is a record and the backups' need of its key.
type Judgement struct {
	Record
	// NeededBy counts the backups that have a slot for this key and none for another
	// current one.
	NeededBy int `json:"needed_by"`
	// Opens counts the backups that have a slot for this key.
	Opens int `json:"opens"`
	// OnlyBeside counts the backups that a current key opens only by the envelope next to
	// them, and this key by the file alone: those envelopes must not get lost.
	OnlyBeside int `json:"only_beside,omitempty"`
	// MayBeDestroyed relies on the claims of the slots, as do the counts.
	MayBeDestroyed bool `json:"may_be_destroyed"`
	// WhyNot is why a former key must not be destroyed.
	WhyNot string `json:"why_not,omitempty"`
	// Unknown marks a key that slots name without a record; see History.Unknown.
	Unknown bool `json:"unknown,omitempty"`
	// Recipient is a recipient that slots name; see History.Recipients.
	Recipient *slot.Holder `json:"recipient,omitempty"`
}

// current returns the ids of the current keys, and their places.
func (h *History) current() map[kek.ID]string {
	live := make(map[kek.ID]string)
	for _, r := range h.doc.Keys {
		if r.Live() {
			live[r.ID] = r.Provider
		}
	}
	return live
}

// NeededBy counts Needing.
func (h *History) NeededBy(id kek.ID, backups []Backup) int { return len(h.Needing(id, backups)) }

// Needing returns the backups that need a key: those with a slot for it and none for
// another current key or a holder that is InUse.
func (h *History) Needing(id kek.ID, backups []Backup) (needing []Backup) {
	for _, b := range backups {
		if slices.Contains(b.Keys, id) && !h.another(id, b.Keys) && !slices.ContainsFunc(b.Recipients, h.isInUse) {
			needing = append(needing, b)
		}
	}
	return needing
}

// InUse counts holders without a record, such as identities of age, as in use.
func (h *History) InUse(holders ...slot.Holder) { h.inUse = append(h.inUse, holders...) }

func (h *History) isInUse(holder slot.Holder) bool { return slices.Contains(h.inUse, holder) }

// another reports whether one of the keys is current and not id.
func (h *History) another(id kek.ID, keys []kek.ID) bool {
	live := h.current()
	return slices.ContainsFunc(keys, func(k kek.ID) bool { return k != id && live[k] != "" })
}

// opens counts the backups that a key opens, and those that current keys open only by the
// envelope next to them.
func (h *History) opens(id kek.ID, backups []Backup) (all, onlyBeside int) {
	for _, b := range backups {
		if !slices.Contains(b.Keys, id) {
			continue
		}
		if all++; slices.Contains(b.Own, id) && !h.another(id, b.Own) && h.another(id, b.Keys) {
			onlyBeside++
		}
	}
	return all, onlyBeside
}

// Judge says of every key which backups need it and whether it may be destroyed: it is
// neither current nor lost, its time has come, and no backup needs it. While one backup
// cannot be read, or none is found, as when a disk is not mounted, no key may be destroyed.
//
// The ids in slots are claims; only opening a backup proves them. Backups elsewhere are up
// to the caller.
func (h *History) Judge(backups []Backup, now time.Time) []Judgement {
	live := h.current()
	unknown := unreadable(backups)
	all := make([]Judgement, 0, len(h.doc.Keys))
	for _, r := range h.doc.Keys {
		j := Judgement{Record: r, NeededBy: h.NeededBy(r.ID, backups)}
		j.Opens, j.OnlyBeside = h.opens(r.ID, backups)
		switch {
		case r.Live():
		case live[r.ID] != "":
			j.WhyNot = "it is the current key of " + live[r.ID]
		case j.NeededBy == 1:
			j.WhyNot = "a backup needs it"
		case j.NeededBy > 1:
			j.WhyNot = fmt.Sprintf("%d backups need it", j.NeededBy)
		case unknown != "":
			j.WhyNot = unknown
		case r.Lost():
			j.WhyNot = "another key was found in its place, and it may be in use elsewhere; key rotate --adopt there says that it is not"
		case now.Before(r.DestroyAfter):
			j.WhyNot = "not before " + r.DestroyAfter.Format(time.RFC3339)
		default:
			j.MayBeDestroyed = true
		}
		all = append(all, j)
	}
	return all
}

// Unknown reports the keys that slots name and the history does not, ordered by id.
func (h *History) Unknown(backups []Backup) []Judgement {
	var ids []kek.ID
	for _, b := range backups {
		for _, id := range b.Keys {
			if !slices.ContainsFunc(h.doc.Keys, func(r Record) bool { return r.ID == id }) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	var all []Judgement
	for _, id := range slices.Compact(ids) {
		j := Judgement{Record: Record{ID: id}, Unknown: true, NeededBy: h.NeededBy(id, backups), WhyNot: "the key history does not know it"}
		j.Opens, j.OnlyBeside = h.opens(id, backups)
		all = append(all, j)
	}
	return all
}

// Recipients reports the recipients that slots name, ordered by name. One is needed by
// backups without a slot for a current key or another recipient.
func (h *History) Recipients(backups []Backup) []Judgement {
	counts := make(map[slot.Holder]*Judgement)
	var names []slot.Holder
	for _, b := range backups {
		for i, holder := range b.Recipients {
			if slices.Contains(b.Recipients[:i], holder) {
				continue
			}
			j := counts[holder]
			if j == nil {
				j = &Judgement{Record: Record{ID: kek.ID(holder.Name)}, Recipient: &holder, WhyNot: "key retire proves whether the backups open without its identity"}
				counts[holder], names = j, append(names, holder)
			}
			j.Opens++
			if !h.another("", b.Keys) && !slices.ContainsFunc(b.Recipients, func(other slot.Holder) bool { return other != holder }) {
				j.NeededBy++
			}
		}
	}
	slices.SortFunc(names, func(a, b slot.Holder) int { return cmp.Compare(a.String(), b.String()) })
	var all []Judgement
	for _, name := range names {
		all = append(all, *counts[name])
	}
	return all
}

func unreadable(backups []Backup) string {
	if len(backups) == 0 {
		return "there is no backup to tell whether it needs the key"
	}
	why, more := "", 0
	for _, b := range backups {
		switch {
		case b.Err == nil:
		case why == "":
			why = fmt.Sprintf("nobody can tell whether %s needs it: %v", b.Path, b.Err)
		default:
			more++
		}
	}
	if more > 0 {
		why += fmt.Sprintf(" (and %d more)", more)
	}
	return why
}

// Place is where the key is, in words.
func (j *Judgement) Place() string {
	if j.Recipient != nil {
		return "recipient (" + j.Recipient.Type + ")"
	}
	return cmp.Or(j.Where(), "unknown")
}

// Verdict says whether the key may be destroyed.
func (j *Judgement) Verdict() string {
	switch {
	case j.Unknown, j.Recipient != nil:
		return "no: " + j.WhyNot
	case j.Live():
		return "no: it is in use"
	case !j.MayBeDestroyed:
		return "no: " + j.WhyNot
	}
	return "yes, as the slots claim: key retire proves it"
}

// Providers are the places of the keys in use.
func (h *History) Providers() (uris []string) {
	for _, r := range h.Records() {
		if r.Live() {
			uris = append(uris, r.Provider)
		}
	}
	return uris
}
