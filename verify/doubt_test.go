package verify

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestAppeared: what comes into a folder more than a week older than what was seen
// there is in doubt, until somebody accepts it; nothing else is.
func TestAppeared(t *testing.T) {
	t.Parallel()
	key, dir, state := kek.Generate(), t.TempDir(), t.TempDir()
	now := time.Now().UTC().Truncate(time.Second)
	at := func(file string) string { return filepath.Join(dir, file) }
	add := func(file, name string, days int) {
		write(t, at(file), seal(t, []byte("words"), envelope.Label{Created: now.AddDate(0, 0, -days), Kind: "stream", Name: name}, pack.None, key))
	}
	// judged returns what a run finds doubtful; the list says the same.
	judged := func(paths ...string) map[string]bool {
		t.Helper()
		m, err := OpenMemory(state)
		if err != nil {
			t.Fatal(err)
		}
		doubt, err := DoubtFunc(state, m)
		if err != nil {
			t.Fatal(err)
		}
		place := local.Folder{}
		listed, err := backup.List(t.Context(), place, dir, backup.Options{Keys: ringOf(key), Doubt: doubt})
		if err != nil {
			t.Fatal(err)
		}
		j := &Job{Options: Options{Place: place, Keys: ringOf(key), Level: Auth, Doubt: doubt}, Paths: paths, Memory: m,
			Saved: func(err error) { t.Error(err) }}
		found := make(map[string]bool)
		for path, b := range byPath(run(t, j)) {
			if b.has(Doubtful) {
				found[store.Base(path)] = true
			}
		}
		for _, b := range listed {
			if len(paths) == 1 && paths[0] == dir && errors.Is(b.Doubt, ErrAppeared) != found[store.Base(b.Path)] {
				t.Errorf("list has %s: %v", b.Path, b.Doubt)
			}
		}
		return found
	}
	only := func(found map[string]bool, names ...string) {
		t.Helper()
		for _, name := range names {
			if !found[name] {
				t.Errorf("%s is in no doubt", name)
			}
			delete(found, name)
		}
		if len(found) > 0 {
			t.Errorf("in doubt: %v", found)
		}
	}
	accept := func(path string, want bool) {
		t.Helper()
		m, err := OpenMemory(state)
		if err != nil {
			t.Fatal(err)
		}
		if known, err := m.Accept(path); err != nil || known != want {
			t.Errorf("%v, %v", known, err)
		}
	}

	add("a1.enc", "a", 1)
	only(judged(at("a1.enc"))) // one file is not the folder
	add("a40.enc", "a", 40)
	add("ahead.enc", "a", -30)
	write(t, at("broken.enc"), []byte("nothing"))
	only(judged(dir))
	add("a8.enc", "a", 9)       // backdated
	add("a5.enc", "a", 5)       // it may have taken so long
	add("b30.enc", "b", 30)     // another series
	add("a40.enc", "a", 40)     // re-encrypted
	add("broken.enc", "a", 300) // healed
	only(judged(dir), "a8.enc")
	only(judged(dir), "a8.enc") // and it stays so
	add("broken.enc", "a", 200)
	only(judged(dir), "a8.enc", "broken.enc")
	accept(at("elsewhere/a8.enc"), false)
	accept(at("a8.enc"), true)
	only(judged(dir), "broken.enc")
	accept(at("broken.enc"), true)
	only(judged(dir))
	add("a10.enc", "a", 10)
	add("a12.enc", "a", 12)
	only(judged(dir), "a10.enc", "a12.enc")
	accept(dir, true)
	only(judged(dir))
	only(judged(dir))
	// What is gone is forgotten: it comes back as a stranger.
	if err := os.Rename(at("a40.enc"), at("a40")); err != nil {
		t.Fatal(err)
	}
	only(judged(dir))
	if err := os.Rename(at("a40"), at("a40.enc")); err != nil {
		t.Fatal(err)
	}
	only(judged(dir), "a40.enc")
}

// TestDoubter: an old key opens nothing new, and what comes late is in doubt, an increment
// like an archive, where it is known what was there.
func TestDoubter(t *testing.T) {
	t.Parallel()
	const old, current = kek.ID("0123456789abcdef"), kek.ID("0123456789abcdee")
	retired := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	state := t.TempDir()
	write(t, filepath.Join(state, history.FileName), []byte(`{"version": 1, "keys": [{"id": "0123456789abcdef", "provider": "file:/k", "retired": "2026-01-01T00:00:00Z"}]}`))
	m, err := OpenMemory(state)
	if err != nil {
		t.Fatal(err)
	}
	m.see("/d/new.enc", sight{backup.KindUploads, "x", retired})
	for _, tc := range []struct {
		m       *Memory
		kind    string
		created time.Time
		opened  kek.ID
		want    error
	}{
		{nil, backup.KindUploads, retired.AddDate(0, 1, 0), old, history.ErrLate},
		{m, backup.KindUploads, retired.AddDate(0, 1, 0), old, history.ErrLate},
		{m, backup.KindUploads, retired.AddDate(0, 1, 0), current, nil},
		{nil, backup.KindUploads, retired.AddDate(0, -1, 0), old, nil},
		{m, backup.KindUploads, retired.AddDate(0, -1, 0), old, ErrAppeared},
		{m, backup.KindIncrement, retired.AddDate(0, -1, 0), old, ErrAppeared},
		{m, backup.KindStream, retired.AddDate(0, -1, 0), old, nil},
	} {
		doubt, err := DoubtFunc(state, tc.m)
		if err != nil {
			t.Fatal(err)
		}
		b := &backup.Backup{Backup: store.Backup{Path: "/d/x.enc"}, Label: envelope.Label{Kind: tc.kind, Name: "x", Created: tc.created}}
		if got := doubt(b, tc.opened); !errors.Is(got, tc.want) {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	write(t, filepath.Join(state, history.FileName), []byte("{"))
	if _, err := DoubtFunc(state, m); !errors.Is(err, history.ErrDamaged) {
		t.Errorf("of a damaged history: %v", err)
	}
}

// TestNoStateFolder: without a state folder nothing is known, whatever is in the working
// folder.
func TestNoStateFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("XDG_STATE_HOME", "relative")
	write(t, backup.LedgerName, []byte(`{"id":"00112233445566778899aabbccddeeff"}`+"\n"))
	warned := 0
	known := LoadKnown("", func(string, ...any) { warned++ })
	if known.Ledger.Knows() || known.Memory != nil || known.Doubt != nil || warned != 1 {
		t.Errorf("known: %+v, after %d warnings", known, warned)
	}
}
