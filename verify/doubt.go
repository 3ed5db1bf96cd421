package verify

import (
	"fmt"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// ErrAppeared marks a backup that came into the store after newer ones of its series.
var ErrAppeared = fail.New(fail.Failed, "find out who put it there; if it is intended: takumi-backup verify --accept PATH, or --accept FOLDER for all in it",
	"it was not there when a newer backup of its name was seen")

// Known is what this host knows of backups; nil is unknown.
type Known struct {
	Memory *Memory
	Ledger *backup.Ledger
	Doubt  func(b *backup.Backup, opened kek.ID) error
}

// LoadKnown reads the state folder dir, or with "" the usual one. What cannot be read is a
// warning, and nil.
func LoadKnown(dir string, warn func(format string, args ...any)) (k Known) {
	var err error
	if dir == "" {
		if dir, err = history.Dir(); err != nil {
			warn("what this host knows of the backups is not shown: %v", err)
			return k
		}
	}
	if k.Memory, err = OpenMemory(dir); err != nil {
		k.Memory = nil
		warn("what was verified is not shown: %v", err)
	}
	if k.Ledger, err = backup.OpenLedger(dir); err != nil {
		warn("what this host has sealed is not known: %v", err)
	}
	if k.Doubt, err = DoubtFunc(dir, k.Memory); err != nil {
		warn("which keys were rotated out is not known: %v", err)
	}
	return k
}

// DoubtFunc returns the doubts, by the history of keys in the state folder dir and by m,
// about backups that a key opens: history.ErrLate, or ErrAppeared. m may be nil. The errors
// are those of [history.Read].
func DoubtFunc(dir string, m *Memory) (func(b *backup.Backup, opened kek.ID) error, error) {
	past, err := history.Read(dir)
	if err != nil {
		return nil, err
	}
	records := past.Records()
	return func(b *backup.Backup, opened kek.ID) error {
		if err := history.Late(records, opened, b.Created, history.Overlap); err != nil || m == nil {
			return err
		}
		return m.appeared(b.Path, sight{backup.Family(b.Kind), b.Series(), b.Created})
	}, nil
}

// sight is a backup's claims when its folder was surveyed; empty if unreadable.
type sight struct {
	Kind    string    `json:"kind,omitempty"`
	Series  string    `json:"series,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

// appeared returns ErrAppeared for an unseen backup when one of its series was seen that is
// more than history.Overlap newer: it should have been there. A re-encrypted backup keeps
// its place and time.
func (m *Memory) appeared(path string, is sight) error {
	path = anchored(path)
	m.mu.Lock()
	was := m.of(path).Seen
	newest := m.newest
	m.mu.Unlock()
	if was != nil && (was.Created.IsZero() || *was == is) {
		return nil
	}
	if newest == nil {
		newest = make(map[prune.Series]time.Time)
		err := m.each(func(path string, e entry) {
			if e.Seen == nil {
				return
			}
			s := prune.Series{Folder: store.Dir(path), Kind: e.Seen.Kind, Name: e.Seen.Series}
			if e.Seen.Created.After(newest[s]) {
				newest[s] = e.Seen.Created
			}
		})
		if err != nil {
			return nil
		}
		m.mu.Lock()
		m.newest = newest
		m.mu.Unlock()
	}
	at := newest[prune.Series{Folder: store.Dir(path), Kind: is.Kind, Name: is.Series}]
	if at.After(is.Created.Add(history.Overlap)) {
		return fmt.Errorf("%w: that is of %s, and this of %s", ErrAppeared, at.Format(time.DateOnly), is.Created.Format(time.DateOnly))
	}
	return nil
}

// survey remembers which backups are in the folders, except doubtful ones, and those of the
// future, next to which all others would seem late. It begins with the oldest, so that one
// that is stopped leaves none that newer ones make doubtful.
func (j *Job) survey(l *List) {
	m, newest := j.Memory, slices.Clone(l.whole())
	slices.SortFunc(newest, l.newestFirst)
	for _, i := range slices.Backward(newest) {
		n := l.row(int(i))
		b := l.at(int(i))
		path, s, v := anchored(b.Path), l.names[n.series], sight{}
		if !j.rooted(path) {
			continue
		}
		if n.known {
			if v = (sight{s.Kind, s.Name, b.Created}); b.Created.After(j.now.Add(prune.Skew)) || m.appeared(path, v) != nil {
				continue
			}
		}
		m.mu.Lock()
		was := m.of(path).Seen
		m.mu.Unlock()
		if was != nil && *was == v {
			continue
		}
		if m.see(path, v); m.full() && m.Save(nil) != nil { // the last save says why
			break
		}
	}
}
