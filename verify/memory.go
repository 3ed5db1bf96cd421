package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

const (
	// MemoryName is the name of the memory's file in the state folder.
	MemoryName = "verified.json"

	memoryLock    = "verified.lock"
	memoryVersion = 1
)

// ErrMemory is returned for a memory that this package did not write.
var ErrMemory = errors.New("the memory of what was verified is damaged")

// sys holds the calls that read or write the memory, so that tests can make each fail.
var sys = struct {
	mkdir func(dir string) error
	lock  func(path string) (*fsutil.Lock, error)
	read  func(path string) ([]byte, error)
	write func(path string, text []byte, o store.Options) error
}{fsutil.MkdirAll, fsutil.LockSoon, os.ReadFile, local.WriteFile}

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
// file.
type Memory struct {
	dir              string
	mu               sync.Mutex
	proofs           map[string]Proof           // by path
	seen             map[string]sight           // by path, of folders that were looked at as a whole
	newest           map[prune.Series]time.Time // of seen, once it is asked for
	changed, sighted map[string]bool            // since the last Save
}

type memoryFile struct {
	Version int              `json:"version"`
	Backups map[string]Proof `json:"backups"`
	Seen    map[string]sight `json:"seen,omitempty"`
}

// OpenMemory reads the memory in the state folder dir, which need not exist. The
// errors are ErrMemory and the system's.
func OpenMemory(dir string) (*Memory, error) {
	m := &Memory{dir: dir, changed: make(map[string]bool), sighted: make(map[string]bool)}
	file, err := readMemory(dir)
	m.proofs, m.seen = file.Backups, file.Seen
	return m, err
}

func readMemory(dir string) (file memoryFile, err error) {
	file.Backups, file.Seen = make(map[string]Proof), make(map[string]sight)
	path := filepath.Join(dir, MemoryName)
	text, err := sys.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return file, fmt.Errorf("reading what was verified: %w", err)
	}
	switch err := json.Unmarshal(text, &file); {
	case err != nil:
		return file, fmt.Errorf("%w: %s: %w", ErrMemory, path, err)
	case file.Version != memoryVersion:
		return file, fmt.Errorf("%w: %s has version %d, and this program knows %d", ErrMemory, path, file.Version, memoryVersion)
	case file.Backups == nil || file.Seen == nil:
		return file, fmt.Errorf("%w: %s: it says null", ErrMemory, path)
	}
	return file, nil
}

// Of returns what is remembered of the backup at path.
func (m *Memory) Of(path string) (Proof, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.proofs[anchored(path)]
	return p, ok
}

// Proved returns the proof of the backup at path, if it still has that id, size and, on
// S3, ETag.
func (m *Memory) Proved(path, id string, size int64, etag string) (Proof, bool) {
	p, _ := m.Of(path)
	return p, p.Level > None && p.ID == id && p.Size == size && p.ETag == etag
}

func (m *Memory) all(where func(path string) bool) map[string]Proof {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := maps.Clone(m.proofs)
	maps.DeleteFunc(all, func(path string, _ Proof) bool { return !where(path) })
	return all
}

// Accept durably forgets the former backup at path, and reports whether anything was known
// of it or of its folder: the present one is no longer compared with it, nor in doubt for
// appearing late. For a folder it accepts everything inside. The errors are those of Save.
func (m *Memory) Accept(path string) (known bool, err error) {
	path = anchored(path)
	_, known = m.Of(path)
	m.mu.Lock()
	for other := range m.seen {
		if under(other, path) {
			known = true
		} else if store.Dir(other) == store.Dir(path) {
			known, m.sighted[path] = true, true
		}
	}
	if m.sighted[path] {
		m.seen[path] = sight{}
	}
	m.mu.Unlock()
	if known {
		err = m.save(func(other string) bool { return other == path }, func(other string) bool { return other != path && under(other, path) })
	}
	return known, err
}

// put remembers a proof until Save.
func (m *Memory) put(path string, p Proof) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = anchored(path)
	m.proofs[path] = p
	m.changed[path] = true
}

// Save writes what was learned since the last Save, without paths that forget selects. It
// waits a moment for another process that saves; the errors are fsutil.ErrHeld, ErrMemory
// and those of the store.
func (m *Memory) Save(forget func(path string) bool) error { return m.save(forget, forget) }

// save is Save with separate choices for proofs and sights.
func (m *Memory) save(unproved, unseen func(path string) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := sys.mkdir(m.dir); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	lock, err := sys.lock(filepath.Join(m.dir, memoryLock))
	if err != nil {
		return err
	}
	defer lock.Release()
	all, err := readMemory(m.dir)
	if err != nil {
		return err
	}
	dirty := len(m.changed)+len(m.sighted) > 0
	for path := range m.changed {
		all.Backups[path] = m.proofs[path]
	}
	for path := range m.sighted {
		all.Seen[path] = m.seen[path]
	}
	known := len(all.Backups) + len(all.Seen)
	if unproved != nil {
		maps.DeleteFunc(all.Backups, func(path string, _ Proof) bool { return unproved(path) })
		maps.DeleteFunc(all.Seen, func(path string, _ sight) bool { return unseen(path) })
	}
	dirty = dirty || len(all.Backups)+len(all.Seen) < known
	if dirty {
		all.Version = memoryVersion
		text, err := json.Marshal(all)
		if err != nil {
			return fmt.Errorf("remembering what was verified: %w", err)
		}
		if err := sys.write(filepath.Join(m.dir, MemoryName), append(text, '\n'), store.Options{Replace: true}); err != nil {
			return err
		}
	}
	m.proofs, m.seen, m.newest = all.Backups, all.Seen, nil
	clear(m.changed)
	clear(m.sighted)
	return nil
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
		if time.Since(saved) > saveEvery {
			save()
		}
		return err
	}
	return save
}
