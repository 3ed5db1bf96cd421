package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const (
	// DefaultMaxAge is how long a key is used.
	DefaultMaxAge = 180 * 24 * time.Hour
	// DefaultGrace is how long a former key is kept at least.
	DefaultGrace = 30 * 24 * time.Hour
)

// Options are how to change a key. The zero value is good.
type Options struct {
	MaxAge time.Duration // DefaultMaxAge if zero
	Grace  time.Duration // DefaultGrace if zero
	Now    time.Time     // the clock's if zero

	// Adopt lets Rotate take the key that it finds as the successor of the recorded ones,
	// despite an unfinished change to another.
	Adopt   bool
	Replace bool
	// DryRun changes nothing.
	DryRun bool
	// InUse reports whether a backup has this key id already. It may be nil.
	InUse func(kek.ID) bool

	generate func() *kek.Key // kek.Generate if nil
}

func (o Options) withDefaults() Options {
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.Now.IsZero() {
		o.Now = sys.now()
	}
	o.Now = o.Now.UTC().Truncate(time.Second)
	if o.InUse == nil {
		o.InUse = func(kek.ID) bool { return false }
	}
	if o.generate == nil {
		o.generate = kek.Generate
	}
	return o
}

// Result is what Rotate or Put did, or with Options.DryRun would do.
type Result struct {
	Provider string `json:"key"`
	Old      kek.ID `json:"old_key_id,omitempty"` // the former key, "" for none
	New      kek.ID `json:"key_id,omitempty"`     // the current key, "" when a dry run would make one
	DryRun   bool   `json:"dry_run,omitempty"`
	// Finished means that an earlier run had stored New, and this one completed the record.
	Finished bool `json:"finished_earlier_run,omitempty"`
	// Put found the key in its place
	Unchanged    bool      `json:"unchanged,omitempty"`
	NextDue      time.Time `json:"next_due"`                   // when New should be replaced
	DestroyAfter time.Time `json:"destroy_old_after,omitzero"` // earliest, zero without Old
	// What Judge adds: how many backups need Old, and those of which nobody can tell.
	NeededBy   int      `json:"old_needed_by"`
	Unreadable []string `json:"unreadable,omitempty"`
	Notes      []string `json:"warnings,omitempty"` // for the user, such as that somebody else changed a key

	root string
}

// Judge adds how many of the backups under root need the former key; after a dry run that
// is how many need it now.
func (r *Result) Judge(h *History, backups []Backup, root string) {
	r.root = root
	if r.Old == "" || NoRoot(backups, root) {
		return
	}
	r.NeededBy = h.NeededBy(r.Old, backups)
	for _, b := range backups {
		if b.Err != nil {
			r.Unreadable = append(r.Unreadable, fmt.Sprintf("%s: %v", b.Path, b.Err))
		}
	}
}

// Text is the result for a person, in lines.
func (r *Result) Text() string {
	var text strings.Builder
	row := func(name, value string) { fmt.Fprintf(&text, "%-12s %s\n", name+":", value) }
	row("key", r.Provider)
	row("current", cmp.Or(string(r.New), "a new one"))
	if r.Old != "" {
		row("former", string(r.Old))
	}
	row("next due", r.NextDue.Format(time.RFC3339))
	if r.Old != "" {
		row("former kept", "until "+r.DestroyAfter.Format(time.RFC3339)+" at the least, and while a backup needs it")
		row("needed by", fmt.Sprintf("%d of the backups under %s", r.NeededBy, r.root))
	}
	return text.String()
}

// Rotate makes a new key, stores it in src as the current one, which keeps the former key
// (see [keystore.Storer]), and records both. When an earlier call was killed after its key
// had been stored, this one only completes the record.
//
// An [*keystore.Error] of kind ErrConflict means that somebody else has changed the key,
// during this rotation or since an unfinished one. The other errors are those of src and of
// writing the history. After any error the key in src is either unchanged or new, and the
// same call finishes.
func Rotate(ctx context.Context, h *History, src keystore.Storer, o Options) (*Result, error) {
	o = o.withDefaults()
	r := &Result{Provider: src.String(), DryRun: o.DryRun}
	old, err := currentID(ctx, src)
	if err != nil {
		return nil, err
	}
	at, err := Locate(ctx, src)
	if err != nil {
		return nil, err
	}
	doc := h.doc.clone()
	begun := doc.intents(at)
	for _, i := range begun {
		if i.New == old {
			i.Provider, i.Place = at.URI, at.Place
			return h.finish(ctx, src, i, doc, r, o)
		}
	}
	if !stillAtStart(begun, old) {
		if !o.Adopt {
			return nil, changedError(begun, old)
		}
		doc.end(at)
	}
	key, created, err := unused(ctx, src, doc, o)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	r.noteReplaced(doc.replaced(at, old), old, o)
	doc.activate(at.record(old, created), "", o)
	r.Old, r.DestroyAfter, r.NextDue = old, o.Now.Add(o.Grace), o.Now.Add(o.MaxAge)
	if o.DryRun {
		return r, nil
	}
	intent := Intent{Provider: at.URI, Place: at.Place, Old: old, New: key.ID(), Begun: o.Now, Command: CommandRotate}
	doc.begin(intent)
	before := h.doc
	if err := h.save(doc); err != nil {
		return nil, err
	}
	if err := h.store(ctx, src, key, old, before); err != nil {
		return nil, fmt.Errorf("storing the new key: %w", err)
	}
	r.New = key.ID()
	if err := h.complete(intent, doc.clone(), o); err != nil {
		return nil, fmt.Errorf("key %s is in place, but the record of it is not complete, and the same command completes it: %w", r.New, err)
	}
	return r, nil
}

