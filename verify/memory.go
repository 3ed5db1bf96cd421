package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// sys holds the calls that read or write the memory, so that tests can make each fail.
var sys = struct {
	mkdir  func(dir string) error
	lock   func(path string) (*fsutil.Lock, error)
	open   func(path string) (*os.File, error)
	create func(path string) (store.Writer, error)
}{fsutil.MkdirAll, fsutil.LockSoon, fsutil.OpenRegular, func(path string) (store.Writer, error) {
	return local.Create(path, store.Options{Replace: true})
}}

// Proof is what is remembered of a backup.
type Proof struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Series  string    `json:"series"`
	SHA256  string    `json:"sha256,omitempty"`
	Size    int64     `json:"size"`
	ETag    string    `json:"etag,omitempty"` // on S3
	Created time.Time `json:"created"`
	// Level was proved At that time; None since the backup was bad, unreadable or unopened.
	Level   Level     `json:"level"`
	At      time.Time `json:"at,omitzero"`
	KeyID   string    `json:"key_id,omitempty"` // of the key that opened it
	Program string    `json:"program"`          // its version
}

// Memory holds the proofs of earlier runs, in a file of the state folder without secrets.
// It is safe for concurrent use, and several processes may write to one: a save joins the
// file. What is not saved is in memory, and the rest is read when it is asked for.
type Memory struct {
	dir     string
	mu      sync.Mutex
	saved   *shelf
	changed map[string]entry           // by path, since the last Save
	newest  map[prune.Series]time.Time // of what was seen, once it is asked for
}

// mostChanged is how many changes are held in memory before they are saved.
const mostChanged = 20_000

// OpenMemory opens the memory in the state folder dir, which need not exist. The errors are
// ErrMemory and the system's.
func OpenMemory(dir string) (*Memory, error) {
	saved, err := openShelf(dir, nil)
	return &Memory{dir: dir, saved: saved, changed: make(map[string]entry)}, err
}

// of returns what is known of a path. What cannot be read is not known.
func (m *Memory) of(path string) entry {
	e, err := m.saved.of(path)
	if err != nil {
		e = entry{}
	}
	return e.with(m.changed[path])
}

// Of returns what is remembered of the backup at path.
func (m *Memory) Of(path string) (Proof, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.of(anchored(path)); e.Proof != nil {
		return *e.Proof, true
	}
	return Proof{}, false
}

// Proved returns the proof of the backup at path, if it still has that id, size and, on
// S3, ETag.
func (m *Memory) Proved(path, id string, size int64, etag string) (Proof, bool) {
	p, _ := m.Of(path)
	return p, p.Level > None && p.ID == id && p.Size == size && p.ETag == etag
}

// ID returns the id of a file that has not changed since it was proved, by size, time and,
// on S3, ETag; or "".
func (m *Memory) ID(f store.Backup) string {
	if p, _ := m.Of(f.Path); p.Size == f.Size && p.ETag == f.ETag && f.ModTime.Before(p.At) {
		return p.ID
	}
	return ""
}

// each calls f with all that is known. It must not use the memory.
func (m *Memory) each(f func(path string, e entry)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.saved.each(func(path string, _ int64, line []byte) error {
		var e entry
		_, rest, _ := cutPath(line)
		if err := json.Unmarshal(rest, &e); err != nil {
			return fmt.Errorf("%w: %w", ErrMemory, err)
		}
		if newer, changed := m.changed[path]; !changed {
			f(path, e)
		} else {
			f(path, e.with(newer))
		}
		return nil
	})
	for path, e := range m.changed {
		f(path, m.of(path).with(e))
	}
	return err
}

