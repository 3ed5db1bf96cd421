// Package rekey changes the keys of backups. [Rewrap] replaces the key slots and keeps the
// payload, [Reencrypt] makes a new data key, id and payload, and [Import] converts files of
// former tools. [Run] does one of them to many backups.
//
// # After a kill
//
// A finished file never changes in place: a new file is written next to it, checked, and
// swapped with it (see [store.Replacement]). A kill leaves a backup that opens with the old
// keys or with the new ones, and the same call finishes. Concurrent changes of one backup
// exclude each other by a lock where hosts share locks; otherwise the second notices that
// the backup has changed, and leaves it.
package rekey

import (
	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options are common to all changes of keys, of many backups at once.
type Options struct {
	Store    store.Store
	StateDir string         // the folder of locks
	From     *keystore.Ring // opens the backups as they are
	// To are the new holders. Those that are also identities are tried on the new file;
	// others cannot be.
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
