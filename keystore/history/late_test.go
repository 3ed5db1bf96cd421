package history

import (
	"errors"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

func TestLate(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC) }
	records := []Record{
		{ID: "old", Provider: "file:a", Retired: at(3)}, {ID: "old", Provider: "file:b", Retired: at(10)},
		{ID: "half", Provider: "file:a", Retired: at(3)}, {ID: "half", Provider: "file:b"}, {ID: "new", Provider: "file:a"},
	}
	for _, tc := range []struct {
		id   string
		day  int
		late bool
	}{
		{"old", 9, false}, {"old", 12, false}, {"old", 13, true}, {"old", 28, true},
		{"half", 28, false}, {"new", 28, false}, {"unknown", 28, false},
	} {
		err := Late(records, kek.ID(tc.id), at(tc.day), 48*time.Hour)
		if errors.Is(err, ErrLate) != tc.late || (err == nil) == tc.late {
			t.Errorf("%s on day %d: %v", tc.id, tc.day, err)
		}
	}
}
