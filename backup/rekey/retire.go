package rekey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// ErrNeeded is why a key is not retired.
var ErrNeeded = errors.New("it must not be destroyed")

const (
	maxNamed = 5 // backups that need a key
	provers  = 4 // backups that are opened at once
)

// Retirement looks whether a key, or an identity, may be destroyed.
type Retirement struct {
	History *history.History
	Store   store.Store
	Backups []history.Backup // of Scan
	// Source makes a source of a provider of the history.
	Source func(provider string) (keystore.Source, error)
	// Identities are in use, and the history keeps no record of them.
	Identities []slot.Identity
	// End ends the use of a current key without a successor, because identities replaced
	// it. It may be destroyed after Grace.
	End   bool
	Grace time.Duration
	// DryRun records nothing.
	DryRun bool
}

// Retired is a key that may be destroyed.
type Retired struct {
	ID         kek.ID        `json:"key_id"`
	Recipient  *slot.Holder  `json:"recipient,omitempty"` // it is an identity, for whose recipient these slots are
	Opens      int           `json:"opens"`               // backups that it opens, and another key too
	OnlyBeside int           `json:"only_beside"`         // see history.Judgement
	After      time.Time     `json:"destroy_after,omitzero"`
	Places     []Destruction `json:"places"`
}

// Destruction is a place of a key, and how to destroy it there.
type Destruction struct {
	Provider string `json:"provider"`
	Command  string `json:"command,omitempty"`
	Reason   string `json:"reason,omitempty"` // why there is no command
}

