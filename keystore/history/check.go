package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Check finds what needs attention about keys.
type Check struct {
	History *History // nil when unreadable
	Fault   error    // why
	Backups []Backup
	Root    string // under which they are
	MaxAge  time.Duration
	Now     time.Time
}

// Warnings returns the warnings about one key.
func (c *Check) Warnings(ctx context.Context, src keystore.Source, id kek.ID) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	at := c.locate(ctx, src)
	if c.Fault != nil {
		add("its history cannot be read: %v", c.Fault)
	}
	if since := c.since(ctx, src, at, id); !since.IsZero() {
		if due := since.Add(c.MaxAge); c.Now.After(due) {
			add("it is overdue for rotation: in use since %s, due at %s; takumi-backup key rotate replaces it", since.Format(time.DateOnly), due.Format(time.DateOnly))
		}
	}
	if w := c.unusedKey(at, id); w != "" {
		add("%s", w)
	}
	if c.History == nil {
		return all
	}
	for _, i := range c.History.Unfinished() {
		if i.At(at) {
			add("a change to key %s was begun at %s and did not end; %s finishes it", i.New, i.Begun.Format(time.RFC3339), i.Finish())
			break
		}
	}
	for _, j := range c.History.Judge(c.Backups, c.Now) {
		switch {
		case !j.At(at):
		case j.ID == id && !j.Live():
			add("the history says that it was retired at %s", j.Retired.Format(time.DateOnly))
		case j.MayBeDestroyed && isThere(ctx, src, j.ID):
			add("its former key %s may be destroyed: retired at %s, and no backup under %s needs it", j.ID, j.Retired.Format(time.DateOnly), c.Root)
		}
	}
	return all
}

// locate returns the place of a key, or just its URI when the place cannot be asked.
func (c *Check) locate(ctx context.Context, src keystore.Source) Site {
	at, _ := Locate(ctx, Anchored(src))
	return at
}

func (c *Check) record(at Site, id kek.ID) Record {
	if c.History == nil {
		return Record{}
	}
	r, _ := c.History.Find(at, id)
	return r
}

// since returns when a key came into use, by the history or by its place.
func (c *Check) since(ctx context.Context, src keystore.Source, at Site, id kek.ID) time.Time {
	if since := c.record(at, id).Since(); !since.IsZero() {
		return since
	}
	keeper, ok := src.(keystore.Keeper)
	if !ok {
		return time.Time{}
	}
	// The right to fetch a key may not include listing its versions.
	versions, _ := keeper.Versions(ctx)
	for _, v := range versions {
		if v.Current {
			return v.Created
		}
	}
	return time.Time{}
}

// unusedKey warns when no backup has a slot for the key, although some are younger than it.
func (c *Check) unusedKey(at Site, id kek.ID) string {
	return c.Unused(c.record(at, id).Activated, func(b *Backup) bool { return slices.Contains(b.Keys, id) })
}

// Unused warns when used is true of no backup under the root although some were made after
// activated or could not be read. It opens nothing: Backups holds the claims of their
// slots.
func (c *Check) Unused(activated time.Time, used func(*Backup) bool) string {
	if NoRoot(c.Backups, c.Root) {
		return "" // nothing was sealed yet
	}
	read, unread := 0, 0
	for _, b := range c.Backups {
		if used(&b) {
			return ""
		}
		switch {
		case b.Err != nil:
			unread++
		case b.Created.After(activated):
			read++
		}
	}
	switch {
	case unread > 0:
		return fmt.Sprintf("it opens no backup under %s (looked at %d; %d cannot be read)", c.Root, read, unread)
	case read > 0:
		return fmt.Sprintf("it opens no backup under %s (looked at %d)", c.Root, read)
	}
	return ""
}

// isThere reports whether a former key is available; true when unknown.
func isThere(ctx context.Context, src keystore.Source, id kek.ID) bool {
	keeper, ok := src.(keystore.Keeper)
	if !ok {
		return true
	}
	versions, err := keeper.Versions(ctx)
	if err != nil {
		return true
	}
	for _, v := range versions {
		if v.Current || v.Gone != nil {
			continue
		}
		key, err := v.Source.Load(ctx)
		if err != nil {
			continue
		}
		key.Wipe()
		if key.ID() == id {
			return true
		}
	}
	return false
}

