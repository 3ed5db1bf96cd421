// Package history records which keys were in use where and when, and rotates them.
//
// Call [Dir] for the usual folder and [Open] it, or [Read] it; [Rotate] replaces the key of
// a place by a new one, [Put] stores an existing key there, and [History.Judge] finds the
// former keys that no backup needs.
//
// The record is one small JSON file without secrets: ids, URIs and times. It is replaced
// whole or not at all; a damaged one is an error and never overwritten. It must not be next
// to the backups ([CheckOutside]), since it says which keys may be destroyed.
//
// # After a kill
//
// Rotate writes down its intent, stores the new key, then completes the record. Killed at
// any moment, the same call finishes: it asks the place for its key, which shows how far
// the earlier run came. The former key stays, as [keystore.Storer] promises.
//
// A History is not safe for concurrent use; processes exclude each other with a lock, which
// needs a local disk. The package needs a Unix system.
package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

var (
	// ErrDamaged is returned for a history that this package did not write.
	ErrDamaged = errors.New("the key history is damaged")

	// ErrBusy is returned while another process has the history open.
	ErrBusy = errors.New("another process is changing the key history; try again when it is done")
)

const (
	// FileName is the history's name in its folder.
	FileName = "keys.json"
	lockName = "keys.lock"

	version = 1
	// some thousand keys
	maxSize = 1 << 20
)

// Record is a key in one place.
type Record struct {
	ID       kek.ID `json:"id"`
	Provider string `json:"provider"` // the place's URI
	// Place is the place where the URI does not suffice: see [Site].
	Place string `json:"place,omitempty"`
	// Created and Activated are zero for a key from before the history.
	Created   time.Time `json:"created,omitzero"`
	Activated time.Time `json:"activated,omitzero"`
	// Retired is zero while the key is current.
	Retired time.Time `json:"retired,omitzero"`
	// DestroyAfter is zero while the key is current, and when somebody else replaced it: it
	// may be in use elsewhere.
	DestroyAfter time.Time `json:"destroy_after,omitzero"`
	// Cleared is when Clear was called: the key may have been destroyed since.
	Cleared time.Time `json:"cleared,omitzero"`
}

// Live reports whether the key is the current one of its place.
func (r Record) Live() bool { return r.Retired.IsZero() }

// Lost reports whether the key was replaced by somebody else.
func (r Record) Lost() bool { return !r.Live() && r.DestroyAfter.IsZero() }

// At reports whether the record is of that site.
func (r Record) At(s Site) bool { return Site{r.Provider, r.Place}.same(s) }

// Since is when the key came into use, zero if unknown.
func (r Record) Since() time.Time {
	if r.Activated.IsZero() {
		return r.Created
	}
	return r.Activated
}

// Intent is a change of a key without a recorded end.
type Intent struct {
	Provider string    `json:"provider"`
	Place    string    `json:"place,omitempty"` // as that of a Record
	Old      kek.ID    `json:"old"`
	New      kek.ID    `json:"new"`
	Begun    time.Time `json:"begun"`
	// Command finishes the change: CommandRotate, CommandStore, or "" of an older version.
	Command string `json:"command,omitempty"`
}

// The commands of an Intent.
const (
	CommandRotate = "rotate"
	CommandStore  = "store"
)

// At reports whether the change is at that site.
func (i Intent) At(s Site) bool { return Site{i.Provider, i.Place}.same(s) }

// History is the record of keys, which Rotate and Put change.
type History struct {
	path  string
	lock  *os.File // nil when opened for reading
	doc   document
	inUse []slot.Holder
}

// Read returns the history in the folder dir, which need not exist, for reading only. The
// errors are ErrDamaged and the system's.
func Read(dir string) (*History, error) {
	h := &History{path: filepath.Join(dir, FileName)}
	text, err := readFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		h.doc, err = parse(text)
	}
	if errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("%s: %w; nothing was changed; to fix: put a copy of the file in its place, or move it away, and a new history begins, which knows nothing of the keys before", h.path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key history: %w", err)
	}
	return h, nil
}

