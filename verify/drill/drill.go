// Package drill is the rehearsal of a bad day: [Options.Run] draws backups with [Pick],
// has package rehearse restore them, and writes down with [Append] how that went, for
// whoever asks a year later.
package drill

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
)

// ErrNone is returned when a store has nothing to rehearse.
var ErrNone = errors.New("there is no authentic backup to rehearse")

// ErrMissed is for a drill that is to fail when a target was missed; each is warned of.
var ErrMissed = errors.New("a target of the drill was missed")

// Kinds are those that a drill knows, in the order of their rehearsal.
var Kinds = []string{backup.KindDatabase, backup.KindContracts, backup.KindUploads}

// Picked is a backup that was drawn.
type Picked struct {
	*backup.Backup
	// Newest is when the newest backup of the same thing was made: what would be
	// lost today is what came after it.
	Newest time.Time
	// Newer is a newer backup of the same thing that is not authentic, as far as
	// that can be told: by its name, where it has no readable envelope. Nil: none.
	Newer *backup.Backup
}

// Pick draws one authentic backup of each of the kinds: the newest, or any, with
// equal chances. entries are in the order of [backup.List]. Without kinds it
// draws of each that there is. ErrNone says which kind has none.
func Pick(entries []backup.Backup, kinds []string, latest bool, now time.Time) ([]Picked, error) {
	var picked []Picked
	wanted := kinds
	if len(wanted) == 0 {
		wanted = Kinds
	}
	for _, kind := range wanted {
		var of []*backup.Backup
		for i := range entries {
			e := &entries[i]
			if e.State == backup.Authentic && backup.Family(e.Kind) == kind && rehearse.Can(kind, e.Name) &&
				e.Created.Before(now.Add(prune.Skew)) {
				of = append(of, e)
			}
		}
		switch {
		case len(of) > 0:
		case len(kinds) > 0:
			return nil, fmt.Errorf("%w: none of kind %s", ErrNone, kind)
		default:
			continue
		}
		at := 0
		if !latest {
			n, err := rand.Int(rand.Reader, big.NewInt(int64(len(of))))
			if err != nil {
				return nil, err
			}
			at = int(n.Int64())
		}
		newest := of[slices.IndexFunc(of, func(e *backup.Backup) bool { return sameThing(e, of[at]) })]
		picked = append(picked, Picked{of[at], newest.Created, newerThan(entries, of[at])})
	}
	if len(picked) == 0 {
		return nil, ErrNone
	}
	return picked, nil
}

func sameThing(a, b *backup.Backup) bool {
	return a.Series() == b.Series() && store.Dir(a.Path) == store.Dir(b.Path)
}

// newerThan finds a backup of the same thing that is not authentic, and newer.
func newerThan(entries []backup.Backup, old *backup.Backup) *backup.Backup {
	for i := range entries {
		e := &entries[i]
		switch {
		case e.State == backup.Authentic:
		case !e.Readable():
			// Names of one series differ in their time alone.
			if sameThing(byName(e), byName(old)) && store.Base(e.Path) > store.Base(old.Path) {
				return e
			}
		case backup.Family(e.Kind) == backup.Family(old.Kind) && sameThing(e, old) && e.Created.After(old.Created):
			return e
		}
	}
	return nil
}

func byName(e *backup.Backup) *backup.Backup {
	return &backup.Backup{Backup: e.Backup, Label: envelope.Label{Name: store.Base(e.Path)}}
}

// Report is what a drill has found.
type Report struct {
	Time    time.Time `json:"time"`
	Passed  bool      `json:"passed"` // every backup was restored, and is what it should be
	Who     string    `json:"who"`    // user@host
	Program string    `json:"program"`
	Root    string    `json:"root"`
	Random  bool      `json:"random"` // drawn by lot, not the newest
	// Error says why nothing was rehearsed.
	Error   string   `json:"error,omitempty"`
	Results []Result `json:"results"`
	// PassedOver counts the backups that are not authentic with the key, and so
	// could not be drawn; PassedOverWhy says so of the first.
	PassedOver    int    `json:"passed_over"`
	PassedOverWhy string `json:"passed_over_why,omitempty"`
	// Checkpoint is the signed state of the audit log, when there is one.
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
}

