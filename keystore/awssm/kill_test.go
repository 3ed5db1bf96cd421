package awssm_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

// dieAt lets the n-th request from now be the last: it is carried out or not,
// the client hears nothing of it, and of further ones none is carried out.
func (s *server) dieAt(n int, carriedOut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.calls) + n
	dead := refused("AccessDeniedException", "The client is dead.")
	s.before = func(n int, _ string, w http.ResponseWriter, _ *http.Request) bool {
		if n > last || n == last && !carriedOut {
			dead.send(w)
			return true
		}
		return false
	}
	s.after = func(n int, _, _ string) *failure {
		if n == last {
			return dead
		}
		return nil
	}
}

func (s *server) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = nil, nil
}

// A Store that ends at any request leaves the old key or the new one current,
// and every former key in its place; the same call, or one for another key,
// then finishes.
func TestKilled(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	kinds := map[string]struct {
		requests int
		field    string
		prepare  func(*testing.T, string, []*kek.Key)
		former   int // of the keys, so many are there before
	}{
		"rotation":     {5, "", func(t *testing.T, uri string, keys []*kek.Key) { stores(t, open(t, uri), "", keys[:2]...) }, 2},
		"of a field":   {5, "#key", func(t *testing.T, uri string, keys []*kek.Key) { stores(t, open(t, uri), "", keys[:2]...) }, 2},
		"first key":    {3, "", func(*testing.T, string, []*kek.Key) {}, 0},
		"secret empty": {6, "", func(t *testing.T, uri string, _ []*kek.Key) { create(t, uri, nil, nil) }, 0},
	}
	for kind, k := range kinds {
		for n := 1; n <= k.requests; n++ {
			for _, carriedOut := range []bool{false, true} {
				for _, same := range []bool{true, false} {
					name := fmt.Sprintf("%s/request %d, carried out %v, same key again %v", kind, n, carriedOut, same)
					t.Run(name, func(t *testing.T) {
						keys := generate(4)
						uri := newName(t) + k.field
						k.prepare(t, uri, keys)
						var before kek.ID
						if k.former > 0 {
							before = keys[k.former-1].ID()
						}
						s := openWith(t, awssm.Quick(awssm.Options{}), uri)
						server.dieAt(n, carriedOut)
						err := s.Store(t.Context(), keys[2], before)
						if err == nil && n < k.requests {
							t.Fatal("it stored the key all the same")
						}
						quiet(t, err, keys...)
						server.heal()

						current := currentID(t, s)
						if current != before && current != keys[2].ID() {
							t.Fatalf("the current key is %q", current)
						}
						there := k.former
						if current == keys[2].ID() {
							there++
						}
						if current != "" && len(ids(t, s)) != there {
							t.Errorf("a key that was never current is listed: %v", ids(t, s))
						}
						next := keys[2]
						want := append([]*kek.Key{}, keys[:k.former]...)
						if !same {
							if next = keys[3]; current == keys[2].ID() {
								want = append(want, keys[2])
							}
						}
						if err := s.Store(t.Context(), next, current); err != nil {
							t.Fatal(err)
						}
						got := ids(t, s)
						if got[0] != next.ID() || len(got) != len(want)+1 {
							t.Fatalf("versions %v", got)
						}
						for _, key := range want {
							if !slices.Contains(got, key.ID()) {
								t.Errorf("key %s is lost: %v", key.ID(), got)
							}
						}
					})
				}
			}
		}
		// The figure above is right when one request more changes nothing.
		t.Run(kind+"/requests", func(t *testing.T) {
			keys := generate(4)
			uri := newName(t) + k.field
			k.prepare(t, uri, keys)
			var before kek.ID
			if k.former > 0 {
				before = keys[k.former-1].ID()
			}
			from := len(server.asked())
			stores(t, open(t, uri), before, keys[2])
			if got := server.asked()[from:]; len(got) != k.requests {
				t.Errorf("it takes %d requests: %v", len(got), got)
			}
		})
	}
}

// currentID is the current key's id, or "" when there is none.
func currentID(t *testing.T, s *awssm.Secret) kek.ID {
	t.Helper()
	key, err := s.Load(t.Context())
	if err == nil {
		return key.ID()
	}
	wants(t, err, keystore.ErrNotFound, "")
	return ""
}

// With all stages in use Store is refused, and no key is given up for it.
func TestStagesRunOut(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	name := newName(t)
	s := open(t, name)
	keys := generate(19)
	stores(t, s, "", keys[:18]...)
	wants(t, s.Store(t.Context(), keys[18], keys[17].ID()), keystore.ErrRefused, "--version-stage takumi-KEYID", keys...)
	loads(t, name, keys[17])
	if got := ids(t, s); len(got) != 18 {
		t.Errorf("%d keys are left", len(got))
	}
}
