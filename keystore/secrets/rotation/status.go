package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/promtext"
)

// Status is how a set is now.
type Status struct {
	Set         string    `json:"set"`
	Environment string    `json:"environment"`
	Backend     string    `json:"secrets_backend"`
	ID          string    `json:"last_rotation_id,omitempty"`
	RotatedAt   time.Time `json:"last_rotation,omitzero"`
	Days        int       `json:"days_since"` // -1 when no rotation is known of
	NextDue     time.Time `json:"next_due,omitzero"`
	Overdue     bool      `json:"overdue"`
	GraceUntil  time.Time `json:"grace_until,omitzero"`
	Former      bool      `json:"former_kept"` // _PREVIOUS is there
	Unfinished  bool      `json:"grace_over"`  // and its grace period is over
	Failed      bool      `json:"last_failed"` // the last rotation was rolled back
	UnderWay    string    `json:"under_way,omitempty"`
	Missing     []string  `json:"missing,omitempty"`
	Error       string    `json:"error,omitempty"` // why the backend could not be asked
}

// overdueBy is how long a rotation may wait for its window before that is a fault.
const overdueBy = 8 * 24 * time.Hour

// Status asks the backend how the set is. When it cannot be asked, Error says so and the
// error is returned too.
func (r *Rotator) Status(ctx context.Context) (*Status, error) {
	st := &Status{Set: r.Set.Name, Environment: r.Environment, Backend: r.Store.String(), Days: -1}
	d, _, s, err := r.read(ctx)
	if err != nil {
		st.Error = err.Error()
		return st, err
	}
	now := r.now()
	st.ID, st.RotatedAt, st.GraceUntil, st.Missing = s.ID, s.RotatedAt, s.GraceUntil, r.missing(d)
	st.Former, st.Failed = len(r.values(d, previous)) > 0, !s.FailedAt.IsZero()
	st.Unfinished = st.Former && !s.GraceUntil.IsZero() && now.After(s.GraceUntil.Add(24*time.Hour))
	st.Overdue = true
	if !s.RotatedAt.IsZero() {
		st.Days, st.NextDue = int(now.Sub(s.RotatedAt).Hours()/24), s.RotatedAt.Add(time.Duration(r.Set.MaxAge))
		st.Overdue = now.After(st.NextDue.Add(r.patience()))
	}
	if o := s.Op; o != nil {
		st.UnderWay = fmt.Sprintf("%s by %s on %s since %s, step %s", o.Action, o.Operator, o.Host, o.Started.Format(time.RFC3339), o.Step)
	}
	return st, nil
}

// patience is zero for sets without a window, which are rotated by the next timer.
func (r *Rotator) patience() time.Duration {
	if r.Set.Window == "" {
		return 0
	}
	return overdueBy
}

// WriteMetrics writes what alerts are made of for node_exporter's textfile collector, in
// one step.
func WriteMetrics(path string, all []*Status) error {
	var page promtext.Page
	gauge := func(name, help string, value func(*Status) float64) {
		g := page.Gauge("takumi_secret_"+name, help, "set", "environment")
		for _, s := range all {
			g.Set(value(s), s.Set, s.Environment)
		}
	}
	is := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("backend_up", "Whether the secrets backend could be asked.", func(s *Status) float64 { return is(s.Error == "") })
	gauge("rotation_overdue", "Whether a rotation is overdue.", func(s *Status) float64 { return is(s.Overdue && s.Error == "") })
	gauge("rotation_failed", "Whether the last rotation was rolled back.", func(s *Status) float64 { return is(s.Failed) })
	gauge("grace_over", "Whether former values are kept a day after their grace period.", func(s *Status) float64 { return is(s.Unfinished) })
	gauge("rotation_under_way", "Whether a rotation is under way, or was left undone.", func(s *Status) float64 { return is(s.UnderWay != "") })
	gauge("last_rotation_timestamp_seconds", "When the secrets were last rotated.", func(s *Status) float64 {
		if s.RotatedAt.IsZero() {
			return 0
		}
		return float64(s.RotatedAt.Unix())
	})
	if err := page.WriteFile(path); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}
