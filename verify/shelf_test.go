package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

func remembered(t *testing.T, dir string) map[string]entry {
	t.Helper()
	m, err := OpenMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]entry)
	if err := m.each(func(path string, e entry) { all[path] = e }); err != nil {
		t.Fatal(err)
	}
	for path, e := range all {
		if got := m.of(path); !reflect.DeepEqual(got, e) {
			t.Errorf("%q: %+v, want %+v", path, got, e)
		}
	}
	return all
}

// TestShelf: whatever the paths, and however many saves they came in, each is found again
// with what was last said of it, by two that write at once too.
func TestShelf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := mustOpen(t, dir), mustOpen(t, dir)
	want := make(map[string]entry)
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	odd := []string{"/a b\" {c", "/\xff\n", "/a/b", "/a-b", "/é", "s3://b/k?x"}
	for n := range 3000 {
		path := fmt.Sprintf("/b/%05d", n*7919%3001)
		if n < len(odd) {
			path = odd[n]
		}
		m := []*Memory{one, two}[n%2]
		e := entry{}
		if n%3 > 0 {
			e.Proof = &Proof{ID: fmt.Sprint(n), Level: Auth, At: at}
			m.put(path, *e.Proof)
		}
		if n%3 < 2 {
			e.Seen = &sight{Kind: "stream", Series: path, Created: at}
			m.see(path, *e.Seen)
			e.Seen.Series = string([]rune(path)) // JSON has no other bytes
		}
		want[path] = e
		if n%500 == 499 {
			if err := errors.Join(one.Save(nil), two.Save(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := remembered(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("%d are remembered, want %d", len(got), len(want))
	}
	one.put("/a/b", Proof{ID: "new", Level: Content})
	if err := one.Save(func(path string) bool { return path > "/b" && path < "/c" }); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(remembered(t, dir))); len(got) != len(odd) {
		t.Errorf("left are %q", got)
	}
	if p, _ := two.Of("/a/b"); p.ID == "new" {
		t.Error("another's save changes what was opened before")
	}
	if p, _ := mustOpen(t, dir).Of("/a/b"); p.ID != "new" {
		t.Errorf("%+v", p)
	}
}

func mustOpen(t *testing.T, dir string) *Memory {
	t.Helper()
	m, err := OpenMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestShelfDamaged: a file that is cut, or of which a byte is another, is not believed, and
// not written over.
func TestShelfDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := mustOpen(t, dir)
	for n := range 3 {
		m.put(fmt.Sprint("/b/", n), Proof{ID: "id", Level: Auth})
	}
	if err := m.Save(nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, MemoryName)
	whole := mustRead(t, path)
	try := func(what string, text []byte) {
		write(t, path, text)
		if m, err := OpenMemory(dir); !errors.Is(err, ErrMemory) {
			t.Errorf("%s: %v", what, err)
		} else if _, known := m.Of("/b/1"); known {
			t.Errorf("%s: it is believed", what)
		}
		m.put("/b/4", Proof{ID: "id", Level: Auth})
		if err := m.Save(nil); !errors.Is(err, ErrMemory) || !bytes.Equal(mustRead(t, path), text) {
			t.Errorf("%s: saved: %v", what, err)
		}
	}
	for n := 0; n < len(whole); n += 5 {
		try(fmt.Sprintf("cut at %d", n), whole[:n])
		other := bytes.Clone(whole)
		other[n] ^= 1
		if !bytes.Equal(bytes.ToLower(other), bytes.ToLower(whole)) { // JSON's names are of any case
			try(fmt.Sprintf("another byte %d", n), other)
		}
	}
}

// TestFormerMemory: what an older version remembered counts, and is written anew once.
func TestFormerMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	proof, seen := Proof{ID: "1", Level: Content}, sight{Kind: "stream", Series: "x"}
	text, err := json.Marshal(map[string]any{"version": 1, "backups": map[string]Proof{"/b/x": proof, "/a": proof}, "seen": map[string]sight{"/b/x": seen, "/b/y": seen}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, formerName), text)
	want := map[string]entry{"/b/x": {&proof, &seen}, "/a": {Proof: &proof}, "/b/y": {Seen: &seen}}
	if got := remembered(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	m := mustOpen(t, dir)
	m.put("/c", proof)
	want["/c"] = entry{Proof: &proof}
	if err := m.Save(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, formerName)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if got := remembered(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	write(t, filepath.Join(dir, formerName), []byte(`{"version": 2}`)) // a newer file outranks it
	mustOpen(t, dir)
	if err := os.Remove(filepath.Join(dir, MemoryName)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMemory(dir); !errors.Is(err, ErrMemory) {
		t.Error(err)
	}
}

// TestListHolds: a list gives back what was put into it, each field, also when it was
// replaced, and as JSON.
func TestListHolds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC)
	var all []Backup
	l := new(List)
	for n := range 3000 {
		b := Backup{Path: fmt.Sprintf("/\xff\n/%d", n), Size: int64(n), ID: fmt.Sprint("id", n), Kind: "database", Name: "n", Series: "s", Created: at.Add(time.Duration(n)), KeyIDs: []string{"a\nb", "c"},
			KeyID: "k", SHA256: "s", Checked: true, Why: "w", Proven: Restore, ProvenAt: at, Seconds: 0.1, Content: 5, Unjudged: "u",
			Findings: []Finding{{Code: Small}}, etag: "e", unread: true}
		if n == 1 {
			v := reflect.ValueOf(b)
			for i := range v.NumField() {
				if v.Field(i).IsZero() {
					t.Fatalf("%s is not tried", v.Type().Field(i).Name)
				}
			}
		}
		if n%5 == 0 {
			l.add(&Backup{Path: "other"}, false)
			l.put(n, &b)
		} else {
			l.add(&b, false)
		}
		all = append(all, b)
	}
	for n, b := range l.All() {
		if !reflect.DeepEqual(*b, all[n]) {
			t.Fatalf("%d: %+v, want %+v", n, *b, all[n])
		}
	}
	again := new(List)
	if err := json.Unmarshal([]byte(asJSON(l)), again); err != nil || again.Len() != l.Len() || again.at(7).ID != all[7].ID || len(again.at(7).Findings) != 1 {
		t.Error(err, again.Len())
	}
	if got, want := asJSON(ListOf(all[:2]...)), asJSON(all[:2]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSeenByOthers: what another process has seen meanwhile counts after the next save.
func TestSeenByOthers(t *testing.T) {
	t.Parallel()
	dir, at := t.TempDir(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	one, two := mustOpen(t, dir), mustOpen(t, dir)
	is := func(days int) sight { return sight{Kind: "stream", Series: "s", Created: at.AddDate(0, 0, days)} }
	one.see("/b/first", is(0))
	if err := one.appeared("/b/unseen", is(0)); err != nil {
		t.Fatal(err)
	}
	two.see("/b/later", is(60))
	one.see("/b/second", is(1))
	for _, m := range []*Memory{two, one} {
		if err := m.Save(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.appeared("/b/unseen", is(0)); !errors.Is(err, ErrAppeared) {
		t.Errorf("%v", err)
	}
}