// Accept durably forgets the former backup at path, and reports whether anything was known
// of it or of its folder: the present one is no longer compared with it, nor in doubt for
// appearing late. For a folder it accepts everything inside. The errors are those of Save.
func (m *Memory) Accept(path string) (known bool, err error) {
	path = anchored(path)
	neighbours := false
	err = m.each(func(other string, e entry) {
		switch {
		case e.Proof != nil && other == path, e.Seen != nil && under(other, path):
			known = true
		case e.Seen != nil && store.Dir(other) == store.Dir(path):
			neighbours = true
		}
	})
	if err != nil || !known && !neighbours {
		return known, err
	}
	if neighbours {
		m.see(path, sight{})
	}
	return true, m.save(func(other string) (proof, seen bool) {
		return other == path, other != path && under(other, path)
	})
}

// put remembers a proof until Save.
func (m *Memory) put(path string, p Proof) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = anchored(path)
	m.changed[path] = m.changed[path].with(entry{Proof: &p})
}

func (m *Memory) see(path string, v sight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed[path] = m.changed[path].with(entry{Seen: &v})
}

// full reports whether it is time for a Save.
func (m *Memory) full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.changed) >= mostChanged
}

// Save writes what was learned since the last Save, without paths that forget selects. It
// waits a moment for another process that saves; the errors are fsutil.ErrHeld, ErrMemory
// and those of the store. What could not be saved is kept for the next Save, but for good
// news that would fill the memory.
func (m *Memory) Save(forget func(path string) bool) error {
	if forget == nil {
		return m.save(nil)
	}
	return m.save(func(path string) (proof, seen bool) {
		gone := forget(path)
		return gone, gone
	})
}

// save is Save with separate choices for proofs and sights.
func (m *Memory) save(forget func(path string) (proof, seen bool)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.write(forget)
	if err != nil && len(m.changed) >= mostChanged {
		maps.DeleteFunc(m.changed, func(_ string, e entry) bool { return e.Proof == nil || e.Proof.Level > None })
	}
	return err
}

func (m *Memory) write(forget func(path string) (proof, seen bool)) error {
	if len(m.changed) == 0 && forget == nil {
		return nil
	}
	if err := sys.mkdir(m.dir); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	lock, err := sys.lock(filepath.Join(m.dir, memoryLock))
	if err != nil {
		return err
	}
	defer lock.Release()
	saved, err := openShelf(m.dir, m.saved)
	if err != nil {
		return err
	}
	to, err := sys.create(saved.name)
	if err != nil {
		return err
	}
	defer to.Abort()
	if err := saved.merge(to, m.changed, forget); err != nil {
		return fmt.Errorf("remembering what was verified: %w", err)
	}
	if _, err := to.Commit(); err != nil {
		return err
	}
	if saved != m.saved || forget != nil {
		m.newest = nil
	}
	clear(m.changed)
	_ = os.Remove(filepath.Join(m.dir, formerName)) // which counts for nothing from now on
	m.saved, err = openShelf(m.dir, nil)
	return err
}

// remember compares a checked backup with the memory, and updates that. A backup of another
// series, or an older one, was put there by somebody. A re-encryption leaves a new id with
// the same time, and a reused name a later time.
func (m *Memory) remember(b *Backup, program string) {
	was, known := m.Of(b.Path)
	if known && b.ID != "" && (b.Kind != was.Kind || b.Series != was.Series || b.Created.Before(was.Created)) && !b.misplaced() {
		b.add(Finding{Severity: Error, Code: Replaced,
			Message: fmt.Sprintf("another backup took the place of one: this is %s %s of %s, and what was here was %s %s of %s",
				b.Kind, printable(b.Series), b.Created.Format(time.RFC3339), was.Kind, printable(was.Series), was.Created.Format(time.RFC3339)),
			Advice: "find out who put it here, and where the other is; if it is intended: takumi-backup verify --accept " + printable(b.Path)})
		b.Proven, b.ProvenAt = None, time.Time{}
	}
	if known && b.Size < was.Size && b.ID == was.ID {
		for i := range b.Findings {
			// The bytes alone do not show whether a chunk was cut or changed.
			if f := &b.Findings[i]; f.Code == Damaged && f.Chunk != nil {
				f.Code = Truncated
				f.Message = fmt.Sprintf("it had %d bytes, and now has %d: %s", was.Size, b.Size, f.Message)
			}
		}
	}
	switch {
	case b.Worst() == Error:
		if known { // unreadable and unopened ones too: they are checked again
			was.Level, was.At = None, time.Time{}
			m.put(b.Path, was)
		}
		return
	case b.Proven == None, b.ID == "":
		return
	}
	if known && was.SHA256 == b.SHA256 && was.ID == b.ID && was.Level > b.Proven {
		b.Proven, b.ProvenAt = was.Level, was.At // the same bytes
		return
	}
	m.put(b.Path, Proof{
		ID: b.ID, Kind: b.Kind, Series: b.Series, SHA256: b.SHA256, Size: b.Size, ETag: b.etag, Created: b.Created,
		Level: b.Proven, At: b.ProvenAt, KeyID: b.KeyID, Program: program,
	})
}