// Open opens the history for changes: it makes the folder, with mode 0700, and locks out
// other processes until Close. It fails with ErrBusy when one has the lock.
func Open(dir string) (_ *History, err error) {
	if err := sys.mkdir(dir); err != nil {
		return nil, fmt.Errorf("making the folder of the key history: %w", err)
	}
	lock, err := sys.open(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the key history: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err = sys.lock(lock); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the key history: %w", err)
	}
	// Under the lock.
	h, err := Read(dir)
	if err != nil {
		return nil, err
	}
	h.lock = lock
	return h, nil
}

// Close releases the lock. It may be called twice.
func (h *History) Close() {
	if h.lock != nil {
		h.lock.Close()
		h.lock = nil
	}
}

// Path is the history's file, which may not exist yet.
func (h *History) Path() string { return h.path }

// Records returns a copy of the records, the oldest first.
func (h *History) Records() []Record { return slices.Clone(h.doc.Keys) }

// Find returns the record of a key in a place.
func (h *History) Find(at Site, id kek.ID) (Record, bool) {
	if r := h.doc.find(at, id); r != nil {
		return *r, true
	}
	return Record{}, false
}

// Unfinished returns the changes without a recorded end, one for each try.
func (h *History) Unfinished() []Intent { return slices.Clone(h.doc.Intents) }

// Where is the place of a key, in as many words as needed.
func (r Record) Where() string {
	if r.Place == "" {
		return r.Provider
	}
	return r.Provider + " (" + r.Place + ")"
}

// End records that a key is no longer used anywhere and has no successor. It returns when
// it may be destroyed: after grace. The caller has proved that nothing needs the key.
func (h *History) End(id kek.ID, now time.Time, grace time.Duration) (time.Time, error) {
	doc := h.doc.clone()
	now = now.UTC().Truncate(time.Second)
	for i := range doc.Keys {
		if r := &doc.Keys[i]; r.ID == id && r.Live() {
			r.Retired, r.DestroyAfter = now, now.Add(grace).Truncate(time.Second)
		}
	}
	return now.Add(grace).Truncate(time.Second), h.save(doc)
}

// Clear records that a key may be destroyed, wherever it was retired. The caller has asked
// [History.Judge]. It fails when the key is unknown or current.
func (h *History) Clear(id kek.ID, now time.Time) error {
	doc := h.doc.clone()
	found := false
	for i := range doc.Keys {
		if r := &doc.Keys[i]; r.ID == id {
			if found = true; r.Live() {
				return fmt.Errorf("key %s is the current one of %s", id, r.Provider)
			}
			if r.Cleared.IsZero() {
				r.Cleared = now.UTC().Truncate(time.Second)
			}
		}
	}
	if !found {
		return fmt.Errorf("the key history knows no key %s", id)
	}
	return h.save(doc)
}

func (h *History) save(doc document) error {
	if h.lock == nil {
		return errors.New("the key history was opened for reading, or closed")
	}
	doc.Version = version
	if doc.Keys == nil {
		doc.Keys = []Record{}
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the key history: %w", err)
	}
	text = append(text, '\n')
	if _, err := parse(text); err != nil { // never write what cannot be read
		return fmt.Errorf("writing the key history: %w", err)
	}
	if err := h.replace(text); err != nil {
		return fmt.Errorf("writing the key history: %w", err)
	}
	h.doc = doc
	return nil
}

func (h *History) replace(text []byte) error {
	f, err := sys.create(h.path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(text); err != nil {
		return err
	}
	_, err = f.Commit()
	return err
}

func readFile(path string) ([]byte, error) {
	// do not block on a named pipe
	f, err := sys.open(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a regular file", ErrDamaged)
	}
	text, err := sys.read(f, maxSize+1)
	if err == nil && len(text) > maxSize {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrDamaged, maxSize)
	}
	return text, err
}

// parse is strict: unknown fields would be lost at the next write.
func parse(text []byte) (document, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return document{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if head.Version > version {
		return document{}, fmt.Errorf("it is of version %d, and this program knows version %d: upgrade takumi-backup", head.Version, version)
	}
	var doc document
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return document{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := doc.check(len(text)); err != nil {
		return document{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return doc, nil
}
