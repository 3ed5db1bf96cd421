package rotation

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	secretkit "github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

func TestRotateStoresRollsProvesAndRecords(t *testing.T) {
	backends(t, func(t *testing.T, b *bench) {
		before := b.document().Fields
		res := b.must(b.rotator().Rotate(t.Context(), Options{}))
		now := b.document().Fields
		for _, name := range b.set.Names {
			if now[name] == before[name] || now[name+previous] != before[name] {
				t.Errorf("%s was not replaced, or its former value not kept", name)
			}
		}
		if now["OTHER"] != "stays" || len(now) != 5 {
			t.Errorf("other fields: %d", len(now))
		}
		if !b.accepts(now["JWT_SECRET"]) || !b.accepts(before["JWT_SECRET"]) {
			t.Error("the service does not accept both secrets")
		}
		if got := b.rolled; len(got) != 2 || got[res.ID+"-announce"] != 1 || got[res.ID+"-rotate"] != 1 {
			t.Errorf("rolled out %v", got)
		}
		h := b.history()
		if len(h) != 1 || !h[0].Success || h[0].ID != res.ID || !h[0].Proved || h[0].Bits != 512 || h[0].Operator != "alice" {
			t.Errorf("history %+v", h)
		}
		for _, line := range append(b.lines, b.document().State) {
			for _, v := range now {
				if len(v) > 10 && strings.Contains(line, v) {
					t.Errorf("a line holds a secret: %s", line)
				}
			}
		}
		// Not due any more; due again after 90 days; in the grace period refused.
		if res := b.must(b.rotator().Rotate(t.Context(), Options{})); res.Due || res.Changed {
			t.Errorf("rotated again: %+v", res)
		}
		if _, err := b.rotator().Rotate(t.Context(), Options{Force: true}); !errors.Is(err, ErrGrace) {
			t.Errorf("within the grace period: %v", err)
		}
		if res := b.must(b.rotator().Finish(t.Context(), Options{})); res.Due {
			t.Error("finished within the grace period")
		}
		b.now = b.now.Add(49 * time.Hour)
		b.must(b.rotator().Finish(t.Context(), Options{}))
		last := b.document().Fields
		if len(last) != 3 || last["JWT_SECRET"] != now["JWT_SECRET"] || b.accepts(before["JWT_SECRET"]) || !b.accepts(now["JWT_SECRET"]) {
			t.Error("after the grace period the former secret is accepted, or the current one is not")
		}
		b.now = b.now.Add(89 * 24 * time.Hour)
		if res := b.must(b.rotator().Rotate(t.Context(), Options{DryRun: true})); !res.Due || !strings.Contains(res.Why, "91 days") || res.Changed {
			t.Errorf("after 91 days: %+v", res)
		}
		if got := b.document().Fields; !maps.Equal(got, last) {
			t.Error("a dry run changed something")
		}
	})
}

// errKilled ends a run where a test wants it.
var errKilled = errors.New("killed")

// killedAt runs f, which ends at the nth point, as if the process had been killed
// there. It reports whether it got so far.
func (b *bench) killedAt(n int, f func(*Rotator) (*Result, error)) (killed bool) {
	r := b.rotator()
	at := 0
	r.fault = func(string) {
		if at++; at == n {
			panic(errKilled)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			if p != errKilled {
				panic(p)
			}
			killed = true
		}
	}()
	_, _ = f(r)
	return false
}

