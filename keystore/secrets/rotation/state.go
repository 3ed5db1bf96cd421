package rotation

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

type documentState struct {
	Sets map[string]*setState `json:"sets"`
}

type setState struct {
	ID         string    `json:"id,omitempty"` // of the last rotation
	RotatedAt  time.Time `json:"rotated_at,omitzero"`
	GraceUntil time.Time `json:"grace_until,omitzero"`
	FailedAt   time.Time `json:"failed_at,omitzero"` // of the last one, if it failed
	// Used are salted hashes (HMAC-SHA256, RFC 2104, cut to 128 bits) of every value that
	// the set has had.
	Salt []byte   `json:"salt,omitempty"`
	Used []string `json:"used,omitempty"`
	Op   *op      `json:"op,omitempty"` // that is under way
}

// mostUsed bounds the hashes: a backend keeps 64 KiB.
const mostUsed = 400

// op is a rotation that is under way: who has the lease, and how far it is.
type op struct {
	ID          string    `json:"id"`
	Action      action    `json:"action"`
	Step        step      `json:"step"`
	Operator    string    `json:"operator"`
	Host        string    `json:"host"`
	Holder      string    `json:"holder"` // the lock file that the run holds
	Run         string    `json:"run"`    // random, of the run
	Started     time.Time `json:"started"`
	LeaseUntil  time.Time `json:"lease_until"`
	Compromised bool      `json:"compromised,omitempty"`
	Forced      bool      `json:"forced,omitempty"`
	Why         string    `json:"why,omitempty"`
	Cause       string    `json:"cause,omitempty"`  // of a roll-back
	Former      string    `json:"former,omitempty"` // the backend's version that had the values which are to be refused
}

type (
	action string
	step   string
)

const (
	rotate   action = "rotate"
	finish   action = "finish"
	rollback action = "rollback"

	begun     step = "begun"     // nothing but the intent is stored
	announced step = "announced" // new values stand as _PREVIOUS
	stored    step = "stored"    // new values are current, former ones _PREVIOUS
	removed   step = "removed"   // former values are taken away
	reverted  step = "reverted"  // former values are current again
)

// ErrBusy is wrapped when somebody else has the lease.
var ErrBusy = fail.New(fail.Failed, "wait for it, or until its lease ends, and run the command again", "somebody else is rotating the secrets")

func busy(o *op) error {
	return fmt.Errorf("%w: %s on %s, since %s; the lease ends %s", ErrBusy, o.Operator, o.Host, o.Started.UTC().Format(time.RFC3339), o.LeaseUntil.UTC().Format(time.RFC3339))
}

func decodeState(text string) (*documentState, error) {
	var s documentState
	if text != "" {
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fail.As(fail.Key, "put back what "+secrets.StateField+" held, or take it away when no rotation is under way", errors.New("the state of the rotation in the backend cannot be read"))
		}
	}
	if s.Sets == nil {
		s.Sets = make(map[string]*setState)
	}
	return &s, nil
}

func (r *Rotator) read(ctx context.Context) (*secrets.Document, *documentState, *setState, error) {
	d, err := r.Store.Read(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	r.learn(d.Fields)
	all, err := decodeState(d.State)
	if err != nil {
		return nil, nil, nil, err
	}
	if all.Sets[r.Set.Name] == nil {
		all.Sets[r.Set.Name] = new(setState)
	}
	return d, all, all.Sets[r.Set.Name], nil
}

// errTaken means that the lease went to another run.
var errTaken = errors.New("the lease went to another run")

const conflicts = 8 // tries to write next to others

// update changes the document in one write. When others wrote meanwhile it reads again
// and change decides anew; once the operation is no longer ours, it stops.
func (r *Rotator) update(ctx context.Context, mine *op, change func(*secrets.Document, *setState) error) error {
	var wrote *secrets.Document
	for try := 0; ; try++ {
		d, all, s, err := r.read(ctx)
		if err != nil {
			return err
		}
		// The conflict may be with a write of ours whose answer was lost.
		if wrote != nil && d.State == wrote.State && maps.Equal(d.Fields, wrote.Fields) {
			return nil
		}
		if mine != nil && (s.Op == nil || s.Op.Run != mine.Run) {
			if s.Op != nil {
				return fmt.Errorf("%w: %w", errTaken, busy(s.Op))
			}
			return errTaken
		}
		if err := change(d, s); err != nil {
			return err
		}
		if s.Op != nil {
			s.Op.LeaseUntil = r.now().Add(r.lease()).UTC().Truncate(time.Second)
		}
		text, err := json.Marshal(all)
		if err != nil {
			return fmt.Errorf("writing the state: %w", err)
		}
		d.State = string(text)
		wrote = d
		err = r.Store.Write(ctx, d)
		if err == nil || try == conflicts || !errors.Is(err, secrets.ErrConflict) {
			return err
		}
		select {
		case <-time.After(time.Duration(try+1) * 20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lease is how long a run may be silent: as long as its longest step, and some.
func (r *Rotator) lease() time.Duration {
	return max(15*time.Minute, time.Duration(r.Set.Rollout.Timeout)+10*time.Minute)
}

func (s *setState) hash(name, value string) string {
	h := hmac.New(sha256.New, s.Salt)
	fmt.Fprintf(h, "%s\x00%s", name, value)
	return base64.RawStdEncoding.EncodeToString(h.Sum(nil)[:16])
}

func (s *setState) spend(values map[string]string) {
	if len(s.Salt) == 0 {
		s.Salt = make([]byte, 16)
		rand.Read(s.Salt)
	}
	for name, value := range values {
		if h := s.hash(name, value); value != "" && !slices.Contains(s.Used, h) {
			s.Used = append(s.Used, h)
		}
	}
	if n := len(s.Used); n > mostUsed {
		s.Used = s.Used[n-mostUsed:]
	}
}

// wasUsed names a value that the set has had before.
func (s *setState) wasUsed(values map[string]string) string {
	for name, value := range values {
		if len(s.Salt) > 0 && slices.Contains(s.Used, s.hash(name, value)) {
			return name
		}
	}
	return ""
}
