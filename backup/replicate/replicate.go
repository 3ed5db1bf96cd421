// Package replicate copies backups from one store to another, sealed and without a key.
// [Plan] finds what to do and [One] does an item.
//
// It copies only what matches its sidecar, and a backup without one, which may be
// unfinished, only if asked. A copy in a folder is read back once it is there, a
// replacement anywhere before. For a new object in a bucket the server checks the SHA-256
// of each part, and it is not read back. Copies with the same length and SHA-256 by their
// sidecar are skipped, so a run that was stopped can be repeated.
//
// The chain of an increment is copied with it, group by group as of [Waves]; ask [Links]
// before each item.
//
// A copy does not lose holders by accident: see [Kept].
package replicate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

var (
	// ErrRotten is returned when a backup is not what its sidecar says.
	ErrRotten = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the backup is not what its sidecar says, and is not copied")
	// ErrIncomplete is returned for a backup without a sidecar, which is written last.
	ErrIncomplete = fail.New(fail.Failed, "takumi-backup verify says whether it is whole; --without-sidecar copies it as it is", "it has no sidecar, as a backup that was never finished, and is not copied")
	// ErrEmpty is returned for a source without any backup.
	ErrEmpty = fail.New(fail.Failed, "look whether the path is right, and the store mounted", "there are no backups to copy")
	// ErrOther is returned when another backup is at the destination.
	ErrOther = fail.New(fail.Failed, "find out why two backups have one name; --replace-others lets this one take its place", "another backup is there, and is left alone")
	// ErrPayload is returned when a copy of the same backup has another payload, and
	// matches its sidecar.
	ErrPayload = fail.New(fail.Damaged, "takumi-backup verify says which of the two is whole; --replace-others lets this one take its place", "the copy there has another payload, so that one of the two is damaged, and is left alone")
	// ErrNotTheSame is returned when the destination has other bytes than were sent.
	ErrNotTheSame = errors.New("the copy is not what was sent")
)

// Action is what is to be done with a backup.
type Action string

// The actions.
const (
	Copy     Action = "copy"     // it is missing
	Replace  Action = "replace"  // it differs, as after a rewrap
	Envelope Action = "envelope" // only the envelope next to it does, or is gone
	// Signature is that only the signature does.
	Signature Action = "signature"
	Nothing   Action = "same"
	// Kept is a copy of the same backup that was rewrapped at the destination, for holders
	// that the backup lacks: it stays.
	Kept Action = "kept"
)

// Item is one backup of the source.
type Item struct {
	Backup store.Backup
	To     string // its path at the destination
	Action Action
	Err    error // it cannot be looked at
}

// Options say what is copied.
type Options struct {
	Place store.Store // of both
	// NewerThan leaves out backups last written before, detached envelopes included, unless
	// a newer one of their chain needs them.
	NewerThan time.Time
	// WithoutSidecar also copies backups without a sidecar, and gives the copies one.
	WithoutSidecar bool
	// Signers, if set, limit copying to their backups and signatures.
	Signers *sign.Signers
	// ReplaceOthers lets a backup take the place of one of another id.
	ReplaceOthers bool
	// Keys, if set, are the keys at hand: a copy that they open is not replaced by a file
	// that they do not.
	Keys *keystore.Ring
	// Memory, if it is set, knows what the copies were given.
	Memory *Memory
}

