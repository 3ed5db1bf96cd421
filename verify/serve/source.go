package serve

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/drill"
	"github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

const (
	maxHeld   = 50_000 // backups, the newest, with some 600 bytes for each
	maxRecent = 200    // records of the audit log
	maxDrills = 50
)

// What a Source records looks into backups with: NewSession makes the Session, whose records
// go to a Log.
type (
	Session        = audit.Session
	SessionOptions = audit.SessionOptions
	Record         = audit.Record
	Log            = audit.Log
	FirstKey       = audit.FirstKey
	Outcome        = audit.Outcome
)

var (
	NewSession = audit.NewSession
	NewLog     = audit.New
)

// Source is where the pages come from.
type Source struct {
	Root   string
	Place  store.Store
	Copies []string                 // the roots of further stores
	MaxAge map[string]time.Duration // by kind; "" is for all
	State  string                   // the state folder
	Audit  string                   // the folder of the audit log
	Report string                   // the JSON that verify wrote, which need not exist
	// Signers, if there are any, put in doubt what none of them signed.
	Signers *sign.Signers
	// Keys returns the keys that authenticate and open backups; there may be none. It is
	// called for each reading, which closes the ring at its end.
	Keys func() (*keystore.Ring, error)
	// Session records that somebody looked into a backup. Nil: contents are not shown.
	Session func() (*Session, error)
}

type entry struct {
	verify.Backup
	ref    string // in URLs
	series string // likewise, that of its series; "" where that is not known
	known  backup.State
	signer string
	opens  string // who opens it, in words
}

// view is one look at the store. It is not changed once it is made.
type view struct {
	*status.Status
	timers   []status.Timer
	warnings []string
	backups  []entry // newest first, and behind them what has no readable envelope
	older    int     // backups that are not held
	drills   []drill.Report
	verified *verify.Report // nil: none was found

	// made are pages that say all of it, made once: whoever asks often costs little.
	made [5]made
}

type made struct {
	once sync.Once
	text []byte
	err  error
}

// refOf is a name for a path, of which no URL can be made that means something else.
func refOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:10])
}

func (v *view) find(ref string) *entry {
	if i := slices.IndexFunc(v.backups, func(e entry) bool { return e.ref == ref }); i >= 0 {
		return &v.backups[i]
	}
	return nil
}

// report is what is held as a report of verify, of which report draws pages.
func (v *view) report() *verify.Report {
	r := &verify.Report{Started: v.Time, Finished: v.Time}
	all := make([]verify.Backup, len(v.backups))
	for i := range v.backups {
		all[i] = v.backups[i].Backup
	}
	r.Backups = verify.ListOf(all...)
	if v.verified != nil {
		r.Findings = v.verified.Findings
	}
	return r
}

// look reads the store and the state folder. Keys are gone when it returns.
func (s *Source) look(ctx context.Context) (*view, error) {
	v := new(view)
	warn := func(format string, args ...any) { v.warnings = append(v.warnings, fmt.Sprintf(format, args...)) }
	ring, err := s.Keys()
	if err != nil {
		return nil, err
	}
	defer ring.Close()
	if len(ring.Sources()) > 0 {
		if _, err := ring.Current(ctx); err != nil {
			warn("%v; what needs this key is not checked", err)
		}
	}
	o := status.Options{Root: s.Root, Copies: s.Copies, MaxAge: s.MaxAge, Now: time.Now(), Open: backup.Options{Keys: ring, Signers: s.Signers}}
	o.FromState(s.State, warn)
	findings := s.lastReport(v, warn)
	o.Seen = func(b *backup.Backup) {
		v.backups = append(v.backups, entryOf(b, o.Memory, findings))
		if len(v.backups) == 2*maxHeld {
			v.cut(maxHeld)
		}
	}
	if v.Status, err = status.Of(ctx, s.Place, o); err != nil {
		return nil, fmt.Errorf("looking through the backups: %w", err)
	}
	v.cut(maxHeld)
	if v.timers, err = status.Timers(ctx); err != nil {
		warn("when the timers start next is not known: %v", err)
	}
	if v.drills, err = drill.Past(s.State, maxDrills); err != nil {
		warn("former drills are not known: %v", err)
	}
	return v, nil
}

func (s *Source) lastReport(v *view, warn func(string, ...any)) map[string]*verify.Backup {
	r, err := report.Read(s.Report)
	if err != nil {
		if s.Report != "" && !errors.Is(err, fs.ErrNotExist) {
			warn("what verify found is not known: %v", err)
		}
		return nil
	}
	found := make(map[string]*verify.Backup)
	for _, b := range r.Backups.Found() {
		found[b.Path] = b
	}
	r.Backups = nil
	v.verified = r
	return found
}

// cut sorts what was found, and forgets the oldest of more than so many.
func (v *view) cut(most int) {
	slices.SortFunc(v.backups, func(a, b entry) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Path, b.Path))
	})
	if more := len(v.backups) - most; more > 0 {
		clear(v.backups[most:])
		v.backups, v.older = v.backups[:most], v.older+more
	}
}

func entryOf(b *backup.Backup, memory *verify.Memory, found map[string]*verify.Backup) entry {
	e := entry{ref: refOf(b.Path), known: b.State, signer: b.Signer}
	e.Path, e.Size, e.Findings = b.Path, b.Size, verify.Listed(b)
	if !b.Readable() {
		return e
	}
	e.ID, e.Kind, e.Name, e.Series, e.Created = b.ID.String(), b.Kind, b.Name, b.Series(), b.Created
	if b.Unjudged() {
		e.Unjudged = "seal did not know the format: whether the content is complete is not known"
	}
	e.series = seriesRef(store.Dir(b.Path), e.Kind, e.Series)
	var opens []string
	for _, id := range b.Keys {
		opens = append(opens, "key "+string(id))
	}
	for _, h := range b.Recipients {
		opens = append(opens, strings.TrimSpace(h.Type+" "+h.Name))
	}
	e.opens = strings.Join(opens, ", ")
	if memory != nil {
		if p, ok := memory.Proved(e.Path, e.ID, e.Size, b.ETag); ok {
			e.Proven, e.ProvenAt = p.Level, p.At
		}
	}
	if of := found[e.Path]; of != nil && of.ID == e.ID && of.Size == e.Size {
		for _, f := range of.Findings {
			if !slices.ContainsFunc(e.Findings, func(own verify.Finding) bool { return own.Code == f.Code }) {
				e.Findings = append(e.Findings, f)
			}
		}
	}
	return e
}

type tail struct {
	records []audit.Record
	at      time.Time
	broken  error // the rest is not proved, and not shown
}

func (s *Source) recent(ctx context.Context) (*tail, error) {
	t := &tail{at: time.Now()}
	ring, n := make([]audit.Record, maxRecent), 0
	err := audit.Read(ctx, s.Audit, func(e audit.Entry) error {
		ring[n%maxRecent] = e.Record
		n++
		return nil
	})
	switch {
	case errors.As(err, new(*audit.BrokenError)):
		t.broken = err
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	for i := n - 1; i >= max(0, n-maxRecent); i-- {
		t.records = append(t.records, ring[i%maxRecent])
	}
	return t, nil
}
