package all

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// noted runs parts, and notes in which order.
func noted(said *[]string) Runner {
	return Runner{
		Ready: func() error { return nil },
		Session: func(operation string, work func(context.Context) error) error {
			*said = append(*said, operation)
			return work(context.Background())
		},
		Report: func(err error) int {
			*said = append(*said, "report: "+err.Error())
			return 3
		},
	}
}

// TestSilent: what listens may be nil.
func TestSilent(t *testing.T) {
	t.Parallel()
	p := &Part{Run: func(context.Context) error { return nil }}
	r := Runner{Ready: func() error { return nil }}
	if err := r.Run(t.Context(), p, "backup database"); err != nil || p.State != Done {
		t.Errorf("%+v, %v", p, err)
	}
	new(Plan).warn("unheard")
}

// TestNight: one part that fails does not keep others from running, but prune; what prune
// does is no backup of its own; and a night of nothing is a mistake in the settings.
func TestNight(t *testing.T) {
	t.Parallel()
	good := func(context.Context) error { return nil }
	bad := func(context.Context) error { return backup.SourceError(errors.New("gone")) }
	part := func(run func(context.Context) error) *Part {
		return &Part{Name: "database a", Kind: "database", Run: run}
	}
	for name, tc := range map[string]struct {
		parts        []*Part
		prune, plain bool
		want, states string
		outcome      fail.Class
	}{
		"well":           {parts: []*Part{part(good), part(good)}, prune: true, want: "backup database, backup database, pruned", states: "done done done"},
		"one fails":      {parts: []*Part{part(bad), part(good)}, prune: true, want: "backup database, report: gone, backup database", states: "failed done left out", outcome: fail.Some},
		"the only fails": {parts: []*Part{part(bad)}, want: "backup database, report: gone", states: "failed", outcome: fail.Source},
		"plain":          {parts: []*Part{part(good)}, prune: true, plain: true, want: "backup database", states: "done left out"},
		"without prune":  {parts: []*Part{part(good), {State: LeftOut}}, want: "backup database", states: "done left out"},
	} {
		var said, states []string
		var prune *Part
		if tc.prune {
			prune = &Part{Name: "prune", Run: func(context.Context) error {
				said = append(said, "pruned")
				return nil
			}}
		}
		parts, ran, err := noted(&said).Night(t.Context(), tc.parts, prune, !tc.plain)
		for _, p := range parts {
			states = append(states, p.State)
			if (p.State == Failed) != (p.ExitCode == 3) || p.State != Done && p.State != "" && p.Why == "" && p.Name != "" {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if got := strings.Join(said, ", "); err != nil || got != tc.want || strings.Join(states, " ") != tc.states {
			t.Errorf("%s: %q, %q, %v", name, got, states, err)
		}
		if class, _ := fail.Of(Outcome(parts, ran)); class != tc.outcome {
			t.Errorf("%s: the outcome is of class %v", name, class)
		}
	}
	var said []string
	if _, _, err := noted(&said).Night(t.Context(), []*Part{{State: LeftOut}}, part(good), true); err == nil || len(said) > 0 {
		t.Errorf("nothing is configured: %v, %q", err, said)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("stopped"))
	if _, _, err := noted(&said).Night(ctx, []*Part{part(good)}, nil, true); err == nil || err.Error() != "stopped" || len(said) > 0 {
		t.Errorf("a night that was stopped: %v, %q", err, said)
	}
	deaf := noted(&said)
	deaf.Ready = func() error { return errors.New("nobody hears it") }
	if _, _, err := deaf.Night(t.Context(), []*Part{part(good)}, nil, true); err == nil || len(said) > 0 {
		t.Errorf("a night that nobody hears of: %v, %q", err, said)
	}
}

// TestParts: what the settings name is a part, in the order of their kinds, and what they do
// not is left out, with the reason; a name that is there twice fails.
func TestParts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		environ []string
		want    string
	}{
		"nothing": {nil, "database: left out (DB_NAME, PGDATABASE, PGSERVICE: not set), contracts: left out (CONTRACTS_DIR: not set), uploads: left out (UPLOADS_DIR: not set)"},
		"some":    {[]string{"DB_NAME=shop", "UPLOADS_DIR=/srv/u"}, "database shop with roles, contracts: left out (CONTRACTS_DIR: not set), uploads"},
		"no TLS":  {[]string{"DB_NAME=shop", "DB_HOST=db.example", "NODE_ENV=production"}, "failed, contracts: left out (CONTRACTS_DIR: not set), uploads: left out (UPLOADS_DIR: not set)"},
	} {
		made := func(words string) func(context.Context) error {
			return func(context.Context) error { return errors.New(words) }
		}
		pl := &Plan{Globals: true, Warn: t.Errorf,
			Database: func(_ *Part, _ config.Target, s *postgres.Settings, globals, _ bool) func(context.Context) error {
				return made(fmt.Sprintf("database %s with%s roles", s.Database(), map[bool]string{false: "out"}[globals]))
			},
			Folder: func(p *Part, _ config.Target) func(context.Context) error { return made(p.Kind) },
		}
		var got []string
		for _, p := range pl.Parts(t.Context(), config.Environment(tc.environ)) {
			switch {
			case p.State == LeftOut:
				got = append(got, p.Words())
			default:
				err := p.Run(t.Context())
				if class, _ := fail.Of(err); class == fail.Usage {
					err = errors.New("failed")
				}
				got = append(got, err.Error())
			}
		}
		if text := strings.Join(got, ", "); text != tc.want {
			t.Errorf("%s: %s", name, text)
		}
	}
}
