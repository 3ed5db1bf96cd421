package vault

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func testStoreAndLoad(t *testing.T, v *site) {
	s := source(t, v.mount+"/first/key")
	loadRefused(t, s, keystore.ErrNotFound, "no secret first/key in "+v.mount, "vault kv put -mount="+v.mount+" first/key key=@KEYFILE")
	key := stores(t, s, "")
	loads(t, s, key)
	fields := v.read(t, v.mount+"/data/first/key")["data"].(map[string]any)
	if len(fields) != 1 || fields["key"] != hexOf(key) {
		t.Error("the secret does not hold the 64 digits in its field key, and nothing else")
	}
	// Another connection, and another spelling.
	loads(t, source(t, v.mount+"//first/key#key@1"), key)
	if err := s.Store(t.Context(), key, "0000000000000000"); err != nil {
		t.Errorf("storing the current key again: %v", err)
	}
	if got := names(t, s); got != "1*" {
		t.Errorf("versions %q after storing the same key twice", got)
	}
}

func testRotation(t *testing.T, v *site) {
	v.put(t, "rotation", `{"owner":"ops <a&b>","number":12345678901234567890}`)
	// A real Vault reads numbers as floating point, so what counts is what it
	// gives back.
	before := v.read(t, v.mount+"/data/rotation")["data"].(map[string]any)
	s := source(t, v.mount+"/rotation#kek")
	first := stores(t, s, "")
	second := stores(t, s, first.ID())
	third := stores(t, s, second.ID())
	loads(t, s, third)

	if got := names(t, s); got != "4* 3 2 1" {
		t.Errorf("versions %q", got)
	}
	all, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range []*kek.Key{third, second, first} {
		loads(t, all[i].Source, key)
	}
	loadRefused(t, all[3].Source, keystore.ErrNotFound, `no field "kek"`, `it has "number", "owner"`)

	pinned := source(t, v.mount+"/rotation#kek@3")
	loads(t, pinned, second)
	if got := names(t, pinned); got != "3*" {
		t.Errorf("a pinned secret has versions %q", got)
	}
	refused(t, pinned.Store(t.Context(), kek.Generate(), second.ID()), keystore.ErrRefused, "cannot be changed", "@VERSION")
	loadRefused(t, source(t, v.mount+"/rotation#kek@9"), keystore.ErrNotFound, "no version 9", "vault kv metadata get")

	fields := v.read(t, v.mount+"/data/rotation")["data"].(map[string]any)
	if len(fields) != 3 || fields["owner"] != "ops <a&b>" || fields["number"] != before["number"] {
		t.Errorf("the other fields became %v and %v, were %v and %v", fields["owner"], fields["number"], before["owner"], before["number"])
	}
}

func testConflicts(t *testing.T, v *site) {
	s := source(t, v.mount+"/conflict")
	refused(t, s.Store(t.Context(), kek.Generate(), "0123456789abcdef"), keystore.ErrConflict, "no key, where key 0123456789abcdef was expected")
	key := stores(t, s, "")
	for _, before := range []kek.ID{"", "0123456789abcdef"} {
		refused(t, s.Store(t.Context(), kek.Generate(), before), keystore.ErrConflict, "it holds key "+string(key.ID()), "nothing was changed")
	}
	v.put(t, "conflict", `{"key":"not a key"}`)
	refused(t, s.Store(t.Context(), kek.Generate(), ""), keystore.ErrRefused, "hex digit")
	if got := names(t, s); got != "2* 1" {
		t.Errorf("versions %q: something was written", got)
	}
}

