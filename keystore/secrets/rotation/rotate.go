package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// Rotate replaces the values of the set, or goes on with what an earlier run left
// undone: it finishes it, or rolls it back. When nothing is due, nothing is changed
// and the error is nil. Errors wrap ErrBusy (another run has the lease), ErrGrace
// (former values are still accepted), ErrRolledBack, or are of what failed. After ErrFormerUnproved all is done.
func (r *Rotator) Rotate(ctx context.Context, o Options) (*Result, error) {
	return r.locked(ctx, o, r.rotate)
}

// Finish takes the former values away when the grace period is over, and changes
// nothing before. It goes on with what an earlier run left undone, as Rotate does.
func (r *Rotator) Finish(ctx context.Context, o Options) (*Result, error) {
	return r.locked(ctx, o, r.finish)
}

// Errors of a rotation.
var (
	ErrGrace      = fail.New(fail.Usage, "wait for takumi-secrets rotate --finish, or give --even-in-grace", "the grace period of the last rotation is not over")
	ErrRolledBack = fail.New(fail.Failed, "look at why, and rotate again; the new values stay as _PREVIOUS for tokens that were signed with them", "the former secrets are current again")
	// ErrFormerUnproved means that all is done, and that only a run that ended early knew the
	// values that are to be refused: nobody has tried them.
	ErrFormerUnproved = fail.New(fail.Some, "try a former value where it was accepted: it must be refused", "it is not proved that the former values are refused: the run that replaced them ended early, and the backend does not keep them")
	errUnproved       = fail.New(fail.Failed, "repair what failed and run the same command again: it rolls out and proves once more; a stolen secret is not put back", "the new secrets are stored, and not proved")
)

type held struct {
	*Rotator
	holder, run string
	opts        Options
	result      *Result
	unproved    bool // that the former values are refused
}

func (r *Rotator) locked(ctx context.Context, o Options, f func(context.Context, *held) error) (*Result, error) {
	h := &held{Rotator: r, run: newID(), opts: o, result: &Result{Set: r.Set.Name, DryRun: o.DryRun}}
	var err error
	if o.DryRun {
		return h.result, f(ctx, h)
	}
	lock, holder, err := r.lock(ctx)
	if err != nil {
		return h.result, err
	}
	defer lock.Release()
	h.holder = holder
	err = f(ctx, h)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	return h.result, err
}

func (r *Rotator) rotate(ctx context.Context, h *held) error {
	h.result.Action = string(rotate)
	d, _, s, err := r.read(ctx)
	if err != nil {
		return err
	}
	if s.Op != nil {
		return h.resumeThenReplace(ctx, s.Op)
	}
	h.decideDue(d, s)
	if err := h.mayRotate(d, s); err != nil || !h.result.Due {
		return err
	}
	if err := h.preflight(ctx); err != nil {
		return err
	}
	h.plan(d)
	if h.opts.DryRun {
		return nil
	}
	o := &op{Action: rotate, Why: h.result.Why, Compromised: h.opts.Compromised, Forced: h.opts.Force}
	return h.start(ctx, o, d, func(now *secrets.Document, s *setState) error { return h.mayRotate(now, s) })
}

func (h *held) decideDue(d *secrets.Document, s *setState) {
	res, now := h.result, h.now()
	res.NextDue = s.RotatedAt.Add(time.Duration(h.Set.MaxAge))
	days := int(now.Sub(s.RotatedAt).Hours() / 24)
	switch {
	case h.opts.Compromised:
		res.Due, res.Why = true, "the secrets are known to somebody else"
	case h.opts.First && len(h.missing(d)) == len(h.Set.Names):
		res.Due, res.Why = true, "there are none yet"
	case s.RotatedAt.IsZero():
		res.Due, res.Why, res.NextDue = true, "no rotation is known of", now
	case !now.Before(res.NextDue):
		res.Due, res.Why = true, fmt.Sprintf("%d days since the last rotation, and %s is the longest", days, h.Set.MaxAge)
	case h.opts.Force:
		res.Due, res.Why = true, fmt.Sprintf("forced, %d days after the last rotation", days)
	default:
		res.Why = fmt.Sprintf("%d days since the last rotation; it is due %s", days, res.NextDue.UTC().Format(time.RFC3339))
	}
	if res.Due && !h.opts.Force && !h.opts.Compromised && !h.opts.First && !h.Set.inWindow(now) {
		res.Due, res.Why = false, res.Why+"; now is outside the window "+h.Set.Window
	}
}