// misplaced reports whether the backup's name is an error.
func (b *Backup) misplaced() bool {
	return slices.ContainsFunc(b.Findings, func(f Finding) bool { return f.Code == Replaced && f.Severity == Error })
}

func under(path, root string) bool {
	_, inside := store.CutRoot(path, root)
	return inside
}

// Fresh is how long a proof counts for a backup with the same id and size, and on S3 the same ETag.
const Fresh = 8 * 24 * time.Hour

// Whole reports whether the backup was wholly verified lately, or was bad since.
func (m *Memory) Whole(b *backup.Backup) (whole, bad bool) {
	p, _ := m.Of(b.Path)
	if p.ID != b.ID.String() || p.Size != b.Size || p.ETag != b.ETag {
		return false, false
	}
	return p.Level >= Auth && time.Since(p.At) < Fresh, p.Level == None
}

// Learn remembers, until Save, a proof of a backup, or its failure. Failures to read it, or
// to get a key, do not count.
func (m *Memory) Learn(b *backup.Backup, err error, program string) {
	p, known := m.Of(b.Path)
	if p.ID != b.ID.String() {
		p = Proof{ID: b.ID.String(), Kind: b.Kind, Series: b.Series(), Size: b.Size, Created: b.Created, Program: program}
	}
	class, _ := fail.Of(err)
	switch {
	case err == nil:
		p.Level, p.At, p.Size, p.ETag = max(p.Level, Auth), time.Now().UTC().Truncate(time.Second), b.Size, b.ETag
	case class == fail.Damaged && known:
		p.Level, p.At = None, time.Time{}
	default:
		return
	}
	m.put(b.Path, p)
}

// saveEvery is how much work a kill may make forgotten.
const saveEvery = 30 * time.Second

// Remembering has a run of prune use and remember proofs, until save at the latest. A nil
// Memory is empty; show reports what a proof reads, until its result is called.
func (m *Memory) Remembering(o *prune.Options, place store.Store, program string, show func(*backup.Backup, *backup.Meter) func(), warn func(string, ...any)) (save func()) {
	save, saved := func() {}, time.Now()
	if m != nil {
		o.Remembered = m.Whole
		save = func() {
			if err := m.Save(nil); err != nil {
				warn("what was proved is not remembered: %v", err)
			}
			saved = time.Now()
		}
	}
	o.Prove = func(ctx context.Context, b *backup.Backup) error {
		var meter backup.Meter
		open := o.Open
		open.Meter = &meter
		hide := show(b, &meter)
		err := backup.ProveKnown(ctx, place, b, open)
		hide()
		if m == nil || b.State == backup.Signed && !o.Open.Ledger.Has(b) { // of which nobody here knows that it opens
			return err
		}
		m.Learn(b, err, program)
		if time.Since(saved) > saveEvery || m.full() {
			save()
		}
		return err
	}
	return save
}