// scenarios are what is killed, and what must be so when the same command has been run
// again: before are the values at the start, now those at the end.
var scenarios = []struct {
	name    string
	fails   bool // the proof does
	prepare func(*bench)
	run     func(context.Context, *Rotator) (*Result, error)
	judge   func(b *bench, before, now map[string]string)
}{
	{"rotate", false, func(*bench) {}, func(ctx context.Context, r *Rotator) (*Result, error) { return r.Rotate(ctx, Options{}) },
		func(b *bench, before, now map[string]string) {
			if now["JWT_SECRET"] == before["JWT_SECRET"] || now["JWT_SECRET_PREVIOUS"] != before["JWT_SECRET"] || now["JWT_REFRESH_SECRET_PREVIOUS"] != before["JWT_REFRESH_SECRET"] {
				b.t.Error("not exactly one rotation")
			}
			if !b.accepts(before["JWT_SECRET"]) || !b.accepts(now["JWT_SECRET"]) {
				b.t.Error("the service does not accept both")
			}
		}},
	{"rollback", true, func(*bench) {}, func(ctx context.Context, r *Rotator) (*Result, error) { return r.Rotate(ctx, Options{}) },
		func(b *bench, before, now map[string]string) {
			if now["JWT_SECRET"] != before["JWT_SECRET"] || now["JWT_SECRET_PREVIOUS"] == "" {
				b.t.Error("the former secret is not current, or the new one not kept")
			}
			if !b.accepts(before["JWT_SECRET"]) || !b.accepts(now["JWT_SECRET_PREVIOUS"]) {
				b.t.Error("the service does not accept both")
			}
		}},
	{"finish", false, func(b *bench) {
		b.must(b.rotator().Rotate(b.t.Context(), Options{}))
		b.now = b.now.Add(49 * time.Hour)
	}, func(ctx context.Context, r *Rotator) (*Result, error) { return r.Finish(ctx, Options{}) },
		func(b *bench, before, now map[string]string) {
			if now["JWT_SECRET"] != before["JWT_SECRET"] || now["JWT_SECRET_PREVIOUS"] != "" || b.accepts(before["JWT_SECRET_PREVIOUS"]) || !b.accepts(now["JWT_SECRET"]) {
				b.t.Error("the former secret is not gone, or the current one is")
			}
		}},
	{"compromised", false, func(*bench) {}, func(ctx context.Context, r *Rotator) (*Result, error) {
		return r.Rotate(ctx, Options{Compromised: true})
	},
		func(b *bench, before, now map[string]string) {
			if now["JWT_SECRET"] == before["JWT_SECRET"] || now["JWT_SECRET_PREVIOUS"] != "" || b.accepts(before["JWT_SECRET"]) || !b.accepts(now["JWT_SECRET"]) {
				b.t.Error("the stolen secret is accepted")
			}
		}},
}

// TestKilledAtEveryStep kills each kind of run at each of its points, for every
// backend, and runs the same command again.
func TestKilledAtEveryStep(t *testing.T) {
	backends(t, killAtEveryStep)
}

func killAtEveryStep(t *testing.T, b *bench) {
	for _, s := range scenarios {
		killed := 0
		for n := 1; ; n++ {
			b.again()
			s.prepare(b)
			before, runs := b.document().Fields, len(b.history())
			if s.fails {
				b.failProof()
			}
			if !b.killedAt(n, func(r *Rotator) (*Result, error) { return s.run(t.Context(), r) }) {
				break
			}
			killed++
			for _, name := range b.set.Names { // whatever happens: what was signed before is accepted
				if v := before[name]; s.name != "compromised" && name == "JWT_SECRET" && !b.accepts(v) {
					t.Errorf("%s, killed at point %d: %s of before is refused", s.name, n, name)
				}
			}
			unproved := b.losesFormer()
			res, err := s.run(t.Context(), b.rotator())
			if s.fails != errors.Is(err, ErrRolledBack) || unproved != errors.Is(err, ErrFormerUnproved) || !s.fails && !unproved && err != nil {
				t.Errorf("%s, killed at point %d, again: %v %+v", s.name, n, err, res)
			}
			s.judge(b, before, b.document().Fields)
			if h := b.history(); len(h) != runs+1 || h[runs].Success == s.fails {
				t.Errorf("%s, killed at point %d: history %+v", s.name, n, h[runs:])
			} else if !s.fails && h[runs].Proved == unproved {
				t.Errorf("%s, killed at point %d: proved %v", s.name, n, h[runs].Proved)
			}
			if st := b.state(); st.Op != nil {
				t.Errorf("%s, killed at point %d: %+v is left", s.name, n, st.Op)
			}
			if t.Failed() {
				t.Fatalf("%s, point %d of %v\n%s", s.name, n, b.points, strings.Join(b.lines, "\n"))
			}
		}
		if killed < 5 {
			t.Errorf("%s was killed at %d points only", s.name, killed)
		}
	}
}

// losesFormer says whether values that are to be refused are known to nobody any more.
func (b *bench) losesFormer() bool {
	op := b.state().Op
	_, recalls := b.backend.(secrets.Recaller)
	return op != nil && (op.Step == removed || op.Step == stored && op.Compromised) && !recalls
}