func (h *held) mayRotate(d *secrets.Document, s *setState) error {
	missing := h.missing(d)
	switch {
	case s.Op != nil:
		return busy(s.Op)
	case len(missing) > 0 && (!h.opts.First || len(missing) < len(h.Set.Names)):
		return fail.As(fail.Key, "check where the set is; --first makes values where there are none", fmt.Errorf("%s has no %s", h.Store, strings.Join(missing, ", ")))
	case !h.result.Due || len(h.values(d, previous)) == 0 || h.opts.Compromised || h.opts.EvenInGrace:
		return nil
	case s.GraceUntil.IsZero() || h.now().Before(s.GraceUntil):
		until := "nobody knows how long, for another program rotated"
		if !s.GraceUntil.IsZero() {
			until = s.GraceUntil.UTC().Format(time.RFC3339)
		}
		return fmt.Errorf("%w: until %s %s accepted, and what was signed with them would die", ErrGrace, until, strings.Join(suffixed(h.Set.Names), " and ")+" are")
	}
	return nil
}

func suffixed(names []string) []string {
	var all []string
	for _, n := range names {
		all = append(all, n+previous)
	}
	return all
}

func (h *held) plan(d *secrets.Document) {
	res, names := h.result, strings.Join(h.Set.Names, " and ")
	add := func(format string, args ...any) { res.Plan = append(res.Plan, fmt.Sprintf(format, args...)) }
	dies := suffixed(h.Set.Names)
	if h.opts.Compromised {
		dies = append(dies, h.Set.Names...)
	}
	for _, name := range dies {
		if d.Fields[name] != "" {
			res.Warnings = append(res.Warnings, "what was signed with or logs in by "+name+" of today is refused from then on")
		}
	}
	if h.announces() {
		add("store new values of %s as _PREVIOUS, and roll them out, so that every replica accepts them", names)
	}
	if h.opts.Compromised {
		add("store new values of %s in %s in one write, and keep the former ones nowhere", names, h.Store)
	} else {
		add("store new values of %s in %s in one write, with the former ones as _PREVIOUS", names, h.Store)
	}
	if h.Roller != nil {
		add("roll out: %s", h.Set.Rollout)
	}
	if h.Prover != nil {
		add("prove: %s", h.Set.Proof)
	}
	if !h.opts.Compromised {
		add("take the former values away after %s (rotate --finish)", h.Set.Grace)
	}
}

func (h *held) announces() bool {
	return *h.Set.Announce && h.Roller != nil && !h.opts.Compromised && !h.opts.First
}

func (h *held) start(ctx context.Context, o *op, d *secrets.Document, still func(*secrets.Document, *setState) error) error {
	o.ID, o.Step, o.Started = newUUID(), begun, h.now().UTC().Truncate(time.Second)
	h.own(o)
	h.log(Info, "%s of %s begins: %s; environment %s, backend %s", o.Action, h.Set.Name, o.Why, h.Environment, h.Store)
	err := h.update(ctx, nil, func(d *secrets.Document, s *setState) error {
		if err := still(d, s); err != nil {
			return err
		}
		s.Op = o
		return nil
	})
	if err != nil {
		return err
	}
	h.result.former = h.values(d, "")
	h.fault("begun")
	return h.advance(ctx, o)
}

func (h *held) own(o *op) {
	o.Operator, o.Host, o.Holder, o.Run = h.Operator, audit.Host(), h.holder, h.run
	h.result.ID, h.result.Action = o.ID, string(o.Action)
}

// resumeThenReplace goes on with what is unfinished. When that keeps former values, and they
// are stolen by now, it replaces all once more.
func (h *held) resumeThenReplace(ctx context.Context, o *op) error {
	again := h.opts.Compromised && !o.Compromised
	err := h.resume(ctx, o)
	switch {
	case !again || err != nil && !errors.Is(err, ErrRolledBack) && !errors.Is(err, ErrFormerUnproved):
		return err
	case h.opts.DryRun:
		h.result.Plan = append(h.result.Plan, "replace the stolen secrets")
		return nil
	}
	h.log(Warning, "what was unfinished is done; now the stolen secrets are replaced")
	h.opts.Compromised, h.unproved = true, false
	h.result = &Result{Set: h.Set.Name, Resumed: true}
	return h.rotate(ctx, h)
}

