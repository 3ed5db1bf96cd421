package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

const (
	// ringTTL is how long a Ring takes a key for current without asking again.
	ringTTL = 5 * time.Minute
	// ringPause is how long it takes a source that failed for one that would
	// fail again. A source has its own retries: a job over many backups is not
	// to wait for them at each.
	ringPause = 30 * time.Second
)

// Ring holds the keys of several sources in order, each with its former keys.
// It asks a source once and then remembers the key for five minutes, so that a
// job over many backups makes one request; former keys are asked for only when
// a backup wants one. A Ring is safe for concurrent use. Close wipes its keys:
// they are not to be used afterwards.
type Ring struct {
	mu      sync.Mutex
	now     func() time.Time
	sources []*held
	former  map[string]*held // by URI
	all     []*kek.Key       // to be wiped

	recipients []slot.Recipient // besides the keys
	identities []slot.Identity
	places     []Source // of the identities
}

type held struct {
	src   Source
	key   *kek.Key // nil before the first success
	since time.Time

	err    error // the last failure, nil after a success
	failed time.Time

	versions []Version // of a Keeper, or why they cannot be had
	listErr  error
	listed   time.Time // zero before the first answer
}

// NewRing returns a Ring of the sources in order. It loads nothing yet.
func NewRing(sources ...Source) *Ring {
	r := &Ring{now: time.Now, former: make(map[string]*held)}
	for _, s := range sources {
		r.sources = append(r.sources, &held{src: s})
	}
	return r
}

// AddRecipients adds holders of another kind than keys, to seal for.
func (r *Ring) AddRecipients(more ...slot.Recipient) { r.recipients = append(r.recipients, more...) }

// AddIdentities adds holders of another kind than keys, to open with.
func (r *Ring) AddIdentities(more ...slot.Identity) { r.identities = append(r.identities, more...) }

// AddPlace adds where identities are kept, for [CheckApart].
func (r *Ring) AddPlace(src Source) { r.places = append(r.places, src) }

// Places returns where everything secret in the ring is kept.
func (r *Ring) Places() []Source { return append(r.Sources(), r.places...) }

// Ways returns in how many ways a backup may open: with several, one may do.
func (r *Ring) Ways() int { return len(r.sources) + len(r.identities) }

// Opens reports whether there is anything to open a backup with.
func (r *Ring) Opens() bool { return r.Ways() > 0 }

// Recipients returns whom to seal for: the current keys and the other recipients.
// The errors are those of Current.
func (r *Ring) Recipients(ctx context.Context) ([]slot.Recipient, error) {
	keys, err := r.Current(ctx)
	if err != nil {
		return nil, err
	}
	if len(keys)+len(r.recipients) == 0 {
		return nil, ErrNone
	}
	return append(slot.Recipients(keys...), r.recipients...), nil
}

// Sources returns what NewRing was given.
func (r *Ring) Sources() []Source {
	var all []Source
	for _, h := range r.sources {
		all = append(all, h.src)
	}
	return all
}

