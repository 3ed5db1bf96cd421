// Package status says how the backups of a store are: of each series when the last good
// one was made, how large it is, what was proved of it and where its copies are, and how
// the jobs that the clock starts went. Call [Of].
package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// Options say what is looked at. Memory, Runs and Keys may be nil.
type Options struct {
	Root   string
	Copies []string // the roots of further stores
	Open   backup.Options
	Memory *verify.Memory
	Runs   *runs.Memory
	Keys   []history.Record
	MaxAge map[string]time.Duration // by kind; "" is for all
	Now    time.Time
	// Seen, if it is there, is called with each of the files. It may not keep the pointer.
	Seen func(*backup.Backup)
}

// FromSettings returns the options for the store at root: what the settings and the state
// folder say of it.
func FromSettings(conf *config.Settings, root string, ring *keystore.Ring, warn func(format string, args ...any)) (o Options, err error) {
	o = Options{Root: root, Now: time.Now(), Open: backup.Options{Keys: ring}}
	dir, err := history.Dir()
	if err != nil {
		return o, err
	}
	o.FromState(dir, warn)
	if root == conf.StoreFolder() {
		o.Copies = conf.Also()
	}
	o.MaxAge, err = verify.MaxAges(conf, nil)
	return o, err
}

// FromState fills in what the state folder dir knows of the backups, the runs and the
// keys. What cannot be read is left out, with a warning.
func (o *Options) FromState(dir string, warn func(format string, args ...any)) {
	known := verify.LoadKnown(dir, warn)
	o.Memory, o.Open.Ledger, o.Open.Doubt = known.Memory, known.Ledger, known.Doubt
	var err error
	if o.Runs, err = runs.Open(dir); err != nil {
		warn("%v", err)
	}
	if past, err := history.Read(dir); err != nil {
		warn("which keys are in use is not known: %v", err)
	} else {
		o.Keys = past.Records()
	}
}

// Status is what there is to say.
type Status struct {
	Store  string               `json:"store"`
	Time   time.Time            `json:"time"`
	Series []Series             `json:"series"`
	Jobs   map[string]runs.Task `json:"jobs"`
	Keys   []Key                `json:"keys"`
	// Unknown is how many files are not backups, or could not be read.
	Unknown int `json:"not_read"`
}

// Series is one line. Of the last good backup: the newest that is authentic, or without
// a key the newest of all, and not from the future.
type Series struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"series"`
	Folder  string    `json:"folder"`
	Path    string    `json:"path,omitempty"` // "" where none is good
	ID      string    `json:"id,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Size    int64     `json:"size"`
	State   string    `json:"state"` // authentic, not checked, or bad when none is good
	Age     float64   `json:"age_seconds"`
	Late    bool      `json:"late"`    // older than MaxAge allows
	Backups int       `json:"backups"` // of the series
	Bad     int       `json:"bad"`     // of them
	// Trend is its size by the median of the others, -1 to as much as it may be: 0.1 is
	// a tenth larger. Nil where there are no others.
	Trend *float64 `json:"trend,omitempty"`
	// Verified is up to which level it was last proved, and when; VerifiedAt is zero when
	// it was not.
	Verified   verify.Level `json:"proven"`
	VerifiedAt time.Time    `json:"proven_at,omitzero"`
	DrilledAt  time.Time    `json:"drilled_at,omitzero"` // when one of the series was last restored in a rehearsal
	Copies     []Copy       `json:"copies,omitempty"`

	sizes []int64
	etag  string
}

// Copy is whether another store has the last good backup.
type Copy struct {
	Store string `json:"store"`
	Has   bool   `json:"has"`
	Error string `json:"error,omitempty"`
}

// Key is a key that is in use.
type Key struct {
	ID       string    `json:"key_id"`
	Provider string    `json:"provider"`
	Due      time.Time `json:"next_rotation,omitzero"`
	Overdue  bool      `json:"overdue"`
}

// maxSizes bounds what is remembered of a series.
const maxSizes = 32