// resume goes on with what an earlier run, which is dead, left undone.
func (h *held) resume(ctx context.Context, o *op) error {
	h.result.Resumed, h.result.Due = true, true
	h.result.ID, h.result.Action, h.result.Why = o.ID, string(o.Action), fmt.Sprintf("a %s of %s by %s is unfinished, at the step %q", o.Action, o.Started.UTC().Format(time.RFC3339), o.Operator, o.Step)
	if err := h.busyWith(o, h.holder); err != nil {
		return err
	}
	if h.opts.DryRun {
		h.result.Plan = []string{"finish it, or roll it back"}
		return nil
	}
	h.log(Warning, "%s", h.result.Why)
	var mine op
	err := h.update(ctx, nil, func(d *secrets.Document, s *setState) error {
		if s.Op == nil || s.Op.ID != o.ID {
			return errTaken
		}
		if err := h.busyWith(s.Op, h.holder); err != nil {
			return err
		}
		h.own(s.Op)
		mine = *s.Op
		return nil
	})
	if err != nil {
		return err
	}
	h.opts.Compromised = mine.Compromised
	return h.advance(ctx, &mine)
}

// advance takes the steps that are left. Each ends with a write of the document, after
// which it is not taken again.
func (h *held) advance(ctx context.Context, o *op) error {
	for {
		var err error
		switch {
		case o.Action == rotate && o.Step == begun:
			err = h.storeFirst(ctx, o)
		case o.Action == rotate && o.Step == announced:
			if err = h.roll(ctx, o, "announce"); err == nil {
				err = h.swap(ctx, o)
			} else {
				err = h.revert(ctx, o, err)
			}
		case o.Action == rotate && o.Step == stored:
			if err = h.rollAndProve(ctx, o); err == nil {
				return h.record(ctx, o)
			}
			err = h.revert(ctx, o, err)
		case o.Action == rollback:
			return h.endRollBack(ctx, o)
		case o.Step == begun: // of a finish
			err = h.remove(ctx, o)
		default:
			return h.finished(ctx, o)
		}
		if err != nil {
			return err
		}
	}
}

// make makes new values, and proves that none was used before.
func (h *held) make(ctx context.Context, d *secrets.Document, s *setState) (map[string]string, error) {
	current := h.values(d, "")
	fresh, err := h.Maker.Make(ctx, current)
	if err != nil {
		return nil, fmt.Errorf("making new values: %w", h.hide(err))
	}
	h.learn(fresh)
	for _, name := range h.Set.Names {
		v := fresh[name]
		switch {
		case v == "":
			return nil, fmt.Errorf("making new values: there is none for %s", name)
		case h.Set.Kind == Postgres && name == h.Set.Names[0]:
			continue // the role's name comes back
		case v == current[name] || s.wasUsed(map[string]string{name: v}) != "":
			return nil, fmt.Errorf("making new values: that of %s was used before", name)
		}
		h.log(Info, "generated %s: %d characters", name, len(v))
	}
	return fresh, nil
}

// storeFirst is the first write of new values: to announce them, or to make them current.
func (h *held) storeFirst(ctx context.Context, o *op) error {
	d, _, s, err := h.read(ctx)
	if err != nil {
		return err
	}
	fresh, err := h.make(ctx, d, s)
	if err != nil {
		return h.abandon(ctx, o, err)
	}
	h.fault("made")
	announce := h.announces()
	err = h.update(ctx, o, func(d *secrets.Document, s *setState) error {
		if s.Op.Step != begun {
			return errTaken
		}
		former := h.values(d, "")
		s.spend(former)
		s.spend(fresh)
		if announce {
			h.put(d, previous, fresh)
			s.Op.Step = announced
			return nil
		}
		h.result.former, s.Op.Former = former, d.Version()
		h.exchange(d, fresh, former)
		s.Op.Step = stored
		return nil
	})
	if err != nil {
		return err
	}
	o.Step = stored
	if announce {
		o.Step = announced
		h.log(Info, "announced: the new values are stored as _PREVIOUS")
	} else {
		h.stored()
	}
	h.fault(string(o.Step))
	return nil
}

