package runs_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// TestRemember: a failure leaves the last success, a series keeps its sizes, and what
// was given up is forgotten.
func TestRemember(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	at := time.Date(2030, 1, 1, 2, 0, 0, 0, time.UTC)
	s := runs.Series{Folder: "/b/uploads", Kind: "uploads", Name: "uploads.tar"}
	gone := runs.Made{Series: runs.Series{Folder: "/b/uploads", Kind: "uploads", Name: "old.tar"}, Created: at}
	var m *runs.Memory
	for day := range 70 {
		now := at.Add(time.Duration(day) * 24 * time.Hour)
		r := &runs.Run{Task: "backup", Started: now, Finished: now.Add(time.Minute), Bytes: int64(day), Made: []runs.Made{{Series: s, Created: now, Bytes: int64(100 + day)}}}
		if day == 0 {
			r.Made = append(r.Made, gone)
		}
		if day == 69 {
			r.Error, r.Made, r.Parts = "pg_dump died", nil, []runs.Part{{Name: "database", Error: "pg_dump died"}}
		}
		var err error
		if m, err = runs.Remember(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	again, err := runs.Open(dir)
	if err != nil || len(again.Made) != 1 || len(m.Made) != 1 {
		t.Fatalf("%+v, %v", again, err)
	}
	task, made := again.Tasks["backup"], again.Made[0]
	if want := at.Add(68*24*time.Hour + time.Minute); !task.LastSuccess.Equal(want) || task.Error != "pg_dump died" || len(task.Parts) != 1 || task.Seconds != 60 || !task.LastRun.After(want) {
		t.Errorf("%+v", task)
	}
	if made.Bytes != 168 || len(made.Sizes) != 14 || made.Sizes[13] != 168 || made.Sizes[0] != 155 {
		t.Errorf("%+v", made)
	}

	// Several at once lose nothing of each other.
	var wg sync.WaitGroup
	for _, task := range []string{"prune", "replicate", "drill"} {
		wg.Go(func() {
			if _, err := runs.Remember(dir, &runs.Run{Task: task, Started: at, Finished: at}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if again, err = runs.Open(dir); err != nil || len(again.Tasks) != 4 {
		t.Errorf("%+v, %v", again, err)
	}

	// What is not a memory is an error to read, and begun anew.
	if err := os.WriteFile(filepath.Join(dir, runs.FileName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := runs.Open(dir); !errors.Is(err, runs.ErrMemory) {
		t.Errorf("%v", err)
	}
	if m, err = runs.Remember(dir, &runs.Run{Task: "prune", Started: at, Finished: at}); err != nil || len(m.Tasks) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}
