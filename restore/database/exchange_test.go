package database

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestSettle: a commit that seems to have failed counts as what it has done.
func TestSettle(t *testing.T) {
	c := pgtest.Start(t)
	for _, kv := range c.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	t.Setenv("DB_NAME", "settle")
	t.Setenv("DB_HOST", "")
	s, err := postgres.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	lost := errors.New("the answer was lost")
	begin := func(options Options) *Restore {
		t.Helper()
		options.Settings, options.Time = s, time.Now()
		r, err := Begin(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		if err := r.create(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := r.commitOutcome(lost); !errors.Is(err, lost) || errors.Is(err, ErrUnsettled) {
			t.Errorf("before the exchange: %v", err)
		}
		if err := r.exchange(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.commitOutcome(lost); err != nil {
			t.Errorf("after the exchange: %v", err)
		}
		return r
	}
	begin(Options{}).Close() // there is none yet
	r := begin(Options{})
	former := r.plan.Before
	if _, err := r.DropPrevious(t.Context(), []string{former}); err != nil {
		t.Error(err)
	}
	if _, err := Begin(t.Context(), Options{Settings: s, Time: time.Now()}); !errors.Is(err, ErrBusy) {
		t.Errorf("the lock was lost: %v", err)
	}
	r.admin = r.admin.On("no such database")
	if err := r.commitOutcome(lost); !errors.Is(err, ErrUnsettled) || !errors.Is(err, lost) {
		t.Errorf("without a server: %v", err)
	}
}
