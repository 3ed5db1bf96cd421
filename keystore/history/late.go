package history

import (
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrLate marks a backup that was made for a key after the key was retired.
var ErrLate = fail.New(fail.Failed, "find out which host still seals for the former key; when it is one of yours, rotate the key there",
	"it was sealed for a key that was no longer in use when it was made")

// Overlap is how long after a rotation a host may go on sealing for the former key.
const Overlap = 7 * 24 * time.Hour

// Late returns ErrLate for a backup that this key opened and that was created more than
// overlap after the key was retired in all places. Keys that are current or have no record
// pass. A false date in the backup goes unnoticed.
func Late(records []Record, id kek.ID, created time.Time, overlap time.Duration) error {
	var retired time.Time
	for _, r := range records {
		if r.ID != id {
			continue
		}
		if r.Live() {
			return nil
		}
		if r.Retired.After(retired) {
			retired = r.Retired
		}
	}
	if retired.IsZero() || !created.After(retired.Add(overlap)) {
		return nil
	}
	return fmt.Errorf("%w: key %s was rotated out on %s", ErrLate, id, retired.UTC().Format(time.DateOnly))
}
