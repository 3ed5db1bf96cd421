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
	Keys    []kek.ID // the ids of its slots, in the file or in the envelope next to it
	Own     []kek.ID // those in the file itself, when an envelope is next to it; else nil
	// Recipients are the holders of its other slots, of which the history has no record.
	Recipients []slot.Holder
	Err        error // why Keys may not be all; nil when they are
}

// Judgement is a record and what the backups say of its key.
type Judgement struct {
	Record
	// NeededBy counts the backups that have a slot for this key and none for
	// another key that is current somewhere.
	NeededBy int `json:"needed_by"`
	// Opens counts the backups that have a slot for this key, needed or not: who has
	// the key can read them.
	Opens int `json:"opens"`
	// OnlyBeside counts those that this key opens by the file alone, and every key
	// that is current only by the envelope next to it, which so must not get lost.
	OnlyBeside int `json:"only_beside,omitempty"`
	// MayBeDestroyed is what the slots claim, as all of these counts.
	MayBeDestroyed bool `json:"may_be_destroyed"`
	// WhyNot says what is against destroying a key that is not current.
	WhyNot string `json:"why_not,omitempty"`
	// Unknown is set for a key that slots name and no record; see History.Unknown.
	Unknown bool `json:"unknown,omitempty"`
	// Recipient is set for a recipient that slots name; see History.Recipients.
	Recipient *slot.Holder `json:"recipient,omitempty"`
}

// current returns the ids of the keys that are current somewhere, and where.
func (h *History) current() map[kek.ID]string {
	live := make(map[kek.ID]string)
	for _, r := range h.doc.Keys {
		if r.Live() {
			live[r.ID] = r.Provider
		}
	}
	return live
}

// NeededBy counts the backups that need a key; see Needing.
func (h *History) NeededBy(id kek.ID, backups []Backup) int { return len(h.Needing(id, backups)) }

// Needing returns the backups that need a key: that have a slot for it, and none
// for another key that is current somewhere, nor for a holder that is InUse.
func (h *History) Needing(id kek.ID, backups []Backup) (needing []Backup) {
	for _, b := range backups {
		if slices.Contains(b.Keys, id) && !h.another(id, b.Keys) && !slices.ContainsFunc(b.Recipients, h.isInUse) {
			needing = append(needing, b)
		}
	}
	return needing
}

// InUse counts holders of which the history has no record, identities of age, as in
// use while it judges.
func (h *History) InUse(holders ...slot.Holder) { h.inUse = append(h.inUse, holders...) }

func (h *History) isInUse(holder slot.Holder) bool { return slices.Contains(h.inUse, holder) }

// another says whether a key other than id is among the keys and current somewhere.
func (h *History) another(id kek.ID, keys []kek.ID) bool {
	live := h.current()
	return slices.ContainsFunc(keys, func(k kek.ID) bool { return k != id && live[k] != "" })
}

// opens counts the backups that a key opens, and those of them that no current key
// opens without the envelope next to them.
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

// Judge tells of every key which of the backups need it and whether it may be
// destroyed: when it is not current anywhere nor lost from sight, its time has
// come, and no backup needs it. That nothing is known does not count as that nothing needs it: where
// one backup cannot be read, or there is none at all, because a disk is not
// mounted perhaps, no key may be destroyed.
//
// The ids in a slot are what the file claims; only opening a backup with its key
// proves them. Backups elsewhere, on other disks or machines, are up to the caller.
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

// Unknown tells of the keys that slots name and of which the history has no
// record, in the order of their ids: nobody can tell whether they are in use.
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

// Recipients tells of the holders that slots name besides keys, in the order of their
// names: the history has no record of identities. One is needed by the backups that
// have no slot for a key that is current and none for another recipient.
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