// noteReplaced notes that the place has another key than the history.
func (r *Result) noteReplaced(known, found kek.ID, o Options) {
	if known == "" {
		return
	}
	what := "key " + string(found)
	if found == "" {
		what = "no key"
	}
	note := fmt.Sprintf("the history had key %s as the current one, and %s was there: somebody has replaced it", known, what)
	if !o.Adopt {
		note += ", or this is another place of the same name; key " + string(known) + " does not count as one that may be destroyed until key rotate --adopt says that it was replaced"
	}
	r.Notes = append(r.Notes, note)
}

// finish completes an earlier run, with the notes that storing the key gives.
func (h *History) finish(ctx context.Context, src keystore.Storer, i Intent, doc document, r *Result, o Options) (*Result, error) {
	r.Old, r.New, r.Finished = i.Old, i.New, true
	r.DestroyAfter, r.NextDue = o.Now.Add(o.Grace), i.Begun.Add(o.MaxAge)
	if o.DryRun {
		return r, nil
	}
	key, err := src.Load(ctx)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	if err := src.Store(ctx, key, i.New); err != nil {
		return nil, fmt.Errorf("finishing what was begun: %w", err)
	}
	return r, h.complete(i, doc, o)
}

// complete records the end of a rotation. The exact time of the change is unknown: the new
// key counts from its start, the former until now.
func (h *History) complete(i Intent, doc document, o Options) error {
	at := Site{i.Provider, i.Place}
	doc.end(at)
	key := at.record(i.New, i.Begun)
	key.Activated = i.Begun
	doc.activate(key, i.Old, o)
	return h.save(doc)
}

// store stores key in dst. When dst refuses it for good, as one named with a version does,
// the history goes back to before.
func (h *History) store(ctx context.Context, dst keystore.Storer, key *kek.Key, old kek.ID, before document) error {
	err := dst.Store(ctx, key, old)
	if !errors.Is(err, keystore.ErrRefused) {
		return err
	}
	if now, loadErr := currentID(ctx, dst); loadErr != nil || now != old {
		return err
	}
	return errors.Join(err, h.save(before))
}

func currentID(ctx context.Context, src keystore.Source) (kek.ID, error) {
	key, err := src.Load(ctx)
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	return key.ID(), nil
}

// stillAtStart reports whether the key is the one that the last rotation began with, so
// that its new key was never current.
func stillAtStart(begun []Intent, current kek.ID) bool {
	return len(begun) == 0 || begun[len(begun)-1].Old == current
}

func changedError(begun []Intent, current kek.ID) error {
	i := begun[len(begun)-1]
	return &keystore.Error{
		URI: i.Provider, Kind: keystore.ErrConflict,
		Reason: fmt.Sprintf("a rotation from key %s to key %s was begun at %s and did not end, and now it holds key %s: somebody else has changed it",
			i.Old, i.New, i.Begun.Format(time.RFC3339), current),
		Fix: "find out who; then --adopt takes the key that is there as the one to rotate",
	}
}

// unused makes a key with an id that is in neither the history, the place nor a backup. It
// also returns when the current key of the place was created, if known.
func unused(ctx context.Context, src keystore.Storer, doc document, o Options) (key *kek.Key, created time.Time, err error) {
	versions, err := src.Versions(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	kept := make(map[kek.ID]bool)
	for _, v := range versions {
		if v.Current {
			created = v.Created
		}
		if v.Gone != nil {
			continue
		}
		id, err := currentID(ctx, v.Source)
		if ctx.Err() != nil {
			return nil, time.Time{}, context.Cause(ctx)
		}
		if err == nil { // unreadable versions are skipped
			kept[id] = true
		}
	}
	const tries = 3 // ids are 64 random bits: a second try already means a broken generator
	for range tries {
		key := o.generate()
		if id := key.ID(); !kept[id] && !doc.contains(id) && !o.InUse(id) {
			return key, created.UTC().Truncate(time.Second), nil
		}
		key.Wipe()
	}
	return nil, time.Time{}, errors.New("every new key is one that was in use before: the random generator of this system is broken")
}