// exchange makes fresh the current values, and keeps the former ones as _PREVIOUS
// unless they are stolen.
func (h *held) exchange(d *secrets.Document, fresh, former map[string]string) {
	if h.opts.Compromised {
		former = nil
	}
	h.put(d, "", fresh)
	h.put(d, previous, former)
}

func (h *held) stored() {
	h.result.Changed = true
	if h.opts.Compromised {
		h.log(Warning, "updated %s: the former values are kept nowhere", strings.Join(h.Set.Names, ", "))
		return
	}
	h.log(Info, "updated %s, with the former values as _PREVIOUS", strings.Join(h.Set.Names, ", "))
}

func (h *held) swap(ctx context.Context, o *op) error {
	h.fault("rolled announce")
	err := h.update(ctx, o, func(d *secrets.Document, s *setState) error {
		if s.Op.Step != announced {
			return errTaken
		}
		h.result.former = h.values(d, "")
		h.exchange(d, h.values(d, previous), h.result.former)
		s.Op.Step = stored
		return nil
	})
	if err != nil {
		return err
	}
	o.Step = stored
	h.stored()
	h.fault("stored")
	return nil
}

func (h *held) roll(ctx context.Context, o *op, phase string) error {
	if h.Roller == nil {
		return nil
	}
	h.log(Info, "rolling out (%s): %s", phase, h.Set.Rollout)
	if err := h.Roller.Roll(ctx, o.ID+"-"+phase); err != nil {
		return fmt.Errorf("rolling out: %w", h.hide(err))
	}
	h.log(Info, "restarted")
	return nil
}

func (h *held) rollAndProve(ctx context.Context, o *op) error {
	if err := h.roll(ctx, o, string(o.Action)); err != nil {
		return err
	}
	h.fault("rolled " + string(o.Action))
	d, _, _, err := h.read(ctx)
	if err != nil {
		return err
	}
	if o.Compromised {
		if err := h.Maker.Retire(ctx, h.values(d, ""), true); err != nil {
			return fmt.Errorf("ending the former values: %w", h.hide(err))
		}
	}
	if err := h.healthy(ctx); err != nil {
		return err
	}
	if h.Prover == nil {
		return nil
	}
	accepted := []map[string]string{h.values(d, "")}
	var rejected []map[string]string
	if former := h.values(d, previous); len(former) > 0 {
		accepted = append(accepted, former)
	}
	if o.Compromised || o.Action == finish {
		if former := h.former(ctx, o); len(former) > 0 {
			rejected = append(rejected, former)
		}
	}
	if err := h.Prover.Prove(ctx, accepted, rejected); err != nil {
		return fmt.Errorf("proving: %w", h.hide(err))
	}
	h.log(Info, "proved: the current values and %d former ones are accepted, %d are refused", len(accepted)-1, len(rejected))
	h.fault("proved " + string(o.Action))
	return nil
}

// former are the values that are to be refused. A run that goes on with what
// another one left undone asks the backend's former version for them.
func (h *held) former(ctx context.Context, o *op) map[string]string {
	if h.result.former != nil {
		return h.result.former
	}
	if b, ok := h.Store.(secrets.Recaller); ok && o.Former != "" {
		if d, err := b.Recall(ctx, o.Former); err != nil {
			h.log(Warning, "looking for the former values: %v", err)
		} else if former := h.values(d, map[action]string{finish: previous}[o.Action]); len(former) > 0 {
			h.learn(former)
			return former
		}
	}
	h.unproved = true
	return nil
}

// end says that all is done, and what is not proved.
func (h *held) end(words string) error {
	if !h.unproved {
		h.log(Success, "%s", words)
		return nil
	}
	h.log(Warning, "%s; %v", words, ErrFormerUnproved)
	h.result.Warnings = append(h.result.Warnings, ErrFormerUnproved.Error())
	return ErrFormerUnproved
}

