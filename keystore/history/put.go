package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Put stores an existing key in dst as the current one and records it. Without
// Options.Replace, a place with another key is an [*keystore.Error] of kind ErrConflict;
// with it, that key is kept as a former version. dst is asked even when it holds the key
// already, since it may not keep it. The other errors are those of dst and of writing the
// history; the same call finishes one that failed or was killed.
func Put(ctx context.Context, h *History, dst keystore.Storer, key *kek.Key, o Options) (*Result, error) {
	o = o.withDefaults()
	r := &Result{Provider: dst.String(), DryRun: o.DryRun, New: key.ID(), NextDue: o.Now.Add(o.MaxAge)}
	old, err := currentID(ctx, dst)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return nil, err
	}
	at, err := Locate(ctx, dst)
	if err != nil && !(old == "" && errors.Is(err, keystore.ErrNotFound)) { // a new place may be unknown to its server
		return nil, err
	}
	doc := h.doc.clone()
	for _, known := range doc.Keys {
		if known.ID == r.New && !known.Live() {
			r.Notes = append(r.Notes, fmt.Sprintf("key %s was retired from %s at %s, and is in use again", known.ID, known.Provider, known.Retired.Format(time.RFC3339)))
		}
	}
	activated := o.Now
	switch old {
	case r.New:
		activated = alreadyThere(r, at, doc, o)
	case "":
	default:
		if !o.Replace {
			return nil, &keystore.Error{
				URI: r.Provider, Kind: keystore.ErrConflict,
				Reason: fmt.Sprintf("it holds key %s already; nothing was changed", old),
				Fix:    fmt.Sprintf("`takumi-backup key rotate` makes a new key there; --replace puts key %s in its place and keeps the other as a former version", r.New),
			}
		}
		r.Old, r.DestroyAfter = old, o.Now.Add(o.Grace)
		r.noteReplaced(doc.replaced(at, old), old, o)
		doc.activate(at.record(old, time.Time{}), "", o)
		doc.begin(Intent{Provider: at.URI, Place: at.Place, Old: old, New: r.New, Begun: o.Now, Command: CommandStore})
	}
	if r.Old == "" { // otherwise an earlier run replaced r.Old
		r.noteReplaced(doc.replaced(at, r.New), old, o)
	}
	if o.DryRun {
		return r, nil
	}
	before := h.doc
	if old != "" && !r.Unchanged { // otherwise a kill cannot lose a former key
		if err := h.save(doc.clone()); err != nil {
			return nil, err
		}
	}
	if err := h.store(ctx, dst, key, old, before); err != nil {
		return nil, err
	}
	if at, err = Locate(ctx, dst); err != nil {
		return nil, fmt.Errorf("key %s is in place, but no record of it, and the same command makes one: %w", r.New, err)
	}
	doc.end(at)
	fresh := at.record(r.New, doc.created(r.New))
	fresh.Activated = activated
	doc.activate(fresh, r.Old, o)
	if err := h.save(doc); err != nil {
		return nil, fmt.Errorf("key %s is in place, but no record of it, and the same command makes one: %w", r.New, err)
	}
	return r, nil
}

// alreadyThere completes the result for a key that is in its place, with the time of an
// earlier run if one stored it.
func alreadyThere(r *Result, at Site, doc document, o Options) (activated time.Time) {
	r.Unchanged = true
	if known := doc.find(at, r.New); known != nil && known.Live() && !known.Since().IsZero() {
		r.NextDue = known.Since().Add(o.MaxAge)
	}
	for _, i := range doc.intents(at) {
		if i.New == r.New {
			activated, r.Finished = i.Begun, true
			r.Old, r.DestroyAfter, r.NextDue = i.Old, o.Now.Add(o.Grace), i.Begun.Add(o.MaxAge)
		}
	}
	return activated
}