// Missing warns about the keys of backups that no key of the ring opens.
func (c *Check) Missing(ctx context.Context, ring *keystore.Ring, current []*kek.Key) []string {
	had := make(map[kek.ID]bool)
	for _, key := range current {
		had[key.ID()] = true
	}
	opens := func(b Backup) bool {
		return len(b.Keys) == 0 || slices.ContainsFunc(b.Keys, func(id kek.ID) bool { return had[id] })
	}
	why := make(map[kek.ID]string) // by keys that were not found
	for _, b := range c.Backups {
		for _, id := range b.Keys {
			if opens(b) || why[id] != "" {
				continue
			}
			if had[id], why[id] = findKey(ctx, ring, id); had[id] {
				delete(why, id)
			}
		}
	}
	needs := make(map[kek.ID]int)
	var ids []kek.ID
	for _, b := range c.Backups {
		if opens(b) {
			continue
		}
		for i, id := range b.Keys {
			if slices.Contains(b.Keys[:i], id) {
				continue
			}
			if needs[id]++; needs[id] == 1 {
				ids = append(ids, id)
			}
		}
	}
	var all []string
	for _, id := range ids {
		need := "1 backup needs"
		if n := needs[id]; n > 1 {
			need = fmt.Sprintf("%d backups need", n)
		}
		all = append(all, fmt.Sprintf("%s key %s, which cannot be had: %s", need, id, why[id]))
	}
	return all
}

// findKey looks for a key as opening a backup does, and says why it is missing.
func findKey(ctx context.Context, ring *keystore.Ring, id kek.ID) (bool, string) {
	keys, err := ring.Find(ctx, []kek.ID{id})
	if slices.ContainsFunc(keys, func(k *kek.Key) bool { return k.ID() == id }) {
		return true, ""
	}
	if err == nil {
		return false, "it is in none of the places that are named"
	}
	return false, strings.ReplaceAll(err.Error(), "\n", "; ") // one of them each
}

// NoRoot reports whether the scan found no folder of backups.
func NoRoot(backups []Backup, root string) bool {
	return len(backups) == 1 && backups[0].Path == store.Clean(root) && errors.Is(backups[0].Err, os.ErrNotExist)
}

// Anchored makes the path of a key file absolute, as the history needs it.
func Anchored(src keystore.Source) keystore.Source {
	f, ok := src.(keystore.File)
	if !ok {
		return src
	}
	if real, err := filepath.EvalSymlinks(f.Path); err == nil {
		f.Path = real
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(f.Path)); err == nil {
		f.Path = filepath.Join(dir, filepath.Base(f.Path)) // the file does not exist yet
	}
	if abs, err := filepath.Abs(f.Path); err == nil {
		f.Path = abs
	}
	return f
}

// Finish is the command that finishes a change; another would leave a key that nobody asked
// for.
func (i Intent) Finish() string {
	if i.Command == CommandStore {
		return "takumi-backup key store --replace --to " + i.Provider + ", with the same --key as before,"
	}
	return "takumi-backup key rotate --key " + i.Provider
}

// Storer returns the one source that can store a key. It must not be among the backups.
func Storer(sources []keystore.Source, root string) (keystore.Storer, error) {
	switch {
	case len(sources) == 0:
		return nil, keystore.ErrNone
	case len(sources) > 1:
		return nil, fail.Usagef("keys are changed one at a time, and %d are named", len(sources))
	}
	if err := keystore.CheckOutside(sources[0], root); err != nil {
		return nil, fmt.Errorf("checking where the key is: %w", err)
	}
	dst, ok := Anchored(sources[0]).(keystore.Storer)
	if !ok {
		return nil, fail.Usagef("%s cannot take a new key; file:, awssm: and vault: can", sources[0])
	}
	return dst, nil
}
