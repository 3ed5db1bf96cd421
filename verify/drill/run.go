package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
)

// Options say what is drawn, where it is restored, and where that is written down.
type Options struct {
	Store   store.Store
	Root    string   // backups are drawn from here and below
	Kinds   []string // of Kinds; none means each that there is
	Latest  bool     // the newest, not any
	Keys    *keystore.Ring
	Signers *sign.Signers // nil, or only what one of these has signed is drawn
	Targets Targets
	Stage   *rehearse.Stage
	Page    string // the drill is appended to it
	State   string // the state folder, which remembers it for Past; "" is none
	Program string // that holds the drill, with its version
	// Fault is why the drill cannot be held, as a key that is not there: it is written
	// down, and nothing else is done.
	Fault error
}

// PageHere is where drills are written down when it exists, as seen from the working
// directory.
const PageHere = "docs/DISASTER_RECOVERY.md"

// Check finds mistakes before anything starts, and fills in a Page that is not named:
// PageHere, or one in the state folder.
func (o *Options) Check() error {
	for _, kind := range o.Kinds {
		if !slices.Contains(Kinds, kind) {
			return fail.Usagef("--kind is %q: it can be %s", kind, strings.Join(Kinds, ", "))
		}
	}
	if o.Page != "" {
		return nil
	}
	if info, err := os.Stat(PageHere); err == nil && info.Mode().IsRegular() {
		o.Page = PageHere
	} else {
		o.Page = filepath.Join(o.State, "DRILLS.md")
	}
	return nil
}

// Observer hears of a drill while it is held. Its functions are called one after the
// other; all but Checkpoint have to be there.
type Observer struct {
	Warn func(format string, args ...any)
	// Rehearsing is called before a backup is restored, with what counts its bytes.
	Rehearsing func(Picked, *backup.Meter) (done func())
	// Rehearsed is called after it, with what is to be told of it.
	Rehearsed func(Picked, *Result, *backup.Meter)
	// Checkpoint signs the state of the audit log, when all has been rehearsed.
	Checkpoint func() (json.RawMessage, error)
}

// Run holds a drill and appends it to the page. The report is nil when there is
// nothing to write down: the context ended, or the error is a mistake on the command
// line that the store does not show. The error says what went wrong apart from the
// results, whose own are their Fault: the drill did not begin, or was not written down.
func (o Options) Run(ctx context.Context, obs Observer) (*Report, error) {
	r := &Report{
		Time: time.Now().UTC(), Who: audit.UserName() + "@" + audit.Host(), Program: o.Program, Root: o.Root, Random: !o.Latest,
	}
	fault := o.Fault
	var picked []Picked
	if fault == nil {
		picked, fault = o.pick(ctx, r, obs)
	}
	for _, p := range picked {
		result := o.rehearse(ctx, obs, p)
		if ctx.Err() != nil {
			break
		}
		r.Results = append(r.Results, result)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case fault != nil:
		if class, _ := fail.Of(fault); class == fail.Usage && !errors.Is(fault, rehearse.ErrNoPlace) {
			return nil, fault
		}
		r.Error = redact.Keys(fault.Error()) // a page is read by many
	}
	r.Passed = fault == nil && len(r.Faults()) == 0
	if obs.Checkpoint != nil { // after the records of the rehearsals, so that it covers them
		var err error
		if r.Checkpoint, err = obs.Checkpoint(); err != nil {
			obs.Warn("the drill has no checkpoint of the audit log: %v", err)
		}
	}
	if err := Append(o.Page, r); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the drill down in %s: %w", o.Page, err), fault, errors.Join(r.Faults()...))
	}
	if o.State != "" {
		if err := Keep(o.State, r); err != nil {
			obs.Warn("the drill is not remembered for serve: %v", err)
		}
	}
	return r, fault
}

// pick draws the backups, and finds that there is a place for each.
func (o Options) pick(ctx context.Context, r *Report, obs Observer) ([]Picked, error) {
	entries, err := backup.List(ctx, o.Store, o.Root, backup.Options{Keys: o.Keys, Signers: o.Signers})
	if err != nil {
		return nil, fmt.Errorf("looking for backups: %w", err)
	}
	var why error
	for i := range entries {
		e := &entries[i]
		if e.State == backup.Authentic && e.Doubt != nil {
			e.State, e.Err = backup.Bad, e.Doubt // it is not drawn from either
		}
		if e.State != backup.Authentic {
			if r.PassedOver++; why == nil {
				why = fmt.Errorf("%s: %w", store.Printable(e.Path), e.Err)
			}
		}
	}
	if why != nil {
		r.PassedOverWhy = redact.Keys(why.Error())
		obs.Warn("%d of %d backups are not authentic with this key and were not drawn from; the first: %v", r.PassedOver, len(entries), why)
	}
	picked, err := Pick(entries, o.Kinds, o.Latest, time.Now())
	if err != nil {
		err = fmt.Errorf("%s: %w", o.Root, err)
		if why != nil {
			err = fmt.Errorf("%w; %w", err, why)
		}
		return nil, err
	}
	for _, p := range picked {
		if err := o.Stage.Check(p.Kind); err != nil {
			return nil, fail.Usagef("%w: give --scratch-dir, or leave the kind out with --kind", err)
		}
	}
	return picked, nil
}

func (o Options) rehearse(ctx context.Context, obs Observer, p Picked) Result {
	now := time.Now()
	var meter backup.Meter
	done := obs.Rehearsing(p, &meter)
	outcome, err := o.Stage.Run(ctx, p.Path, &meter)
	done()
	if err == nil && o.Latest && p.Newer != nil {
		err = fmt.Errorf("it was restored, and is not the newest: %s is newer, and not authentic: %w", store.Printable(p.Newer.Path), p.Newer.Err)
	}
	result := NewResult(p, outcome, err, now, o.Targets)
	obs.Rehearsed(p, &result, &meter)
	return result
}