// Faults returns what went wrong with the backups that were rehearsed.
func (r *Report) Faults() (faults []error) {
	for i := range r.Results {
		if err := r.Results[i].Fault; err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// Tell says what was restored, warns of what was noted and of targets that were missed, and
// returns how many were.
func (r *Report) Tell(say, warn func(format string, args ...any)) (missed int) {
	for i := range r.Results {
		res := &r.Results[i]
		if res.Error == "" {
			say("restored %s in %s: %s", res.Path, Span(res.RTO), strings.Join(res.Compared, "; "))
		}
		missing := res.Missed()
		missed += len(missing)
		for _, text := range slices.Concat(res.Notes, missing) {
			warn("%s: %s", store.Printable(res.Path), text)
		}
	}
	return missed
}

// Outcome is the error of a drill, nil when all is well; fault is that of [Options.Run].
// When some of several failed it is [fail.ErrSome], after each was reported.
func (r *Report) Outcome(fault error, report func(error)) error {
	faults := r.Faults()
	if fault != nil {
		faults = []error{fault}
	}
	switch {
	case len(faults) == 0:
		return nil
	case len(faults) == 1 && len(r.Results) <= 1:
		return faults[0]
	}
	for _, fault := range faults {
		report(fault)
	}
	return fail.ErrSome
}

// Result is the rehearsal of one backup.
type Result struct {
	Path    string    `json:"path"`
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Size    int64     `json:"size"`
	KeyID   string    `json:"key_id,omitempty"`
	Error   string    `json:"error,omitempty"`
	Fault   error     `json:"-"` // what Error says, with the path, its class and its hint

	// RTO is the time from the first byte read to a checked database or tree, and
	// RPO the age of the newest backup of the same thing.
	RTO       float64 `json:"rto_seconds,omitempty"`
	RPO       float64 `json:"rpo_seconds"`
	RTOTarget float64 `json:"rto_target_seconds,omitempty"`
	RPOTarget float64 `json:"rpo_target_seconds,omitempty"`
	Age       float64 `json:"age_seconds"` // of this backup

	Tables   int      `json:"tables,omitempty"`
	Rows     int64    `json:"rows,omitempty"`
	Files    int      `json:"files,omitempty"`
	Bytes    int64    `json:"bytes,omitempty"`
	Manifest bool     `json:"compared_with_manifest"`
	Compared []string `json:"compared,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Targets are what a drill is held against; zero is none.
type Targets struct{ RTO, RPO time.Duration }

// NewResult makes a result of a rehearsal that ended with err. The outcome may be
// nil: then the backup could not be opened.
func NewResult(p Picked, o *rehearse.Outcome, err error, now time.Time, t Targets) Result {
	v := p
	r := Result{
		Path: p.Path, ID: v.ID.String(), Kind: v.Kind, Name: v.Name, Created: v.Created, Size: p.Size,
		RPO: now.Sub(p.Newest).Seconds(), Age: now.Sub(v.Created).Seconds(), RTOTarget: t.RTO.Seconds(), RPOTarget: t.RPO.Seconds(),
	}
	if o != nil {
		r.KeyID, r.RTO = string(o.KeyID), o.Restored.Seconds()
		r.Tables, r.Rows, r.Files, r.Bytes = o.Tables, o.Rows, o.Files, o.Bytes
		r.Manifest, r.Compared, r.Notes = o.Manifest, o.Compared, o.Notes
	}
	if err != nil {
		r.Error, r.Fault = redact.Keys(err.Error()), fmt.Errorf("rehearsing %s: %w", p.Path, err) // a page is read by many
	}
	return r
}

// Missed says in words which targets a result has missed.
func (r *Result) Missed() []string {
	var missed []string
	if r.RTOTarget > 0 && r.Error == "" && r.RTO > r.RTOTarget {
		missed = append(missed, fmt.Sprintf("the time to restore was %s, and the target is %s", Span(r.RTO), Span(r.RTOTarget)))
	}
	if r.RPOTarget > 0 && r.RPO > r.RPOTarget {
		missed = append(missed, fmt.Sprintf("the newest backup is %s old, and the target is %s", Span(r.RPO), Span(r.RPOTarget)))
	}
	return missed
}
