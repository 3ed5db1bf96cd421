package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Put brings an existing key to dst as the current one and records it. A place
// that holds another key is changed only with Options.Replace, and keeps that one
// as a former version; without it the error is an [*keystore.Error] of kind
// ErrConflict. The other errors are those of dst and of writing the history; the
// same call finishes what one that failed or was killed has left.
func Put(ctx context.Context, h *History, dst keystore.Storer, key *kek.Key, o Options) (*Result, error) {
	o = o.withDefaults()
	r := &Result{Provider: dst.String(), New: key.ID(), NextDue: o.Now.Add(o.MaxAge)}
	old, err := currentID(ctx, dst)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
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
		activated = alreadyThere(r, doc, o)
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
		doc.activate(Record{ID: old, Provider: r.Provider}, o.Now, o.Grace)
		doc.begin(Intent{Provider: r.Provider, Old: old, New: r.New, Begun: o.Now})
	}
	if o.DryRun {
		return r, nil
	}
	if !r.Unchanged {
		before := h.doc
		if old != "" { // else there is no former key that a kill could leave out of the record
			if err := h.save(doc.clone()); err != nil {
				return nil, err
			}
		}
		if err := h.store(ctx, dst, key, old, before); err != nil {
			return nil, err
		}
	}
	doc.end(r.Provider)
	doc.activate(Record{ID: r.New, Provider: r.Provider, Created: doc.created(r.New), Activated: activated}, o.Now, o.Grace)
	if err := h.save(doc); err != nil {
		return nil, fmt.Errorf("key %s is in place, but no record of it, and the same command makes one: %w", r.New, err)
	}
	return r, nil
}

// alreadyThere completes the result for a key that is in its place, and tells
// since when it is, if anybody knows: an earlier run may have stored it.
func alreadyThere(r *Result, doc document, o Options) (activated time.Time) {
	r.Unchanged = true
	if known := doc.find(r.Provider, r.New); known != nil && known.Live() && !known.Since().IsZero() {
		r.NextDue = known.Since().Add(o.MaxAge)
	}
	for _, i := range doc.intents(r.Provider) {
		if i.New == r.New {
			activated, r.Finished = i.Begun, true
			r.Old, r.DestroyAfter, r.NextDue = i.Old, o.Now.Add(o.Grace), i.Begun.Add(o.MaxAge)
		}
	}
	return activated
}
