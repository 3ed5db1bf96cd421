package history

import (
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrLate is why a backup is in doubt that was made for a key after that was rotated
// out.
var ErrLate = fail.New(fail.Failed, "find out which host still seals for the former key; when it is one of yours, rotate the key there",
	"it was sealed for a key that was no longer in use when it was made")

// Overlap is how long after a rotation a host may go on sealing for the former key,
// until the new one has reached it.
const Overlap = 7 * 24 * time.Hour

// Late returns ErrLate for a backup that the key with this id opened, and that was
// created more than overlap after the key was retired in the last of its places. A
// key without a record, and one that is current somewhere, is in no doubt. Who
// has the key can also give a backup an earlier date: that is not noticed.
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