// Current returns the current key of every source, in order, as sealing needs
// them. It fails with the first source that fails, and with ErrNone when there
// is not a source and no other holder.
func (r *Ring) Current(ctx context.Context) ([]*kek.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sources)+len(r.recipients)+len(r.identities) == 0 {
		return nil, ErrNone
	}
	var keys []*kek.Key
	for _, h := range r.sources {
		key, err := r.load(ctx, h)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Identities returns the keys for a backup with slots for the wanted holders, as
// [envelope.Options.Find] asks for them. It is Find for holders, and gives the other
// identities with what it finds.
//
// [envelope.Options.Find]: https://pkg.go.dev/github.com/takumi-backup/takumi-backup/envelope#Options
func (r *Ring) Identities(ctx context.Context, wanted []slot.Holder) ([]slot.Identity, error) {
	var ids []kek.ID
	for _, h := range wanted {
		if h.Type == kek.SlotType {
			ids = append(ids, kek.ID(h.Name))
		}
	}
	if len(r.sources) == 0 && len(r.identities) > 0 {
		return r.identities, nil
	}
	keys, err := r.Find(ctx, ids)
	return append(slot.Identities(keys...), r.identities...), err
}

// Find returns keys for a backup whose slots carry the wanted ids: those that
// match if there are any, and else all that there are. It looks at the current
// keys first and then at the former ones that the sources keep, in order, and
// stops at the first match.
//
// The error says which sources failed; keys may be there all the same, and one
// of them may do.
func (r *Ring) Find(ctx context.Context, wanted []kek.ID) ([]*kek.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sources) == 0 {
		return nil, ErrNone
	}
	// What is in memory already needs nobody's answer.
	for _, h := range r.known() {
		if r.fresh(h) && slices.Contains(wanted, h.key.ID()) {
			return []*kek.Key{h.key}, nil
		}
	}
	var keys []*kek.Key
	var faults []error
	match := func(h *held) bool {
		key, err := r.load(ctx, h)
		if err != nil {
			faults = append(faults, err)
			return false
		}
		if slices.Contains(wanted, key.ID()) {
			keys = []*kek.Key{key}
			return true
		}
		if !slices.ContainsFunc(keys, func(k *kek.Key) bool { return k.ID() == key.ID() }) {
			keys = append(keys, key)
		}
		return false
	}
	for _, h := range r.sources {
		if match(h) {
			return keys, nil
		}
	}
	for _, h := range r.sources {
		versions, err := r.list(ctx, h)
		if err != nil {
			faults = append(faults, fmt.Errorf("looking for former keys: %w", err))
			continue
		}
		for _, v := range versions {
			if v.Current {
				continue
			}
			if v.Gone != nil {
				faults = append(faults, v.Gone)
				continue
			}
			uri := v.Source.String()
			if r.former[uri] == nil {
				r.former[uri] = &held{src: v.Source}
			}
			if match(r.former[uri]) {
				return keys, nil
			}
		}
	}
	return keys, errors.Join(faults...)
}

// known returns all places that a key was ever asked of, in order: the current
// keys and then, by the order of their sources, the former ones.
func (r *Ring) known() []*held {
	all := slices.Clone(r.sources)
	for _, h := range r.sources {
		for _, v := range h.versions {
			if former := r.former[v.Source.String()]; former != nil {
				all = append(all, former)
			}
		}
	}
	return all
}

func (r *Ring) fresh(h *held) bool {
	return h.key != nil && r.now().Sub(h.since) < ringTTL
}

func (r *Ring) load(ctx context.Context, h *held) (*kek.Key, error) {
	if r.fresh(h) {
		return h.key, nil
	}
	if h.err != nil && r.now().Sub(h.failed) < ringPause {
		return nil, h.err
	}
	key, err := h.src.Load(ctx)
	if err != nil {
		if ctx.Err() == nil { // else it was the caller who had enough
			h.err, h.failed = err, r.now()
		}
		return nil, err
	}
	// The one before may still be in somebody's hands: Close wipes both.
	r.all = append(r.all, key)
	h.key, h.since, h.err = key, r.now(), nil
	return key, nil
}

// list returns the former keys of a source whose current key could be had, from
// memory while they are fresh.
func (r *Ring) list(ctx context.Context, h *held) ([]Version, error) {
	keeper, ok := h.src.(Keeper)
	if !ok || h.key == nil {
		return nil, nil
	}
	ttl := ringTTL
	if h.listErr != nil {
		ttl = ringPause
	}
	if h.listed.IsZero() || r.now().Sub(h.listed) >= ttl {
		versions, err := keeper.Versions(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		h.versions, h.listErr, h.listed = versions, err, r.now()
	}
	return h.versions, h.listErr
}

// Close wipes every key that the Ring gave out.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.all {
		k.Wipe()
	}
	r.all, r.former = nil, make(map[string]*held)
	for _, h := range r.sources {
		*h = held{src: h.src}
	}
}
