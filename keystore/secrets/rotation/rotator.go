package rotation

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// Level is that of a line of the log, as the handbook has them.
type Level string

const (
	Info    Level = "INFO"
	Warning Level = "WARNING"
	Success Level = "SUCCESS"
	Error   Level = "ERROR"
)

// Maker makes new values.
type Maker interface {
	// Check fails when Make could not work.
	Check(ctx context.Context) error
	// Make returns new values of all names. Whatever it prepares elsewhere (a password of
	// the role that nobody uses) may be prepared again: a run that is killed calls it anew.
	Make(ctx context.Context, current map[string]string) (map[string]string, error)
	// Retire ends what is not current any more: at the end of the grace period, and at
	// once, with what is open by them, when they were stolen. It may be called again.
	Retire(ctx context.Context, current map[string]string, stolen bool) error
}

// Roller brings new values to what uses them, and returns when they are there. Calls
// with an id that it has carried out do not restart anything again.
type Roller interface {
	Check(ctx context.Context) error
	Roll(ctx context.Context, id string) error
}

// Prover proves which values are accepted.
type Prover interface {
	Prove(ctx context.Context, accepted, rejected []map[string]string) error
}

// Rotator rotates one set. Its methods are for one goroutine; several Rotators, on
// several hosts, are kept apart by the lease.
type Rotator struct {
	Set         *Set
	Store       secrets.Store
	Environment string
	Dir         string // of the lock, the log and the history of this host
	Operator    string

	Maker  Maker
	Roller Roller // may be nil
	Prover Prover // may be nil

	// Tell is given each step, for the log; no text holds a secret.
	Tell func(Level, string)

	now   func() time.Time
	fault func(point string) // tests end a run here
	known []string           // values that no text may have
}

// Options say how a rotation is asked for.
type Options struct {
	Force       bool // although it is not due, and outside the window
	EvenInGrace bool // although former values are still accepted, which then die
	Compromised bool // the former values are kept nowhere
	NoProof     bool // in production, although health, rollout or proof are not configured
	First       bool // there are no values yet
	DryRun      bool
}

// Result is what came of it.
type Result struct {
	ID         string    `json:"id,omitempty"`
	Set        string    `json:"set"`
	Action     string    `json:"action"`
	Due        bool      `json:"due"`
	Why        string    `json:"why"`
	DryRun     bool      `json:"dry_run,omitempty"`
	Changed    bool      `json:"changed"`
	Resumed    bool      `json:"resumed,omitempty"`
	GraceUntil time.Time `json:"grace_until,omitzero"`
	NextDue    time.Time `json:"next_due,omitzero"`
	Plan       []string  `json:"plan,omitempty"`
	Warnings   []string  `json:"warnings,omitempty"`
	Emergency  []string  `json:"emergency,omitempty"`

	former map[string]string // values that were current, for the proof; never printed
}

// New returns a Rotator of a set and the backend that it is in.
func New(set *Set, backend secrets.Backend, environment, dir string) (*Rotator, error) {
	store, ok := backend.(secrets.Store)
	if !ok {
		return nil, fail.As(fail.Usage, joinHint(backend), fmt.Errorf("the set %s is spread over several secrets of %s, which cannot be changed in one step", set.Name, backend))
	}
	r := &Rotator{Set: set, Store: store, Environment: environment, Dir: dir, now: time.Now,
		Operator: audit.UserName(), Tell: func(Level, string) {}, fault: func(string) {}}
	production := environment == "production"
	var err error
	if r.Maker, err = newMaker(set, production); err != nil {
		return nil, err
	}
	r.Roller, err = newRoller(set, production)
	r.Prover = newProver(set, production)
	return r, err
}

func joinHint(b secrets.Backend) string {
	switch kind, _, _ := strings.Cut(b.String(), " "); {
	case kind == secrets.AWS:
		return "join them in one JSON secret, and name it: secret: aws-secrets-manager:takumi/ENVIRONMENT/jwt"
	case strings.HasPrefix(kind, secrets.Files):
		return "join them in one file of NAME=VALUE lines: secret: dotenv:PATH, or rotate where the files come from"
	}
	return "name a secret that holds all of them: aws-secrets-manager:ID, vault:MOUNT/PATH, kubernetes:NAMESPACE/NAME or dotenv:PATH"
}

// lock keeps runs of this host apart, and says of a former one that it is dead.
func (r *Rotator) lock(ctx context.Context) (*fsutil.Lock, string, error) {
	if err := fsutil.MkdirAll(r.Dir); err != nil {
		return nil, "", fmt.Errorf("making the folder of the rotation: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(r.Dir, "."+r.Set.Name+".lock"))
	if err != nil {
		return nil, "", err
	}
	lock, err := fsutil.LockFile(path)
	if errors.Is(err, fsutil.ErrHeld) {
		if _, _, s, readErr := r.read(ctx); readErr == nil && s.Op != nil {
			err = busy(s.Op)
		}
	}
	return lock, audit.Host() + ":" + path, err
}

func (r *Rotator) busyWith(o *op, holder string) error {
	if o == nil || o.Holder == holder || r.now().After(o.LeaseUntil) {
		return nil
	}
	return busy(o)
}

func (r *Rotator) missing(d *secrets.Document) []string {
	var names []string
	for _, name := range r.Set.Names {
		if d.Fields[name] == "" {
			names = append(names, name)
		}
	}
	return names
}

// values are those of the set in a document, under the current names.
func (r *Rotator) values(d *secrets.Document, suffix string) map[string]string {
	found := make(map[string]string)
	for _, name := range r.Set.Names {
		if v := d.Fields[name+suffix]; v != "" {
			found[name] = v
		}
	}
	return found
}

// put writes values under the names with a suffix, and takes away those without one.
func (r *Rotator) put(d *secrets.Document, suffix string, values map[string]string) {
	for _, name := range r.Set.Names {
		if v := values[name]; v != "" {
			d.Fields[name+suffix] = v
		} else {
			delete(d.Fields, name+suffix)
		}
	}
}

func (r *Rotator) log(l Level, format string, args ...any) {
	r.Tell(l, fmt.Sprintf(format, args...))
}