// A run that goes on tries the stolen value that the killed one knew.
func TestStolenValueIsTriedByTheNextRun(t *testing.T) {
	backends(t, func(t *testing.T, b *bench) {
		if _, recalls := b.backend.(secrets.Recaller); !recalls {
			t.Skip("it keeps no former versions; TestKilledAtEveryStep has what is said then")
		}
		stolen := b.document().Fields["JWT_SECRET"]
		b.service = secretkit.NewService(t, 3, func() map[string]string {
			return map[string]string{"JWT_SECRET": b.document().Fields["JWT_SECRET"], "JWT_SECRET_PREVIOUS": stolen}
		})
		b.set.Health, b.set.Proof.URL = b.service.URL+"/health", b.service.URL+"/me"
		killed := b.killedAt(3, func(r *Rotator) (*Result, error) { return r.Rotate(t.Context(), Options{Compromised: true}) })
		if !killed || b.state().Op.Step != stored {
			t.Fatalf("killed at %v", b.state().Op)
		}
		for range 2 { // each leaves versions of its own
			if _, err := b.rotator().Rotate(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "still accepts the JWT_SECRET that was taken away") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// A theft that is reported while an ordinary rotation is unfinished ends no other way than
// one that is reported before.
func TestTheftWhileARotationIsUnfinished(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	for _, broken := range []bool{false, true} {
		for n := 1; ; n++ {
			b.again()
			before := b.document().Fields
			b.roll = func(_ context.Context, id string) error {
				b.service.Roll()
				if broken && b.state().Op.Action == rotate && !b.state().Op.Compromised && strings.HasSuffix(id, "-rotate") {
					return errors.New("pods do not come up")
				}
				return nil
			}
			killed := b.killedAt(n, func(r *Rotator) (*Result, error) { return r.Rotate(t.Context(), Options{}) })
			if !killed {
				break
			}
			now := b.document().Fields
			if b.state().Op != nil {
				b.now = b.now.Add(time.Hour) // a dry run, which holds nothing, waits for the lease
				plan := b.must(b.rotator().Rotate(t.Context(), Options{Compromised: true, DryRun: true})).Plan
				if plan[len(plan)-1] != "replace the stolen secrets" {
					t.Errorf("killed at point %d: planned %q", n, plan)
				}
			}
			res := b.must(b.rotator().Rotate(t.Context(), Options{Compromised: true}))
			end := b.document().Fields
			for _, stolen := range []string{before["JWT_SECRET"], now["JWT_SECRET"]} {
				if end["JWT_SECRET"] == stolen || b.accepts(stolen) {
					t.Errorf("killed at point %d: a stolen secret is accepted", n)
				}
			}
			if h := b.history(); end["JWT_SECRET_PREVIOUS"] != "" || len(res.Emergency) == 0 || !h[len(h)-1].Compromised {
				t.Errorf("killed at point %d: %+v", n, res)
			}
		}
	}
}

// again puts the bench back to its beginning.
func (b *bench) again() {
	b.set.Proof.URL = b.service.URL + "/me"
	b.lines, b.points = nil, nil
	b.roll = func(context.Context, string) error { b.service.Roll(); return nil }
	b.fresh()
	if err := os.Remove(filepath.Join(b.dir, HistoryFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
}

// failProof lets the proof of the new values fail, until the former are current again.
func (b *bench) failProof() {
	b.set.Proof.URL = b.service.URL + "/health" // which accepts everything, and proves nothing
}

// TestKilledAtEveryRequest ends runs at each request of the backend: before it is
// carried out, and when it was and the answer is lost.
func TestKilledAtEveryRequest(t *testing.T) {
	backends(t, func(t *testing.T, b *bench) {
		if b.server == nil {
			t.Skip("a file has no requests; TestKilledAtEveryStep has its steps")
		}
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				b.again()
				before := b.document().Fields
				ctx, cancel := context.WithCancel(t.Context())
				from := len(b.server.Asked())
				ended := b.cancelAt(n, after, cancel)
				_, err := b.rotator().Rotate(ctx, Options{})
				cancel()
				b.server.Hook(nil, nil)
				if err == nil && !ended() {
					if n < 5 {
						t.Errorf("only %d requests", len(b.server.Asked())-from)
					}
					break
				}
				b.must(b.rotator().Rotate(t.Context(), Options{}))
				scenarios[0].judge(b, before, b.document().Fields)
				if st, h := b.state(), b.history(); st.Op != nil || len(h) != 1 || !h[0].Success {
					t.Errorf("request %d (after: %v): %+v, history %+v", n, after, st.Op, h)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
		}
	})
}

func TestTwoOperatorsOneWinsTheOtherSaysWho(t *testing.T) {
	backends(t, func(t *testing.T, b *bench) {
		first, second := b.rotator(), b.rotator()
		second.Operator, second.Dir = "bob", t.TempDir() // of another host
		var other error
		first.fault = func(point string) {
			if point == "made" {
				_, other = second.Rotate(t.Context(), Options{Force: true})
			}
		}
		b.must(first.Rotate(t.Context(), Options{}))
		if !errors.Is(other, ErrBusy) || !strings.Contains(other.Error(), "alice") {
			t.Errorf("the second operator hears %v", other)
		}
		if h := b.history(); len(h) != 1 {
			t.Errorf("history %+v", h)
		}
	})
}

// A run whose lease ended while it was silent finds out, and changes nothing more.
func TestTakenOverAfterTheLease(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	first, second := b.rotator(), b.rotator()
	second.Operator, second.Dir = "bob", t.TempDir()
	first.fault = func(point string) {
		if point == "made" {
			b.now = b.now.Add(time.Hour)
			b.must(second.Rotate(t.Context(), Options{}))
		}
	}
	before := b.document().Fields
	if _, err := first.Rotate(t.Context(), Options{}); !errors.Is(err, errTaken) {
		t.Errorf("the first run ends with %v", err)
	}
	scenarios[0].judge(b, before, b.document().Fields)
}

func TestRollbackSaysWhyAndKeepsTheNew(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	for name, broken := range map[string]func(){
		"rollout": func() {
			b.roll = func(_ context.Context, id string) error {
				if strings.HasSuffix(id, "-rotate") {
					return errors.New("pods do not come up")
				}
				b.service.Roll()
				return nil
			}
		},
		"proof": b.failProof,
		"health": func() {
			b.roll = func(_ context.Context, id string) error {
				b.service.Roll()
				b.service.Sick.Store(strings.HasSuffix(id, "-rotate"))
				return nil
			}
		},
	} {
		b.again()
		before := b.document().Fields
		broken()
		res, err := b.rotator().Rotate(t.Context(), Options{})
		if !errors.Is(err, ErrRolledBack) {
			t.Errorf("%s: %v", name, err)
		}
		now := b.document().Fields
		if now["JWT_SECRET"] != before["JWT_SECRET"] || now["JWT_SECRET_PREVIOUS"] == "" || b.state().Op != nil || b.state().GraceUntil.IsZero() {
			t.Errorf("%s: not rolled back: %+v", name, b.state())
		}
		if h := b.history(); len(h) != 1 || h[0].Success || h[0].ID != res.ID || h[0].Error == "" || h[0].Action != "rollback" {
			t.Errorf("%s: history %+v", name, h)
		}
		b.service.Sick.Store(false)
	}
}

// Before a rotation nothing is changed when something is missing.
func TestPreflight(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	before := b.document()
	refused := func(want string, change func(*Rotator), o Options) {
		t.Helper()
		r := b.rotator()
		change(r)
		_, err := r.Rotate(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if now := b.document(); !maps.Equal(now.Fields, before.Fields) || now.State != before.State {
			t.Errorf("%s: something was changed", want)
		}
	}
	b.service.Sick.Store(true)
	refused("answers 503", func(*Rotator) {}, Options{})
	b.service.Sick.Store(false)
	refused("no proof", func(r *Rotator) { r.Prover, r.Environment = nil, "production" }, Options{})
	refused("API_KEY", func(r *Rotator) {
		set := &Set{Kind: "api-key", Names: []string{"API_KEY"}}
		if err := set.Complete("jwt"); err != nil {
			t.Fatal(err)
		}
		r.Set = set
	}, Options{})
	r := b.rotator()
	r.Set.Window = "Sun 02:00-04:00"
	r.now = func() time.Time { return time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC) } // a Monday
	if res := b.must(r.Rotate(t.Context(), Options{})); res.Due || !strings.Contains(res.Why, "outside the window") {
		t.Errorf("on Monday: %+v", res)
	}
	r.now = func() time.Time { return time.Date(2026, 11, 22, 3, 59, 0, 0, time.UTC) }
	if res := b.must(r.Rotate(t.Context(), Options{DryRun: true})); !res.Due {
		t.Errorf("on Sunday: %+v", res)
	}
	b.set.Window = ""
}

func TestSpreadSetsAreRefusedWithTheWayToJoinThem(t *testing.T) {
	for spec, want := range map[string]string{"aws-secrets-manager": "one JSON secret", "file:/run/secrets": "one file", "env": "name a secret"} {
		backend, err := secrets.Open(spec, secrets.Options{Environment: "staging"})
		if err != nil {
			t.Fatal(err)
		}
		set := JWTSet()
		if err := set.Complete("jwt"); err != nil {
			t.Fatal(err)
		}
		_, err = New(set, backend, "staging", t.TempDir())
		if err == nil || !strings.Contains(hintOf(err), want) {
			t.Errorf("%s: %v (%s)", spec, err, hintOf(err))
		}
	}
}

func TestReplicasNeverRefuseEachOthersTokens(t *testing.T) {
	for _, announce := range []bool{true, false} {
		b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
		b.set.Announce = &announce
		refused := 0
		b.service.Restarted = func(i int) {
			token := b.service.Login(i)
			for other := range 3 {
				if !b.service.Accepts(other, token) {
					refused++
				}
			}
		}
		b.must(b.rotator().Rotate(t.Context(), Options{}))
		// With the handbook's order alone, replicas that were not restarted yet refuse what
		// the others sign: that is why sets of tokens are announced.
		if announce && refused > 0 || !announce && refused == 0 {
			t.Errorf("announced %v: %d refused", announce, refused)
		}
	}
}

func TestUsedValuesAreNeverUsedAgain(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	first := b.document().Fields
	b.must(b.rotator().Rotate(t.Context(), Options{}))
	b.now = b.now.Add(49 * time.Hour)
	b.must(b.rotator().Finish(t.Context(), Options{}))
	b.now = b.now.Add(100 * 24 * time.Hour)
	r := b.rotator()
	r.Maker = again{first}
	if _, err := r.Rotate(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "used before") {
		t.Errorf("got %v", err)
	}
	if b.state().Op != nil {
		t.Error("an operation is left")
	}
}

type again struct{ values map[string]string }

func (again) Check(context.Context) error                           { return nil }
func (again) Retire(context.Context, map[string]string, bool) error { return nil }
func (a again) Make(context.Context, map[string]string) (map[string]string, error) {
	return a.values, nil
}

func TestConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`environment: staging
sets:
  jwt: {kind: jwt, secret: "vault:secret/takumi/staging", max_age: 180d, grace: 72h, window: "Sun 02:00-04:00"}
  api: {kind: api-key, names: [ADMIN_API_KEY], secret: "dotenv:.env"}
  db: {kind: postgres, postgres: {roles: [app_a, app_b]}}`))
	if err != nil || c.Sets["jwt"].MaxAge != Duration(180*24*time.Hour) || !*c.Sets["jwt"].Announce || *c.Sets["db"].Announce || !slices.Equal(c.Sets["db"].Names, []string{"DB_USER", "DB_PASSWORD"}) {
		t.Fatalf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"sets: {jwt: {kind: jwt, max_ages: 90d}}":                                       "max_ages",
		"sets: {jwt: {kind: jwt, max_age: 1d}}":                                         "shorter than grace",
		"sets: {x: {kind: hmm, names: [A]}}":                                            "not a kind",
		"sets: {x: {kind: hex}}":                                                        "lists no names",
		"sets: {x: {kind: hex, names: [A_PREVIOUS]}}":                                   "not a name of a current secret",
		"sets: {x: {kind: hex, names: [A], window: Sunday}}":                            "window",
		"sets: {x: {kind: postgres, postgres: {roles: [a]}}}":                           "two roles",
		"sets: {x: {kind: command, names: [A]}}":                                        "needs a command",
		"sets: {x: {kind: hex, names: [A], max_age: \"90\"}}":                           "duration",
		"sets: {X_: {kind: hex, names: [A]}}":                                           "small letters",
		"sets: {x: {kind: hex, names: [A], rollout: {deployments: [a], command: [b]}}}": "deployments and a command",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func hintOf(err error) string {
	_, hint := fail.Of(err)
	return hint
}

// cancelAt ends a context at the nth request.
func (b *bench) cancelAt(n int, after bool, cancel func()) (ended func() bool) {
	var at atomic.Int64
	hook := func(*http.Request) bool {
		if at.Add(1) == int64(n) {
			cancel()
			return true
		}
		return at.Load() > int64(n)
	}
	if after {
		b.server.Hook(func(*http.Request) bool { return at.Load() >= int64(n) }, hook)
	} else {
		b.server.Hook(hook, nil)
	}
	return func() bool { return at.Load() >= int64(n) }
}
