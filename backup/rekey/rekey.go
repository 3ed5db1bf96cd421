// Package rekey changes the keys of backups. [Rewrap] gives a backup other key
// slots and leaves its payload as it is, [Reencrypt] gives it a new data key, a new
// id and so a new payload, and [Import] brings files of former tools into the
// format. [Run] does one of them to many backups.
//
// # What a kill leaves
//
// A finished file never changes in place. The whole file is written anew next to
// the old one, proved, and swapped with it (see [store.Replacement]). Killed at any
// moment, this leaves a backup that opens with the keys that it had, or with the
// new ones, and the same call finishes the rest. Two that change one backup exclude
// each other by a lock next to it where hosts share locks, and else the second to
// finish sees that the backup has changed, and leaves it as the first made it.
package rekey

import (
	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options are what every change of keys takes. They serve many backups at once.
type Options struct {
	Store    store.Store
	StateDir string         // the folder of locks
	From     *keystore.Ring // opens the backups as they are
	// To are the new holders. Those that are identities too are tried on what is
	// written; of recipients alone nobody here can tell that they open it.
	To []slot.Recipient
	// DropOther lets holders go that are not keys.
	DropOther bool
	// Rescue heals a damaged envelope; see [envelope.RewrapOptions].
	Rescue bool
	// DryRun opens and authenticates, and changes nothing.
	DryRun bool
	Meter  *backup.Meter // counts what is read of the payloads; not nil
}

// Result is what became of one backup.
type Result struct {
	Old      *envelope.Envelope // what it opened with; authentic
	New      *envelope.Envelope // nil after a dry run, and when it was skipped
	Made     string             // the path of New, when it is not that of the backup
	Skipped  string             // why nothing was to be done
	Warnings []string
	Size     int64  // of the file afterwards
	SHA256   string // of the file, in hex, when it was read
}

func (r *Result) warn(words string) { r.Warnings = append(r.Warnings, words) }

func (o *Options) identities() []envelope.Identity {
	var all []envelope.Identity
	for _, r := range o.To {
		if i, ok := r.(envelope.Identity); ok {
			all = append(all, i)
		}
	}
	return all
}

type counter struct{ *backup.Meter }

func (c counter) Write(p []byte) (int, error) {
	c.Add(len(p))
	return len(p), nil
}
