package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

func (r *Rotator) finish(ctx context.Context, h *held) error {
	h.result.Action = string(finish)
	d, _, s, err := r.read(ctx)
	if err != nil {
		return err
	}
	if s.Op != nil {
		return h.resume(ctx, s.Op)
	}
	h.result.GraceUntil = s.GraceUntil
	mayFinish := func(d *secrets.Document, s *setState) error {
		if s.Op != nil {
			return busy(s.Op)
		}
		return nil
	}
	switch {
	case len(r.values(d, previous)) == 0:
		h.result.Why = "no former values are kept"
		return nil
	case s.GraceUntil.IsZero() && !h.opts.EvenInGrace:
		return fail.As(fail.Usage, "give --even-in-grace to take them away all the same", fmt.Errorf("%s: when the former values were replaced is not known, for another program did it", r.Set.Name))
	case r.now().Before(s.GraceUntil) && !h.opts.EvenInGrace:
		h.result.Why = "the grace period lasts until " + s.GraceUntil.UTC().Format(time.RFC3339)
		return nil
	}
	h.result.Due, h.result.Why = true, "the grace period is over"
	if r.now().Before(s.GraceUntil) {
		h.result.Why = "asked for within the grace period"
	}
	// Roles end by a connection: a server that may not be asked is found out before the
	// values are gone.
	if r.Set.Kind == Postgres {
		if err := r.Maker.Check(ctx); err != nil {
			return fmt.Errorf("before the former values are taken away: %w", err)
		}
	}
	h.result.Plan = []string{"take away " + strings.Join(suffixed(r.Set.Names), ", ")}
	if h.opts.DryRun {
		return nil
	}
	return h.start(ctx, &op{Action: finish, Why: h.result.Why}, d, mayFinish)
}

func (h *held) remove(ctx context.Context, o *op) error {
	err := h.update(ctx, o, func(d *secrets.Document, s *setState) error {
		h.result.former, s.Op.Former = h.values(d, previous), d.Version()
		h.put(d, previous, nil)
		s.Op.Step = removed
		return nil
	})
	if err != nil {
		return err
	}
	o.Step = removed
	h.result.Changed = true
	h.log(Info, "removed %s", strings.Join(suffixed(h.Set.Names), ", "))
	h.fault("removed")
	return nil
}

// finished ends the former values where they live, and records it. A roll-out or proof
// that fails is an error, and puts nothing back: the current values are the same.
func (h *held) finished(ctx context.Context, o *op) error {
	d, _, _, err := h.read(ctx)
	if err != nil {
		return err
	}
	err = h.Maker.Retire(ctx, h.values(d, ""), false)
	if err == nil {
		err = h.rollAndProve(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("the former values are taken away, and %w", err)
	}
	now := h.now().UTC().Truncate(time.Second)
	if err := h.remember(o, now, nil); err != nil {
		return err
	}
	h.fault("recorded finish")
	err = h.update(ctx, o, func(_ *secrets.Document, s *setState) error {
		s.Op, s.GraceUntil = nil, time.Time{}
		return nil
	})
	if err != nil {
		return err
	}
	h.result.Changed = true
	return h.end(h.Set.Name + " is finished: its former values are taken away")
}

// errHealth is wrapped when the health URL does not answer as it should.
var errHealth = errors.New("the service is not healthy")

// preflight sees that everything is there before anything is changed.
func (h *held) preflight(ctx context.Context) error {
	var without []string
	if h.Set.Health == "" {
		without = append(without, "health URL")
	}
	if h.Roller == nil {
		without = append(without, "rollout")
	}
	if h.Prover == nil {
		without = append(without, "proof")
	}
	if len(without) > 0 {
		text := fmt.Sprintf("the set %s has no %s", h.Set.Name, strings.Join(without, ", no "))
		if h.Environment == "production" && !h.opts.NoProof {
			return fail.As(fail.Usage, "configure it in the set, or give --no-proof", fmt.Errorf("%s, which production demands", text))
		}
		h.result.Warnings = append(h.result.Warnings, text+": it is left out")
		h.log(Warning, "%s: it is left out", text)
	}
	if err := h.healthy(ctx); err != nil {
		if !h.opts.Compromised {
			return fmt.Errorf("before the rotation: %w", err)
		}
		h.log(Warning, "%v; after a theft the rotation goes on", err)
	}
	if err := h.Maker.Check(ctx); err != nil {
		return fmt.Errorf("before the rotation: %w", err)
	}
	if h.Roller != nil {
		if err := h.Roller.Check(ctx); err != nil {
			return fmt.Errorf("before the rotation: %w", err)
		}
	}
	return nil
}