// Of looks through a store. It keeps nothing of a backup but its series. The error is
// that of the root, or the context's.
func Of(ctx context.Context, st store.Store, o Options) (*Status, error) {
	s := &Status{Store: o.Root, Time: o.Now.UTC().Truncate(time.Second), Jobs: map[string]runs.Task{}}
	all := make(map[runs.Series]*Series)
	err := backup.Each(ctx, st, o.Root, o.Open, func(b *backup.Backup) error {
		if o.Seen != nil {
			o.Seen(b)
		}
		if !b.Readable() {
			s.Unknown++
			return nil
		}
		if b.Kind == backup.KindManifest {
			return nil // part of the backup next to it
		}
		key := runs.Series{Folder: store.Dir(b.Path), Kind: b.Kind, Name: b.Series()}
		line := all[key]
		if line == nil {
			line = &Series{Kind: key.Kind, Name: key.Name, Folder: key.Folder, State: backup.Bad.String()}
			all[key] = line
		}
		line.add(b, o.Now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, line := range all {
		line.assess(o)
		for _, root := range o.Copies {
			if line.Path != "" {
				line.Copies = append(line.Copies, line.copyOf(ctx, st, o.Root, root))
			}
		}
		s.Series = append(s.Series, *line)
	}
	slices.SortFunc(s.Series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Folder, b.Folder))
	})
	if o.Runs != nil {
		s.Jobs = o.Runs.Tasks
	}
	s.Keys = keysOf(o.Keys, o.Now)
	return s, ctx.Err()
}

func (s *Series) add(b *backup.Backup, now time.Time) {
	s.Backups++
	if b.State == backup.Bad && !b.Archived() || b.Doubt != nil {
		s.Bad++
		return
	}
	if b.Created.After(now.Add(prune.Skew)) {
		return
	}
	if s.sizes = append(s.sizes, b.Size); len(s.sizes) > maxSizes {
		s.sizes = s.sizes[1:]
	}
	if s.Path == "" || b.Created.After(s.Created) {
		s.Path, s.ID, s.Created, s.Size, s.etag, s.State = b.Path, b.ID.String(), b.Created, b.Size, b.ETag, b.State.String()
	}
}

// assess fills in what the last good one needs to be known for.
func (s *Series) assess(o Options) {
	if s.Path == "" {
		s.Late = true
		return
	}
	age := o.Now.Sub(s.Created)
	s.Age = age.Seconds()
	allowed, found := o.MaxAge[s.Kind]
	if !found {
		allowed = o.MaxAge[""]
	}
	s.Late = allowed > 0 && age > allowed
	if len(s.sizes) > 1 {
		sorted := slices.Sorted(slices.Values(s.sizes))
		if median := sorted[len(sorted)/2]; median > 0 {
			trend := float64(s.Size)/float64(median) - 1
			s.Trend = &trend
		}
	}
	if o.Memory != nil {
		if p, ok := o.Memory.Proved(s.Path, s.ID, s.Size, s.etag); ok {
			s.Verified, s.VerifiedAt = p.Level, p.At
		}
	}
	if o.Runs != nil {
		for _, d := range o.Runs.Drilled {
			if d.Series == (runs.Series{Folder: s.Folder, Kind: s.Kind, Name: s.Name}) {
				s.DrilledAt = d.At
			}
		}
	}
	if s.Verified == verify.Restore && s.VerifiedAt.After(s.DrilledAt) {
		s.DrilledAt = s.VerifiedAt
	}
}

// copyOf looks for the newest backup of a series in another store than from, where --also
// and replicate put it. A name alone is no copy: the id and the length are looked at too.
func (s *Series) copyOf(ctx context.Context, st store.Store, from, to string) Copy {
	c := Copy{Store: to}
	seen, err := backup.Look(ctx, st, Counterpart(from, to, s.Path), backup.Options{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, store.ErrArchived):
		c.Has = true
	case err != nil:
		c.Error = redact.Error(err)
	case seen.Own == nil || seen.Own.ID.String() != s.ID:
		c.Error = "it has another file of that name"
	case seen.Size < s.Size-envelope.MaxSize: // a rewrap changes no more than the envelope
		c.Error = fmt.Sprintf("its copy has %d bytes, and the backup %d", seen.Size, s.Size)
	default:
		c.Has = true
	}
	return c
}

// Counterpart is where a copy of the backup at path, in the store from, is in the
// store to.
func Counterpart(from, to, path string) string {
	below, found := store.CutRoot(path, from)
	if !found {
		below = store.Base(path)
	}
	return store.Join(to, strings.Split(strings.Trim(below, "/"), "/")...)
}

func keysOf(records []history.Record, now time.Time) []Key {
	var keys []Key
	for _, r := range records {
		if !r.Live() {
			continue
		}
		k := Key{ID: string(r.ID), Provider: r.Provider}
		if since := r.Since(); !since.IsZero() {
			k.Due = since.Add(history.DefaultMaxAge)
			k.Overdue = now.After(k.Due)
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b Key) int { return a.Due.Compare(b.Due) })
	return keys
}