// record notes a rotation as done, in the history first: a run that is killed between
// the two notes it again, under the same id.
func (h *held) record(ctx context.Context, o *op) error {
	now := h.now().UTC().Truncate(time.Second)
	if o.Compromised {
		h.result.Emergency = EmergencySteps
	}
	if err := h.remember(o, now, nil); err != nil {
		return err
	}
	h.fault("recorded")
	err := h.update(ctx, o, func(d *secrets.Document, s *setState) error {
		s.Op, s.ID, s.RotatedAt, s.FailedAt, s.GraceUntil = nil, o.ID, now, time.Time{}, time.Time{}
		if len(h.values(d, previous)) > 0 {
			s.GraceUntil = now.Add(time.Duration(h.Set.Grace))
		}
		h.result.GraceUntil, h.result.NextDue = s.GraceUntil, now.Add(time.Duration(h.Set.MaxAge))
		return nil
	})
	if err != nil {
		return err
	}
	h.result.Changed = true
	return h.end(fmt.Sprintf("rotation %s of %s is completed", o.ID, h.Set.Name))
}

func (h *held) abandon(ctx context.Context, o *op, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	h.log(Error, "%s: nothing was changed", cause)
	return errors.Join(cause, h.update(ctx, o, func(_ *secrets.Document, s *setState) error {
		s.Op = nil
		return nil
	}))
}

// revert begins a roll-back: the former values become current, and the new ones stay as
// _PREVIOUS for what was signed with them. After a compromise nothing is put back, and
// nothing when the run was only stopped.
func (h *held) revert(ctx context.Context, o *op, cause error) error {
	switch {
	case ctx.Err() != nil:
		return cause
	case o.Compromised:
		h.log(Error, "%v", cause)
		return fmt.Errorf("%w: %w", errUnproved, cause)
	}
	h.log(Error, "%v: rolling back", cause)
	err := h.update(ctx, o, func(d *secrets.Document, s *setState) error {
		if former := h.values(d, previous); s.Op.Step == stored && len(former) > 0 {
			fresh := h.values(d, "")
			h.put(d, "", former)
			h.put(d, previous, fresh)
		}
		s.Op.Action, s.Op.Step, s.Op.Cause = rollback, reverted, cause.Error()
		*o = *s.Op
		return nil
	})
	if err != nil {
		return fmt.Errorf("rolling back after %w: %w", cause, err)
	}
	h.fault("reverted")
	return nil
}

// endRollBack ends a roll-back. That the former values are not accepted either is said, and
// changes nothing: they are what there was.
func (h *held) endRollBack(ctx context.Context, o *op) error {
	cause := errors.New(o.Cause)
	if err := h.rollAndProve(ctx, o); err != nil {
		if ctx.Err() != nil {
			return err
		}
		h.log(Error, "after rolling back: %v", err)
		cause = fmt.Errorf("%w; after rolling back: %w", cause, err)
	}
	now := h.now().UTC().Truncate(time.Second)
	if err := h.remember(o, now, cause); err != nil {
		return err
	}
	h.fault("recorded rollback")
	err := h.update(ctx, o, func(d *secrets.Document, s *setState) error {
		s.Op, s.FailedAt = nil, now
		if len(h.values(d, previous)) > 0 {
			s.GraceUntil = now.Add(time.Duration(h.Set.Grace))
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.log(Error, "rotation %s of %s failed, and the former secrets are current again", o.ID, h.Set.Name)
	return fmt.Errorf("%w: %w", ErrRolledBack, cause)
}

func (h *held) remember(o *op, now time.Time, fault error) error {
	e := Entry{
		ID: o.ID, Timestamp: now, Environment: h.Environment, Backend: backendName(h.Store.String()), Operator: o.Operator,
		Success: fault == nil, Set: h.Set.Name, Action: string(o.Action), Reason: o.Why, Compromised: o.Compromised,
		Names: h.Set.Names, Emergency: h.result.Emergency, Proved: h.Prover != nil && fault == nil && !h.unproved, Started: o.Started,
		Grace: h.Set.Grace.String(), Bits: h.Set.bits(),
	}
	if fault != nil {
		e.Error = fault.Error()
	}
	if err := AppendHistory(h.Dir, e); err != nil {
		return fmt.Errorf("recording the rotation: %w", err)
	}
	h.log(Info, "recorded in the history as %s", o.ID)
	return nil
}

func backendName(uri string) string {
	name, _, _ := strings.Cut(uri, ":")
	return name
}