// Plan compares two stores. It ignores what is only at the destination. The error is the
// context's, a root's, or ErrEmpty: an empty source is a disk that is not mounted.
func Plan(ctx context.Context, from, to string, o Options) ([]Item, error) {
	there, unread := make(map[string]store.Backup), make(map[string]error)
	for b, err := range o.Place.Walk(ctx, to, false) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		switch {
		case err == nil || b.Path != "": // the error is of this one alone
			there[b.Path], unread[b.Path] = b, err
		case !errors.Is(err, fs.ErrNotExist): // a folder that is yet to be made is empty
			return nil, fmt.Errorf("looking through the destination: %w", err)
		}
	}
	found, roots, err := backup.Find(ctx, o.Place, []string{from})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", from, ErrEmpty)
	}
	renewed, err := renewed(ctx, from, roots, o)
	if err != nil {
		return nil, err
	}
	if found, err = backup.WithLinks(ctx, o.Place, found); err != nil {
		return nil, err
	}
	if roots {
		o.forget(from, to, found, there)
	}
	isNew := func(f *backup.Backup) bool { return f.Err != nil || !f.ModTime.Before(o.NewerThan) || renewed[f.Path] }
	most := needed(found, isNew)
	var items []Item
	for _, f := range found {
		if c, n, ok := chainAt(f.Path); !isNew(&f) && !(ok && n < most[c]) {
			continue
		}
		i := Item{Backup: f.Backup, Err: f.Err, Action: Copy}
		if f.Err == nil && !f.Sidecar && !o.WithoutSidecar {
			i.Err = fmt.Errorf("%s: %w", f.Path, ErrIncomplete)
		}
		inside, _ := store.CutRoot(f.Path, from)
		if !roots { // from is the backup itself
			inside = store.Base(f.Path)
		}
		i.To = store.Join(to, inside)
		if t, exists := there[i.To]; exists && i.Err == nil {
			i.Action, i.Err = Replace, unread[i.To]
			if i.Err == nil && t.Size == f.Size && t.Sidecar {
				i.Action, i.Err = compare(ctx, o.Place, f.Backup, i.To)
			}
			if i.Err == nil && i.Action != Nothing && !o.ReplaceOthers {
				var kept bool
				if kept, i.Err = o.keepsEnvelopes(ctx, f.Backup, t); kept {
					i.Action = Kept
				}
			}
		}
		items = append(items, i)
	}
	return items, nil
}

// forget lets the memory forget the copies of which neither store has anything, unless
// one is perhaps not mounted, or could not be looked through.
func (o *Options) forget(from, to string, found []backup.Backup, there map[string]store.Backup) {
	has := make(map[string]bool)
	for path := range there {
		has[placeOf(path)] = true
	}
	for _, f := range found {
		if f.Err != nil {
			return
		}
		inside, _ := store.CutRoot(f.Path, from)
		has[placeOf(store.Join(to, inside))] = true
	}
	if len(there) > 0 {
		o.Memory.forget(to, func(path string) bool { return has[path] })
	}
}

// companions belong to a backup, and may be newer than it.
var companions = []string{envelope.DetachedSuffix, store.SignatureSuffix}

// renewed returns the backups of any age whose detached envelope or signature was written
// since NewerThan.
func renewed(ctx context.Context, from string, isRoot bool, o Options) (map[string]bool, error) {
	all := make(map[string]bool)
	add := func(f store.Backup) {
		for _, suffix := range companions {
			if path, is := store.CutSuffix(f.Path, suffix); is && !f.ModTime.Before(o.NewerThan) {
				all[path] = true
			}
		}
	}
	switch {
	case o.NewerThan.IsZero():
		return all, nil
	case !isRoot:
		for _, suffix := range companions {
			f, _, err := o.Place.Stat(ctx, store.Beside(from, suffix))
			if err == nil {
				add(f)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		return all, nil
	}
	for f, err := range o.Place.Walk(ctx, from, true) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil { // what cannot be looked at is an item by now
			add(f)
		}
	}
	return all, nil
}

// compare decides about a backup whose name exists at the destination.
func compare(ctx context.Context, place store.Store, b store.Backup, to string) (Action, error) {
	sum := sidecar
	if !b.Sidecar {
		sum = digestOf
	}
	mine, err := sum(ctx, place, b.Path)
	if err != nil {
		return Replace, err
	}
	if theirs, err := sidecar(ctx, place, to); err != nil || mine != theirs {
		return Replace, nil
	}
	envelopeHere, envelopeThere, err := beside(ctx, place, b.Path, to)
	if !bytes.Equal(envelopeHere, envelopeThere) {
		return Envelope, err
	}
	if err != nil {
		return Nothing, err
	}
	if s, err := signaturesOf(ctx, place, b.Path, to); err != nil || s.differ() {
		return Signature, err
	}
	return Nothing, nil
}
