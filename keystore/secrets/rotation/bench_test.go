package rotation

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	secretkit "github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// bench is a set in a backend, and a service that uses it.
type bench struct {
	t       *testing.T
	backend secrets.Store
	server  *secretkit.Server
	service *secretkit.Service
	set     *Set
	dir     string
	now     time.Time
	lines   []string
	points  []string
	roll    func(ctx context.Context, id string) error
	rolled  map[string]int
}

// backends runs a test for each backend that is written whole.
func backends(t *testing.T, test func(*testing.T, *bench)) {
	for name, start := range map[string]func(t *testing.T) (string, *secretkit.Server){
		"aws": func(t *testing.T) (string, *secretkit.Server) {
			return "aws-secrets-manager:takumi/staging/jwt", secretkit.AWS(t, "takumi/staging/jwt")
		},
		"vault": func(t *testing.T) (string, *secretkit.Server) {
			return "vault:secret/takumi/staging", secretkit.Vault(t, "takumi/staging")
		},
		"kubernetes": func(t *testing.T) (string, *secretkit.Server) {
			return "kubernetes:takumi/jwt", secretkit.Kubernetes(t, "jwt", filepath.Join(t.TempDir(), "kubeconfig"), write(t)).Server
		},
		"dotenv": func(t *testing.T) (string, *secretkit.Server) {
			return "dotenv:" + filepath.Join(t.TempDir(), ".env"), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec, server := start(t)
			test(t, newBench(t, spec, server))
		})
	}
}

func write(t *testing.T) func(path, text string) {
	return func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newBench(t *testing.T, spec string, server *secretkit.Server) *bench {
	t.Helper()
	backend, err := secrets.Open(spec, secrets.Options{Environment: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, backend: backend.(secrets.Store), server: server, dir: t.TempDir(), now: time.Now(), rolled: make(map[string]int)}
	b.fresh()
	load := func() map[string]string { return b.document().Fields }
	if server != nil {
		load = server.Fields
	}
	b.service = secretkit.NewService(t, 3, load)
	b.set = JWTSet()
	b.set.Health, b.set.Proof.URL, b.set.Proof.Tries = b.service.URL+"/health", b.service.URL+"/me", 3
	if err := b.set.Complete("jwt"); err != nil {
		t.Fatal(err)
	}
	b.roll = func(context.Context, string) error { b.service.Roll(); return nil }
	return b
}

// fresh puts first values in the place of all that is there.
func (b *bench) fresh() {
	d := b.document()
	d.State = ""
	clear(d.Fields)
	for _, name := range JWTSet().Names {
		v, err := secrets.Generate(secrets.JWT, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		d.Fields[name] = v.Reveal()
	}
	d.Fields["OTHER"] = "stays"
	if err := b.backend.Write(b.t.Context(), d); err != nil {
		b.t.Fatal(err)
	}
	if b.service != nil {
		b.service.Roll()
	}
}

func (b *bench) document() *secrets.Document {
	b.t.Helper()
	d, err := b.backend.Read(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func (b *bench) state() *setState {
	b.t.Helper()
	all, err := decodeState(b.document().State)
	if err != nil {
		b.t.Fatal(err)
	}
	if s := all.Sets["jwt"]; s != nil {
		return s
	}
	return new(setState)
}

func (b *bench) Check(context.Context) error { return nil }
func (b *bench) Roll(ctx context.Context, id string) error {
	b.rolled[id]++
	return b.roll(ctx, id)
}

func (b *bench) rotator() *Rotator {
	b.t.Helper()
	r, err := New(b.set, b.backend, "staging", b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Roller, r.Operator = b, "alice"
	r.now = func() time.Time { return b.now }
	r.Tell = func(l Level, text string) { b.lines = append(b.lines, string(l)+" "+text) }
	r.fault = func(point string) { b.points = append(b.points, point) }
	return r
}

func (b *bench) must(res *Result, err error) *Result {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%v\n%s", err, strings.Join(b.lines, "\n"))
	}
	return res
}

func (b *bench) history() []Entry {
	b.t.Helper()
	h, err := ReadHistory(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	return h.Rotations
}

// accepted says which of the values the whole service accepts.
func (b *bench) accepts(value string) bool {
	token, err := signJWT(value, nil, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	all := 0
	for i := range 3 {
		if b.service.Accepts(i, token) {
			all++
		}
	}
	return all == 3
}

// lostAnswer is a store whose answers to writes are lost: the write that follows takes the
// first for somebody else's.
type lostAnswer struct{ secrets.Store }

func (s lostAnswer) Write(ctx context.Context, d *secrets.Document) error {
	if err := s.Store.Write(ctx, d); err != nil {
		return err
	}
	return secrets.ErrConflict
}

// TestLostAnswers: a run knows its own writes again.
func TestLostAnswers(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	r := b.rotator()
	r.Store = lostAnswer{r.Store}
	b.must(r.Rotate(t.Context(), Options{}))
}
