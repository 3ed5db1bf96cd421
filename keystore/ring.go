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
	// ringTTL is how long a Ring uses a current key without asking again.
	ringTTL = 5 * time.Minute
	// ringPause is how long a failed source is not asked again: sources have their own
	// retries, and a job over many backups should not wait for them at each.
	ringPause = 30 * time.Second
)

// Ring holds the keys of several sources in order. It remembers a key for five minutes, so
// that a job over many backups makes one request; former keys are fetched only when a
// backup needs one. A Ring is safe for concurrent use. Close wipes its keys, which must not
// be used afterwards.
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

	versions []Version // of a Keeper
	listErr  error
	listed   time.Time // zero before the first answer
}

// NewRing returns a Ring of the sources in order, without loading them.
func NewRing(sources ...Source) *Ring {
	r := &Ring{now: time.Now, former: make(map[string]*held)}
	for _, s := range sources {
		r.sources = append(r.sources, &held{src: s})
	}
	return r
}

// AddRecipients adds recipients that are not keys of sources.
func (r *Ring) AddRecipients(more ...slot.Recipient) { r.recipients = append(r.recipients, more...) }

// AddIdentities adds identities that are not keys of sources.
func (r *Ring) AddIdentities(more ...slot.Identity) { r.identities = append(r.identities, more...) }

// AddPlace adds the place of an identity, for [CheckOutside].
func (r *Ring) AddPlace(src Source) { r.places = append(r.places, src) }

// Places returns the places of all secrets of the ring.
func (r *Ring) Places() []Source { return append(r.Sources(), r.places...) }

// Ways returns how many keys and identities may open a backup; one is enough.
func (r *Ring) Ways() int { return len(r.sources) + len(r.identities) }

// Opens reports whether the ring can open backups.
func (r *Ring) Opens() bool { return r.Ways() > 0 }

// Ready fails with the error of Current when the only key cannot be had; of several ways to
// open a backup one may do.
func (r *Ring) Ready(ctx context.Context) error {
	if r.Ways() > 1 {
		return nil
	}
	_, err := r.Current(ctx)
	return err
}

// Recipients returns the recipients to seal for: current keys and others. The errors are
// those of Current.
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

// Sources returns the arguments of NewRing.
func (r *Ring) Sources() []Source {
	var all []Source
	for _, h := range r.sources {
		all = append(all, h.src)
	}
	return all
}

// Current returns the current key of every source, in order, for sealing. It fails with the
// first source that fails, and with ErrNone without any source or recipient.
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

// Identities is Find for holders, as [envelope.Options.Find] wants it: the keys for the
// wanted holders, and the other identities.
//
// [envelope.Options.Find]:
// https://pkg.go.dev/github.com/takumi-backup/takumi-backup/envelope#Options
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

// Find returns the keys with the wanted ids, or all keys when none has one. It looks at the
// current keys first, then at the former ones of the sources, in order, and stops at the
// first match.
//
// The error names the sources that failed; keys may be returned with it.
func (r *Ring) Find(ctx context.Context, wanted []kek.ID) ([]*kek.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sources) == 0 {
		return nil, ErrNone
	}
	// Keys in memory need no request.
	for _, h := range r.sources {
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

// within reports whether it was less than d ago; a zero time never was.
func (r *Ring) within(d time.Duration, it time.Time) bool { return r.now().Sub(it) < d }

func (r *Ring) fresh(h *held) bool { return r.within(ringTTL, h.since) }

func (r *Ring) load(ctx context.Context, h *held) (*kek.Key, error) {
	if r.fresh(h) {
		return h.key, nil
	}
	if h.err != nil && r.within(ringPause, h.failed) {
		return nil, h.err
	}
	key, err := h.src.Load(ctx)
	if err != nil {
		if ctx.Err() == nil { // otherwise the caller has cancelled
			h.err, h.failed = err, r.now()
		}
		return nil, err
	}
	// The key before it may still be in use: Close wipes both.
	r.all = append(r.all, key)
	h.key, h.since, h.err = key, r.now(), nil
	return key, nil
}

// list returns the former keys of a source, from memory while they are fresh.
func (r *Ring) list(ctx context.Context, h *held) ([]Version, error) {
	keeper, ok := h.src.(Keeper)
	if !ok || h.key == nil {
		return nil, nil
	}
	ttl := ringTTL
	if h.listErr != nil {
		ttl = ringPause
	}
	if !r.within(ttl, h.listed) {
		versions, err := keeper.Versions(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		h.versions, h.listErr, h.listed = versions, err, r.now()
	}
	return h.versions, h.listErr
}

// Close wipes every key of the Ring.
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
