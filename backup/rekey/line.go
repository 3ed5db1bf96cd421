package rekey

import (
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Line is what a script is told of a backup.
type Line struct {
	Path          string        `json:"path"`
	Outcome       string        `json:"outcome"` // rewrapped, reencrypted, imported, skipped, failed or planned
	Reason        string        `json:"reason,omitempty"`
	Error         string        `json:"error,omitempty"`
	Code          int           `json:"exit_code"`
	OldID         string        `json:"old_id,omitempty"`
	ID            string        `json:"id,omitempty"`
	Kind          string        `json:"kind,omitempty"`
	Name          string        `json:"name,omitempty"`
	Created       *time.Time    `json:"created,omitempty"`
	OldKeys       []kek.ID      `json:"old_key_ids,omitempty"`
	Keys          []kek.ID      `json:"key_ids,omitempty"`
	OldRecipients []slot.Holder `json:"old_recipients,omitempty"`
	Recipients    []slot.Holder `json:"recipients,omitempty"`
	Size          int64         `json:"size,omitempty"`
	SHA256        string        `json:"sha256,omitempty"`
	Made          string        `json:"made,omitempty"`
	Warning       []string      `json:"warnings,omitempty"`
}

// Line describes what was done, in the word done, to the backup at path.
func (r Result) Line(path, done string, dry bool) Line {
	line := Line{Path: path, Outcome: done, Reason: r.Skipped, Size: r.Size, SHA256: r.SHA256, Warning: r.Warnings, Made: r.Made}
	switch {
	case r.Skipped != "":
		line.Outcome = "skipped"
	case dry:
		line.Outcome = "planned"
	}
	if e := r.Old; e != nil {
		line.OldID, line.OldKeys, line.OldRecipients = e.ID.String(), e.KeyIDs(), e.Recipients()
	}
	for _, e := range []*envelope.Envelope{r.Old, r.New} {
		if e != nil {
			line.ID, line.Kind, line.Name, line.Created = e.ID.String(), e.Kind, e.Name, &e.Created
			line.Keys, line.Recipients = e.KeyIDs(), e.Recipients()
		}
	}
	return line
}

// Words say it to a person, behind the path.
func (r Result) Words(dry bool) string {
	words := ""
	switch {
	case r.Skipped != "":
		words = "  (" + r.Skipped + ")"
	case dry && r.Old != nil:
		words = fmt.Sprintf("  (sealed for %s)", backup.ForWhom(r.Old))
	case r.Made != "":
		words = "  -> " + store.Printable(r.Made)
	case r.New != nil:
		words = fmt.Sprintf("  (id %s, for %s)", r.New.ID, backup.ForWhom(r.New))
	}
	return words
}
