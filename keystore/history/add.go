package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Add records the keys of a place that the history lacks: the current one, and the former
// ones that the place keeps, as retired when the current one was created, or now if that is
// unknown. Former keys that count as lost become retired ones. With retired, the current
// key of src is a former one that is kept on its own. It returns the ids of the records
// that it made or changed. The errors are those of src and of writing the history, which is
// then unchanged.
func Add(ctx context.Context, h *History, src keystore.Source, retired bool, o Options) ([]kek.ID, error) {
	o = o.withDefaults()
	id, err := currentID(ctx, src)
	if err != nil {
		return nil, err
	}
	at, err := Locate(ctx, src)
	if err != nil {
		return nil, err
	}
	var versions []keystore.Version
	if keeper, ok := src.(keystore.Keeper); ok {
		if versions, err = keeper.Versions(ctx); err != nil {
			return nil, err
		}
	}
	a := adding{doc: h.doc.clone(), at: at, retired: o.Now, grace: o.Grace}
	for _, v := range versions {
		if v.Current && !v.Created.IsZero() && !retired {
			a.retired = v.Created.UTC().Truncate(time.Second)
		}
	}
	switch known := a.doc.find(at, id); {
	case retired && known != nil && known.Live():
		return nil, fmt.Errorf("the key history has key %s as the current one of %s", id, known.Provider)
	case retired:
		a.former(id, time.Time{})
	case known == nil || !known.Live():
		a.doc.activate(at.record(id, a.retired), "", o)
		a.ids = append(a.ids, id)
	}
	var faults []error
	for _, v := range versions {
		if v.Current || v.Gone != nil {
			continue
		}
		former, err := currentID(ctx, v.Source)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			faults = append(faults, err)
		} else if former != id {
			a.former(former, v.Created.UTC().Truncate(time.Second))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("looking for former keys: %w", err)
	}
	if o.DryRun || len(a.ids) == 0 {
		return a.ids, nil
	}
	return a.ids, h.save(a.doc)
}

type adding struct {
	doc     document
	at      Site
	retired time.Time // of a former key, as far as known
	grace   time.Duration
	ids     []kek.ID
}

func (a *adding) former(id kek.ID, created time.Time) {
	known := a.doc.find(a.at, id)
	if known == nil {
		a.doc.Keys = append(a.doc.Keys, a.at.record(id, created))
		known = &a.doc.Keys[len(a.doc.Keys)-1]
		known.Retired = a.retired
	}
	if known.DestroyAfter.IsZero() && !known.Live() {
		known.DestroyAfter = known.Retired.Add(a.grace)
		a.ids = append(a.ids, id)
	}
}
