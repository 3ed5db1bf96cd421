package history

import (
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// TestWhatOpens: a key that is not needed may open backups all the same, and one
// that is needed nowhere may be all that opens a backup without what is next to it.
func TestWhatOpens(t *testing.T) {
	const former, current = "00000000000000f1", "00000000000000c1"
	h := &History{doc: document{Keys: []Record{
		{ID: former, Provider: "file:/a", Retired: time.Unix(1, 0), DestroyAfter: time.Unix(2, 0)}, {ID: current, Provider: "file:/a"},
	}}}
	ids := func(ids ...kek.ID) []kek.ID { return ids }
	for name, tc := range map[string]struct {
		backup               Backup
		needed, opens, alone int
	}{
		"for the former":                {Backup{Keys: ids(former)}, 1, 1, 0},
		"for the current":               {Backup{Keys: ids(current)}, 0, 0, 0},
		"for both":                      {Backup{Keys: ids(former, current)}, 0, 1, 0},
		"for the current only beside":   {Backup{Keys: ids(former, current), Own: ids(former)}, 0, 1, 1},
		"for both, and one beside":      {Backup{Keys: ids(former, current, current), Own: ids(former, current)}, 0, 1, 0},
		"for a third, the former there": {Backup{Keys: ids("00000000000000a1", former), Own: ids("00000000000000a1")}, 1, 1, 0},
	} {
		j := h.Judge([]Backup{tc.backup}, time.Now())[0]
		if j.NeededBy != tc.needed || j.Opens != tc.opens || j.OnlyBeside != tc.alone || j.MayBeDestroyed != (tc.needed == 0) {
			t.Errorf("%s: %+v", name, j)
		}
	}
}

func TestClear(t *testing.T) {
	dir := t.TempDir()
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	retired := Record{ID: "00000000000000f1", Provider: "file:/a", Retired: time.Unix(1, 0).UTC(), DestroyAfter: time.Unix(2, 0).UTC()}
	if err := h.save(document{Keys: []Record{retired, {ID: "00000000000000c1", Provider: "file:/a"}}}); err != nil {
		t.Fatal(err)
	}
	for id, good := range map[kek.ID]bool{"00000000000000f1": true, "00000000000000c1": false, "00000000000000a1": false} {
		if err := h.Clear(id, time.Unix(3, 0)); good != (err == nil) {
			t.Errorf("key %s: %v", id, err)
		}
	}
	if err := h.Clear(retired.ID, time.Unix(4, 0)); err != nil {
		t.Error(err)
	}
	again, err := Read(dir)
	if err != nil || !again.Records()[0].Cleared.Equal(time.Unix(3, 0)) || !again.Records()[1].Cleared.IsZero() {
		t.Errorf("%+v, %v", again.Records(), err)
	}
}
