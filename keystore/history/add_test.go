package history

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestAdd: after the history was lost, the keys that a place keeps are known again,
// the former ones as replaced when the current one came.
func TestAdd(t *testing.T) {
	dir := t.TempDir()
	src := keystore.File{Path: filepath.Join(dir, "key")}
	first, second := kek.Generate(), kek.Generate()
	if err := src.Store(t.Context(), first, ""); err != nil {
		t.Fatal(err)
	}
	if err := src.Store(t.Context(), second, first.ID()); err != nil {
		t.Fatal(err)
	}
	came := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(src.Path, came, came); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	h, err := Open(state)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Grace: time.Hour, Now: came.Add(24 * time.Hour)}
	o.DryRun = true
	if ids, err := Add(t.Context(), h, src, false, o); err != nil || len(ids) != 2 || len(h.Records()) != 0 {
		t.Errorf("a dry run: %v, %v, %v", ids, err, h.Records())
	}
	o.DryRun = false
	if ids, err := Add(t.Context(), h, src, false, o); err != nil || len(ids) != 2 {
		t.Fatalf("%v, %v", ids, err)
	}
	h.Close()
	read, err := Read(state)
	if err != nil {
		t.Fatal(err)
	}
	at := Site{URI: src.String()}
	former, ok := read.Find(at, first.ID())
	if !ok || former.Live() || !former.Retired.Equal(came) || !former.DestroyAfter.Equal(came.Add(time.Hour)) {
		t.Errorf("the former key: %+v", former)
	}
	if current, ok := read.Find(at, second.ID()); !ok || !current.Live() || !current.Created.Equal(came) {
		t.Errorf("the current key: %+v", current)
	}
	for _, j := range read.Judge([]Backup{{Path: "b", Keys: []kek.ID{second.ID()}}}, o.Now) {
		if j.MayBeDestroyed != (j.ID == first.ID()) {
			t.Errorf("%+v", j)
		}
	}
	if h, err = Open(state); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if ids, err := Add(t.Context(), h, src, false, o); err != nil || len(ids) != 0 {
		t.Errorf("a second time: %v, %v", ids, err)
	}
	if _, err := Add(t.Context(), h, src, true, o); err == nil {
		t.Error("the current key was added as a former one")
	}
	if err := os.Chmod(src.Path+"."+string(first.ID()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Add(t.Context(), h, src, false, o); err == nil {
		t.Error("a former key that may not be read was passed over")
	}
}