// Of many that rotate at once one wins, and the others hear of it.
func testRace(t *testing.T, v *site) {
	shared := source(t, v.mount+"/race")
	first := stores(t, shared, "")
	var winner atomic.Pointer[kek.Key]
	var wg sync.WaitGroup
	for i := range 8 {
		s := shared
		if i%2 == 0 {
			s = source(t, v.mount+"/race")
		}
		wg.Go(func() {
			key := kek.Generate()
			err := s.Store(t.Context(), key, first.ID())
			switch {
			case err == nil && !winner.CompareAndSwap(nil, key):
				t.Error("two writers won")
			case err != nil && !errors.Is(err, keystore.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if winner.Load() == nil {
		t.Fatal("nobody won")
	}
	loads(t, shared, winner.Load())
	loads(t, shared.at(1), first)
	if got := names(t, shared); got != "2* 1" {
		t.Errorf("versions %q", got)
	}
}

func testGone(t *testing.T, v *site) {
	s := source(t, v.mount+"/gone")
	first := stores(t, s, "")
	second := stores(t, s, first.ID())
	if _, err := v.admin.Delete(v.mount + "/data/gone"); err != nil {
		t.Fatal(err)
	}
	loadRefused(t, s, keystore.ErrNotFound, "version 2 was deleted at 20", "vault kv undelete -mount="+v.mount+" -versions=2 gone")
	behind := source(t, v.mount+"/gone")
	behind.conn.now = func() time.Time { return time.Now().Add(-time.Hour) }
	loadRefused(t, behind, keystore.ErrNotFound, "version 2 was deleted;")
	if got := names(t, s); got != "1 2 gone" {
		t.Errorf("versions %q, of which none is current", got)
	}
	refused(t, s.Store(t.Context(), kek.Generate(), second.ID()), keystore.ErrConflict)
	third := stores(t, s, "")
	loads(t, s, third)
	// Who looks for the key that is gone learns how to bring it back.
	_, err := keystore.NewRing(s).Find(t.Context(), []kek.ID{second.ID()})
	refused(t, err, keystore.ErrNotFound, "version 2 was deleted at 20", "vault kv undelete -mount="+v.mount+" -versions=2 gone")
	v.write(t, v.mount+"/undelete/gone", `{"versions":[2]}`)
	loads(t, s.at(2), second)

	v.write(t, v.mount+"/destroy/gone", `{"versions":[1,2,3]}`)
	loadRefused(t, s, keystore.ErrNotFound, "version 3 was destroyed")
	loadRefused(t, s.at(1), keystore.ErrNotFound, "version 1 was destroyed")
	_, err = s.Versions(t.Context())
	refused(t, err, keystore.ErrNotFound, "version 3 was destroyed")
	loads(t, s, stores(t, s, ""))
}

// Vault deletes versions for good when there are more than it keeps.
func testWindow(t *testing.T, v *site) {
	s := source(t, v.mount+"/window")
	v.write(t, v.mount+"/metadata/window", `{"max_versions":1}`)
	first := stores(t, s, "")
	refused(t, s.Store(t.Context(), kek.Generate(), first.ID()), keystore.ErrRefused,
		"delete version 1 for the next one, the last with key "+string(first.ID()), "vault kv metadata put -mount="+v.mount+" -max-versions=11 window")
	loads(t, s, first)

	v.write(t, v.mount+"/metadata/window", `{"max_versions":2}`)
	second := stores(t, s, first.ID())
	refused(t, s.Store(t.Context(), kek.Generate(), second.ID()), keystore.ErrRefused, "delete version 1", "vault kv destroy -mount="+v.mount+" -versions=1 window")
	loads(t, s.at(1), first)
	v.write(t, v.mount+"/destroy/window", `{"versions":[1]}`)
	third := stores(t, s, second.ID())
	loads(t, s.at(2), second)
	loads(t, s, third)
}

// A version goes without harm when a later one has the same key.
func testWindowOfOtherFields(t *testing.T, v *site) {
	key := kek.Generate()
	for i := range 12 {
		v.put(t, "many", `{"key":"`+hexOf(key)+`\n","note":`+strconv.Itoa(i)+`}`)
	}
	s := source(t, v.mount+"/many")
	loads(t, s, key)
	next := stores(t, s, key.ID())
	loads(t, s, next)
	loads(t, s.at(12), key)
}

func testMountWindow(t *testing.T, v *site) {
	mount := unique("narrow")
	v.enable(t, mount, "2")
	v.write(t, mount+"/config", `{"max_versions":1}`)
	s := source(t, mount+"/window")
	first := stores(t, s, "")
	refused(t, s.Store(t.Context(), kek.Generate(), first.ID()), keystore.ErrRefused, "no more than 1 of")
	loads(t, s, first)
}

func testDeleteAfter(t *testing.T, v *site) {
	v.write(t, v.mount+"/metadata/brief", `{"delete_version_after":"3600s"}`)
	s := source(t, v.mount+"/brief")
	key := kek.Generate()
	for range 2 { // the second time the key is there already
		refused(t, s.Store(t.Context(), key, ""), keystore.ErrRefused, "set to delete version 1", "delete_version_after", "vault kv undelete")
	}
	loads(t, s, key)
	refused(t, s.Store(t.Context(), kek.Generate(), key.ID()), keystore.ErrRefused, "set to delete version 1")
	v.write(t, v.mount+"/metadata/brief", `{"delete_version_after":"0s"}`)
	v.write(t, v.mount+"/undelete/brief", `{"versions":[1]}`)
	loads(t, s, stores(t, s, key.ID()))
}