// Run fails, with ErrNeeded, unless the key or identity of this id or hint may be
// destroyed: it is current nowhere, its grace period is over, and every backup opens
// without it, with the keys in use by the history, freshly fetched, or with Identities.
// Slots are claims and do not count. It records that, or with End that the key is no longer
// used.
func (r *Retirement) Run(ctx context.Context, id kek.ID) (*Retired, error) {
	for _, i := range r.Identities {
		if h, known := slot.HolderOf(i); known {
			if h.Name == string(id) {
				return nil, fmt.Errorf("key %s: %w: it is offered itself as what opens the backups", id, ErrNeeded)
			}
			r.History.InUse(h)
		}
	}
	judge := r.judge
	if r.End {
		judge = r.judgeCurrent
	} else if !slices.ContainsFunc(r.History.Records(), func(known history.Record) bool { return known.ID == id }) {
		judge = r.judgeRecipient
	}
	out, providers, err := judge(id)
	if err != nil {
		return nil, err
	}
	if err := r.proveOpen(ctx, id); err != nil {
		return nil, err
	}
	switch {
	case r.End && !r.DryRun:
		out.After, err = r.History.End(id, time.Now(), r.Grace)
	case r.End:
		out.After = time.Now().Add(r.Grace).UTC().Truncate(time.Second)
	case out.Recipient == nil && !r.DryRun:
		err = r.History.Clear(id, time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("recording that key %s may be destroyed: %w", id, err)
	}
	for _, at := range providers {
		out.Places = append(out.Places, r.whereToDestroy(ctx, at, id))
	}
	return out, nil
}

// judge fails unless every record of a key allows its destruction.
func (r *Retirement) judge(id kek.ID) (out *Retired, providers []string, err error) {
	for _, j := range r.History.Judge(r.Backups, time.Now()) {
		if j.ID != id {
			continue
		}
		why := j.WhyNot
		if j.Live() {
			why = "it is the current key of " + j.Where()
		}
		if why != "" {
			return nil, nil, fmt.Errorf("key %s: %w: %s%s", id, ErrNeeded, why, r.needing(id))
		}
		if out == nil {
			out = &Retired{ID: id, Opens: j.Opens, OnlyBeside: j.OnlyBeside}
		}
		providers = append(providers, j.Provider)
	}
	return out, providers, nil
}

func (r *Retirement) needing(id kek.ID) string {
	var names []string
	needing := r.History.Needing(id, r.Backups)
	for _, b := range needing[:min(len(needing), maxNamed)] {
		names = append(names, store.Printable(b.Path))
	}
	if len(names) == 0 {
		return ""
	}
	text := ": " + strings.Join(names, ", ")
	if more := len(needing) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// judgeCurrent fails unless the use of a key can be ended.
func (r *Retirement) judgeCurrent(id kek.ID) (*Retired, []string, error) {
	live := slices.ContainsFunc(r.History.Records(), func(known history.Record) bool { return known.ID == id && known.Live() })
	switch {
	case !live:
		return nil, nil, fmt.Errorf("key %s: its use cannot be ended: by the key history it is current nowhere", id)
	case len(r.Identities) == 0:
		return nil, nil, fmt.Errorf("key %s: %w: no identity is named that opens the backups in its place", id, ErrNeeded)
	}
	for _, j := range r.History.Judge(r.Backups, time.Now()) {
		if j.ID == id && j.NeededBy > 0 {
			return nil, nil, fmt.Errorf("key %s: %w: %d backups need it%s", id, ErrNeeded, j.NeededBy, r.needing(id))
		}
	}
	return &Retired{ID: id}, nil, nil
}

// judgeRecipient fails unless slots name the recipient of this hint, and all backups are
// readable.
func (r *Retirement) judgeRecipient(id kek.ID) (*Retired, []string, error) {
	out := &Retired{ID: id}
	for _, b := range r.Backups {
		if b.Err != nil {
			return nil, nil, fmt.Errorf("key %s: %w: nobody can tell whether %s needs it: %w", id, ErrNeeded, store.Printable(b.Path), b.Err)
		}
		for _, h := range b.Recipients {
			if h.Name == string(id) {
				out.Opens++
				out.Recipient = &h
				break
			}
		}
	}
	if out.Recipient == nil {
		return nil, nil, fmt.Errorf("key %s: %w: the key history does not know it, so nobody can tell whether it is in use; "+
			"takumi-backup key history --add --key URI makes it known, where URI is the place that keeps it next to the key that came after it, or with --retired it alone", id, ErrNeeded)
	}
	out.Places = []Destruction{{Provider: out.Recipient.String(), Reason: "where the identity is kept, the key history does not know"}}
	return out, nil, nil
}

type currentOnly struct{ keystore.Source }

// proveOpen fails unless each backup opens with another key in use, freshly fetched, or
// with an identity: anybody who can write a slot can write any id into it.
func (r *Retirement) proveOpen(ctx context.Context, id kek.ID) error {
	var sources []keystore.Source
	var live []history.Record
	for _, known := range r.History.Records() {
		if !known.Live() || known.ID == id {
			continue
		}
		src, err := r.Source(known.Provider)
		if err != nil {
			return fmt.Errorf("key %s: %w: key %s in %s, which is in use, cannot be fetched: %v", id, ErrNeeded, known.ID, known.Where(), err)
		}
		sources, live = append(sources, currentOnly{src}), append(live, known)
	}
	if len(live)+len(r.Identities) == 0 {
		return fmt.Errorf("key %s: %w: the key history knows no other key that is in use, and no identity is named", id, ErrNeeded)
	}
	ring := keystore.NewRing(sources...)
	ring.AddIdentities(r.Identities...)
	defer ring.Close()
	keys, err := ring.Current(ctx)
	if err != nil {
		return fmt.Errorf("key %s: %w: a key that is in use cannot be fetched: %v", id, ErrNeeded, err)
	}
	for i, key := range keys {
		if got := key.ID(); got != live[i].ID {
			return fmt.Errorf("key %s: %w: %s holds key %s, and %s by the key history", id, ErrNeeded, live[i].Where(), got, live[i].ID)
		}
	}
	var closed error // the first backup that does not open
	err = parallel.Each(ctx, provers, len(r.Backups), func(ctx context.Context, i int) error {
		seen, err := backup.Look(ctx, r.Store, r.Backups[i].Path, backup.Options{Keys: ring})
		switch {
		case err != nil:
			return err
		case seen.Err != nil:
			return seen.Err
		}
		return nil
	}, func(i int, fault error) {
		if fault != nil && closed == nil {
			closed = fmt.Errorf("key %s: %w: no other key that is in use opens %s: %v", id, ErrNeeded, store.Printable(r.Backups[i].Path), fault)
		}
	})
	return cmp.Or(err, closed)
}

// whereToDestroy looks for a key in a former place. A place's current key is destroyed only
// when the history has no successor there.
func (r *Retirement) whereToDestroy(ctx context.Context, provider string, id kek.ID) Destruction {
	d := Destruction{Provider: provider}
	src, err := r.Source(provider)
	if err != nil {
		d.Reason = redact.Error(err)
		return d
	}
	keeper, ok := src.(keystore.Keeper)
	if !ok {
		d.Reason = "nobody can tell how"
		return d
	}
	versions, err := keeper.Versions(ctx)
	if err != nil {
		d.Reason = redact.Error(err)
		return d
	}
	replaced := slices.ContainsFunc(r.History.Records(), func(known history.Record) bool { return known.Provider == provider && known.Live() })
	for _, v := range versions {
		key, err := v.Source.Load(ctx)
		if err != nil {
			d.Reason = redact.Error(err)
			continue
		}
		same := key.ID() == id
		key.Wipe()
		if destroyable, ok := v.Source.(keystore.Destroyable); same && ok && (!v.Current || !replaced) {
			d.Provider, d.Command, d.Reason = v.Source.String(), destroyable.DestroyCommand(id), ""
			return d
		}
		if same && v.Current {
			d.Reason = "it is the current key there"
		}
	}
	if d.Reason == "" {
		d.Reason = "it is not there any more"
	}
	return d
}
