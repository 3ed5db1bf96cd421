package history

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestEnd: a key ends wherever it is current, and no other does, nor does a time change
// that is over.
func TestEnd(t *testing.T) {
	h := open(t, t.TempDir())
	const id, other = "00000000000000f1", "00000000000000c1"
	past := today.Add(-time.Hour)
	retired := Record{ID: id, Provider: "file:/old", Retired: past, DestroyAfter: past}
	if err := h.save(document{Keys: []Record{retired, {ID: id, Provider: "file:/a"}, {ID: id, Provider: "file:/b"}, {ID: other, Provider: "file:/c"}}}); err != nil {
		t.Fatal(err)
	}
	after := today.Add(time.Hour)
	if got, err := h.End(id, today.Add(300*time.Millisecond), time.Hour); err != nil || !got.Equal(after) {
		t.Errorf("%v, %v", got, err)
	}
	want := []Record{
		retired, {ID: id, Provider: "file:/a", Retired: today, DestroyAfter: after},
		{ID: id, Provider: "file:/b", Retired: today, DestroyAfter: after}, {ID: other, Provider: "file:/c"},
	}
	if got := h.Records(); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestSince(t *testing.T) {
	early, late := today.Add(-time.Hour), today
	for _, tc := range []struct{ created, activated, want time.Time }{
		{early, late, late}, {early, time.Time{}, early}, {time.Time{}, late, late}, {},
	} {
		if got := (Record{Created: tc.created, Activated: tc.activated}).Since(); !got.Equal(tc.want) {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// TestMalformedIntents: each part of an unfinished change is looked at by itself.
func TestMalformedIntents(t *testing.T) {
	good := Intent{Provider: "vault:a/b", Place: "https://vault/a", Old: "0123456789abcdef", New: "0123456789abcdee", Begun: today, Command: CommandStore}
	for name, change := range map[string]func(i *Intent){
		"":         func(*Intent) {},
		"old":      func(i *Intent) { i.Old = "x" },
		"new":      func(i *Intent) { i.New = "0123456789ABCDEF" },
		"one key":  func(i *Intent) { i.New = i.Old },
		"provider": func(i *Intent) { i.Provider = "vault" },
		"place":    func(i *Intent) { i.Place = "nowhere" },
		"time":     func(i *Intent) { i.Begun = time.Time{} },
		"command":  func(i *Intent) { i.Command = "shred" },
	} {
		i := good
		change(&i)
		if err := (document{Version: version, Keys: []Record{}, Intents: []Intent{i}}).check(0); (err == nil) != (name == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMalformedKeys: and so is each part of a record.
func TestMalformedKeys(t *testing.T) {
	good := Record{ID: "0123456789abcdef", Provider: "file:/k"}
	for name, change := range map[string]func(r *Record){
		"":                        func(*Record) {},
		"with a place":            func(r *Record) { r.Place = "https://a" },
		"retired":                 func(r *Record) { r.Retired, r.DestroyAfter, r.Cleared = today, today, today },
		"long, and good":          func(r *Record) { r.Provider = "file:" + strings.Repeat("x", 8187) },
		"too long":                func(r *Record) { r.Provider = "file:" + strings.Repeat("x", 8188) },
		"not text":                func(r *Record) { r.Provider = "file:\xff" },
		"a bad place":             func(r *Record) { r.Place = "a\n:" },
		"current and destroyed":   func(r *Record) { r.DestroyAfter = today },
		"current and cleared":     func(r *Record) { r.Cleared = today },
		"longer than it may be":   nil,
		"as long, and good":       nil,
		"of an unknown version":   nil,
		"without a list of keys":  nil,
		"of two places, and good": nil,
	} {
		doc, size, bad := document{Version: version, Keys: []Record{good}}, maxSize, !strings.Contains(name, "good")
		switch {
		case change != nil:
			change(&doc.Keys[0])
			bad = bad && !slices.Contains([]string{"", "with a place", "retired"}, name)
		case strings.HasPrefix(name, "longer"):
			size++
		case strings.Contains(name, "version"):
			doc.Version++
		case strings.Contains(name, "without"):
			doc.Keys = nil
		case strings.Contains(name, "two"):
			doc.Keys = append(doc.Keys, Record{ID: good.ID, Provider: "file:/l"})
		}
		if err := doc.check(size); (err != nil) != bad {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestIntentsAreBounded: of one place the oldest tries make room, and those of others stay.
func TestIntentsAreBounded(t *testing.T) {
	var d document
	d.begin(Intent{Provider: "file:/other"})
	for n := range maxIntents + 2 {
		d.begin(Intent{Provider: "file:/k", Begun: today.Add(time.Duration(n) * time.Second)})
	}
	all := d.intents(Site{URI: "file:/k"})
	if len(all) != maxIntents || !all[0].Begun.Equal(today.Add(2*time.Second)) || len(d.Intents) != maxIntents+1 {
		t.Errorf("%d of %d: %+v", len(all), len(d.Intents), all)
	}
}

// TestAdopted: who adopts what is there ends the tries that began with another key.
func TestAdopted(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	v.fail = func(string) error { return errInjected }
	rotate(t, dir, v, Options{})
	v.put(kek.Generate())
	if _, err := rotate(t, dir, v, Options{}); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("without adopting: %v", err)
	}
	if _, err := rotate(t, dir, v, Options{Adopt: true}); !errors.Is(err, errInjected) {
		t.Errorf("adopting: %v", err)
	}
	if left := read(t, dir).Unfinished(); len(left) != 1 || left[0].Old != v.current() {
		t.Errorf("left unfinished: %+v", left)
	}
}

// TestAdoptedAlone: adopting gives a time to what was lost, and moves no other's.
func TestAdoptedAlone(t *testing.T) {
	past := today.Add(-time.Hour)
	d := document{Keys: []Record{
		{ID: "a", Provider: place, Retired: past}, {ID: "b", Provider: place, Retired: past, DestroyAfter: today},
		{ID: "c", Provider: "file:/other", Retired: past},
	}}
	d.activate(Record{ID: "d", Provider: place}, "", Options{Now: today, Grace: time.Hour, Adopt: true})
	var got []time.Time
	for _, r := range d.Keys {
		got = append(got, r.DestroyAfter)
	}
	if want := []time.Time{today.Add(time.Hour), today, {}, {}}; !slices.Equal(got, want) {
		t.Errorf("to be destroyed after %v, want %v", got, want)
	}
}

// TestCreated: one of the records of a key knows when it was made, and no other key's does.
func TestCreated(t *testing.T) {
	d := document{Keys: []Record{{ID: "other", Created: made}, {ID: "a"}, {ID: "a", Created: today}}}
	if got, none := d.created("a"), d.created("unknown"); !got.Equal(today) || !none.IsZero() {
		t.Errorf("%v, and of an unknown one %v", got, none)
	}
}

// TestPutFinishes: a key that an earlier call stored is in use since then.
func TestPutFinishes(t *testing.T) {
	h, v, key := open(t, t.TempDir()), newVault(1), kek.Generate()
	old := v.current()
	v.fail = func(step string) error {
		if step == "stored" {
			return errInjected
		}
		return nil
	}
	if _, err := Put(t.Context(), h, v, key, Options{Now: today, Replace: true}); !errors.Is(err, errInjected) || v.current() != key.ID() {
		t.Fatal(err)
	}
	v.fail = nil
	later := today.Add(time.Hour)
	r, err := Put(t.Context(), h, v, key, Options{Now: later})
	if err != nil || !r.Finished || r.Old != old || !r.NextDue.Equal(today.Add(DefaultMaxAge)) || !r.DestroyAfter.Equal(later.Add(DefaultGrace)) {
		t.Errorf("%+v, %v", r, err)
	}
	if got, _ := h.Find(Site{URI: place}, key.ID()); !got.Live() || !got.Activated.Equal(today) {
		t.Errorf("%+v", got)
	}
}

// TestUnreadable: a history of which the system says nothing is not called damaged.
func TestUnreadable(t *testing.T) {
	real := sys
	defer func() { sys = real }()
	sys.open = func(string, int, fs.FileMode) (*os.File, error) {
		f, err := os.Open(os.DevNull)
		return f, errors.Join(err, f.Close())
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrClosed) || errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// TestLargest: a history of the greatest size is read, whole.
func TestLargest(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, bytes.Repeat([]byte(" "), maxSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := readFile(path); err != nil || len(text) != maxSize {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// TestFinishFails: what finishes an earlier run says when it does not, and a dry run
// finishes nothing.
func TestFinishFails(t *testing.T) {
	for _, fault := range []string{"write", "store", "dry"} {
		dir, v := t.TempDir(), newVault(1)
		v.fail = func(step string) error {
			if step == "stored" {
				return errInjected
			}
			return nil
		}
		rotate(t, dir, v, Options{})
		v.fail = nil
		func() {
			real := sys
			defer func() { sys = real }()
			switch fault {
			case "write":
				sys.create = func(string) (file, error) { return nil, syscall.EIO }
			case "store":
				v.fail = func(string) error { return syscall.EIO }
			}
			r, err := rotate(t, dir, v, Options{DryRun: fault == "dry"})
			if (err == nil) != (fault == "dry") || err != nil && !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %v", fault, err)
			}
			if err == nil && (!r.Finished || r.New != v.current() || !r.NextDue.Equal(today.Add(DefaultMaxAge)) || !r.DestroyAfter.Equal(today.Add(DefaultGrace))) {
				t.Errorf("%s: %+v", fault, r)
			}
		}()
		if left := read(t, dir).Unfinished(); len(left) != 1 {
			t.Errorf("%s: left unfinished: %+v", fault, left)
		}
		v.fail = nil
		mustRotate(t, dir, v, Options{})
		agrees(t, dir, v)
	}
}

// reluctant is a vault that says once, at the nth question, that its place is unknown.
type reluctant struct {
	*vault
	asked, fails int
	why          error
}

func (r *reluctant) Place(context.Context) (string, error) {
	if r.asked++; r.asked == r.fails {
		return "", r.why
	}
	return "https://place", nil
}

// TestPlaceUnknown: without its place no key is changed; one that is stored already is said
// to be, and is recorded by the next call.
func TestPlaceUnknown(t *testing.T) {
	h := open(t, t.TempDir())
	key := kek.Generate()
	for _, why := range []error{errInjected, &keystore.Error{Kind: keystore.ErrNotFound}} {
		v := &reluctant{vault: newVault(1), fails: 1, why: why}
		if _, err := Put(t.Context(), h, v, key, Options{Replace: true}); !errors.Is(err, why) || len(v.keys) != 1 {
			t.Errorf("put: %v", err)
		}
		v.asked = 0
		if _, err := Rotate(t.Context(), h, v, Options{}); !errors.Is(err, why) || len(v.keys) != 1 {
			t.Errorf("rotate: %v", err)
		}
		v.asked = 0
		if _, err := Add(t.Context(), h, v, false, Options{}); !errors.Is(err, why) {
			t.Errorf("add: %v", err)
		}
	}
	empty := &reluctant{vault: newVault(0), fails: 1, why: errInjected}
	if _, err := Put(t.Context(), h, empty, key, Options{}); !errors.Is(err, errInjected) {
		t.Errorf("where nothing is: %v", err)
	}
	if len(h.Records()) != 0 {
		t.Errorf("the history has %+v", h.Records())
	}
	v := &reluctant{vault: newVault(0), fails: 2, why: errInjected}
	if _, err := Put(t.Context(), h, v, key, Options{}); !errors.Is(err, errInjected) || v.current() != key.ID() || len(h.Records()) != 0 {
		t.Errorf("after it was stored: %v", err)
	}
	if r, err := Put(t.Context(), h, v, key, Options{}); err != nil || !r.Unchanged || len(h.Records()) != 1 {
		t.Errorf("again: %+v, %v", r, err)
	}
}

// TestPutAgain: a key that is there keeps its time, one that was retired is noted, and
// another is not replaced unless that is asked for.
func TestPutAgain(t *testing.T) {
	dir, v := t.TempDir(), newVault(1)
	mustRotate(t, dir, v, Options{})
	h := open(t, dir)
	first, current := v.keys[0], v.keys[1]
	r, err := Put(t.Context(), h, v, current, Options{Now: today.Add(time.Hour)})
	if err != nil || !r.Unchanged || r.Finished || r.Old != "" || len(r.Notes) != 0 || !r.NextDue.Equal(today.Add(DefaultMaxAge)) {
		t.Errorf("the current one: %+v, %v", r, err)
	}
	if got, _ := h.Find(Site{URI: place}, current.ID()); !got.Activated.Equal(today) {
		t.Errorf("%+v", got)
	}
	if _, err := Put(t.Context(), h, v, first, Options{}); !errors.Is(err, keystore.ErrConflict) || len(v.keys) != 2 {
		t.Errorf("the former one: %v", err)
	}
	later := today.Add(time.Hour)
	r, err = Put(t.Context(), h, v, first, Options{Now: later, Replace: true})
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "in use again") || r.Old != current.ID() || !r.DestroyAfter.Equal(later.Add(DefaultGrace)) {
		t.Errorf("replacing: %+v, %v", r, err)
	}
	if got, _ := h.Find(Site{URI: place}, first.ID()); !got.Live() || !got.Activated.Equal(later) || !got.Created.Equal(made) || !got.DestroyAfter.IsZero() {
		t.Errorf("%+v", got)
	}
	if got, _ := h.Find(Site{URI: place}, current.ID()); !got.Retired.Equal(later) || !got.DestroyAfter.Equal(later.Add(DefaultGrace)) {
		t.Errorf("%+v", got)
	}
	h.doc.Keys = []Record{{ID: first.ID(), Provider: place}} // from before the history
	if r, err := Put(t.Context(), h, v, first, Options{Now: today}); err != nil || !r.NextDue.Equal(today.Add(DefaultMaxAge)) {
		t.Errorf("of an unknown age: %+v, %v", r, err)
	}
	empty := newVault(0)
	empty.fail = func(string) error { return errInjected }
	h2 := open(t, t.TempDir())
	if _, err := Put(t.Context(), h2, empty, current, Options{}); !errors.Is(err, errInjected) {
		t.Error(err)
	}
	if _, err := os.Stat(h2.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a history of nothing was written: %v", err)
	}
}

// TestAddFormer: a key that is kept on its own is a former one from now on, one that was
// lost is so no more, and the times are those of the options or the usual ones.
func TestAddFormer(t *testing.T) {
	h, v := open(t, t.TempDir()), newVault(1)
	real := sys
	defer func() { sys = real }()
	sys.now = func() time.Time { return today }
	id := v.current()
	for _, tc := range []struct {
		had  *Record
		made int
		want Record
	}{
		{nil, 1, Record{ID: id, Provider: place, Retired: today, DestroyAfter: today.Add(DefaultGrace)}},
		{&Record{ID: id, Provider: place, Retired: made}, 1, Record{ID: id, Provider: place, Retired: made, DestroyAfter: made.Add(DefaultGrace)}},
		{&Record{ID: id, Provider: place, Retired: made, DestroyAfter: today}, 0, Record{ID: id, Provider: place, Retired: made, DestroyAfter: today}},
	} {
		h.doc.Keys = nil
		if tc.had != nil {
			h.doc.Keys = []Record{*tc.had}
		}
		ids, err := Add(t.Context(), h, v, true, Options{})
		if err != nil || len(ids) != tc.made || !slices.Equal(h.Records(), []Record{tc.want}) {
			t.Errorf("%+v: %v, %v, %+v", tc.had, ids, err, h.Records())
		}
	}
}

// undated is a vault that does not know when its keys were made.
type undated struct{ *vault }

func (u undated) Versions(ctx context.Context) ([]keystore.Version, error) {
	all, err := u.vault.Versions(ctx)
	for i := range all {
		all[i].Created = time.Time{}
	}
	return all, err
}

// TestAddUndated: where nobody knows when the current key came, the former one counts as
// retired now; and when nothing is new, nothing is written.
func TestAddUndated(t *testing.T) {
	h, u := open(t, t.TempDir()), undated{newVault(2)}
	if ids, err := Add(t.Context(), h, u, false, Options{Now: today}); err != nil || len(ids) != 2 {
		t.Fatal(ids, err)
	}
	if got, _ := h.Find(Site{URI: place}, u.keys[0].ID()); !got.Retired.Equal(today) {
		t.Errorf("%+v", got)
	}
	real := sys
	defer func() { sys = real }()
	sys.create = func(string) (file, error) { return nil, syscall.EIO }
	if ids, err := Add(t.Context(), h, u, false, Options{Now: today}); err != nil || len(ids) != 0 {
		t.Errorf("again: %v, %v", ids, err)
	}
}

// watched is a vault that keeps what it gave out.
type watched struct {
	*vault
	given []*kek.Key
}

func (w *watched) Load(ctx context.Context) (*kek.Key, error) {
	key, err := w.vault.Load(ctx)
	if key != nil {
		w.given = append(w.given, key)
	}
	return key, err
}

// TestKeysAreWiped: no key that was made or fetched stays in memory.
func TestKeysAreWiped(t *testing.T) {
	w := &watched{vault: newVault(1)}
	h := open(t, t.TempDir())
	rejected := w.current()
	generate := func() *kek.Key {
		key := kek.Generate()
		if rejected == "" {
			rejected = key.ID()
		}
		w.given = append(w.given, key)
		return key
	}
	o := Options{generate: generate, InUse: func(id kek.ID) bool { return id == rejected }}
	rejected = ""
	if _, err := Rotate(t.Context(), h, w, o); err != nil {
		t.Fatal(err)
	}
	w.fail = func(step string) error {
		if step == "stored" {
			return errInjected
		}
		return nil
	}
	if _, err := Rotate(t.Context(), h, w, o); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	w.fail = nil
	if r, err := Rotate(t.Context(), h, w, o); err != nil || !r.Finished {
		t.Fatal(r, err)
	}
	if len(w.given) < 7 {
		t.Errorf("%d keys", len(w.given))
	}
	for n, key := range w.given {
		if strings.Trim(string(key.Bytes()), "\x00") != "" {
			t.Errorf("key %d of %d is there still", n, len(w.given))
		}
	}
}

// TestAddNothing: of a place without a key nothing is recorded.
func TestAddNothing(t *testing.T) {
	h := open(t, t.TempDir())
	if ids, err := Add(t.Context(), h, newVault(0), false, Options{}); !errors.Is(err, keystore.ErrNotFound) || ids != nil || len(h.Records()) != 0 {
		t.Errorf("%v, %v", ids, err)
	}
}
