package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
)

// List shows the backups of a store.
type List struct {
	Root   string
	Wide   bool // all columns and whole paths
	Now    time.Time
	Proved *verify.Memory // may be nil
}

// Listing is what a script is given of a backup.
type Listing struct {
	backup.Listing
	// Proven is up to which level verify proved it, and ProvenAt when.
	Proven   verify.Level `json:"proven,omitzero"`
	ProvenAt time.Time    `json:"proven_at,omitzero"`
}

// Each calls f with each of the backups.
func (l List) Each(found *backup.Roll, f func(Listing) error) error {
	for _, b := range found.All() {
		line := Listing{Listing: b.Listing()}
		if p, ok := l.proof(&b); ok {
			line.Proven, line.ProvenAt = p.Level, p.At
		}
		if err := f(line); err != nil {
			return err
		}
	}
	return nil
}

// Complain names the backups that are bad or in doubt, and why.
func (l List) Complain(out io.Writer, found *backup.Roll) {
	for _, b := range found.All() {
		switch {
		case b.Archived():
		case b.Err != nil:
			fmt.Fprintf(out, "takumi-backup: %s: %v: %v\n", store.Printable(b.Path), b.State, b.Err)
		case b.Doubt != nil:
			fmt.Fprintf(out, "takumi-backup: %s: in doubt: %v\n", store.Printable(b.Path), b.Doubt)
		}
	}
}

func (l List) proof(e *backup.Backup) (verify.Proof, bool) {
	if l.Proved == nil || !e.Readable() || e.State == backup.Bad {
		return verify.Proof{}, false
	}
	return l.Proved.Proved(e.Path, e.ID.String(), e.Size, e.ETag)
}

// columns is how wide a line of the short table is at most.
const columns = 100

// Print prints a table. Of each column the width is found first, so that a list of any
// length is printed as it is read.
func (l List) Print(out io.Writer, found *backup.Roll) error {
	head, cells := []string{"ID", "TIME (UTC)", "SIZE", "AUTHENTIC", "VERIFIED", "PATH"}, l.short
	if l.Wide {
		head, cells = []string{"TIME (UTC)", "AGE", "SIZE", "KIND", "NAME", "KEYS", "AUTHENTIC", "VERIFIED", "ID", "PATH"}, l.long
	} else {
		fmt.Fprintf(out, "in %s:\n", store.Printable(l.Root))
	}
	digits := found.ShortID()
	widths := make([]int, len(head))
	fit := func(row []string) {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	fit(head)
	for _, b := range found.All() {
		fit(cells(&b, digits))
	}
	line := func(row []string) error {
		var text strings.Builder
		for i, cell := range row[:len(row)-1] {
			text.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		last := row[len(row)-1]
		if room := columns - utf8.RuneCountInString(text.String()); !l.Wide {
			last = shorten(last, max(room, 16))
		}
		_, err := fmt.Fprintln(out, text.String()+last)
		return err
	}
	if err := line(head); err != nil {
		return err
	}
	for _, b := range found.All() {
		if err := line(cells(&b, digits)); err != nil {
			return err
		}
	}
	return nil
}

// shorten fits a path into so many columns: first its folders go, then its middle.
func shorten(path string, room int) string {
	if utf8.RuneCountInString(path) <= room {
		return path
	}
	if at := strings.LastIndexByte(path, '/'); at > 0 && utf8.RuneCountInString(path[at:]) < room {
		return "…" + path[at:]
	}
	runes := []rune(path)
	return string(runes[:room/3]) + "…" + string(runes[len(runes)-(room-room/3-1):])
}

func (l List) short(b *backup.Backup, digits int) []string {
	id, created, verified := "-", "-", "-"
	if b.Readable() {
		id, created = b.ID.String()[:digits], b.Created.Format("2006-01-02 15:04")
	}
	if p, ok := l.proof(b); ok {
		verified = p.Level.String() + " " + prune.Age(l.Now.Sub(p.At))
	}
	if b.Unjudged() {
		_, when, _ := strings.Cut(verified, " ")
		verified = strings.TrimSpace("unjudged " + when)
	}
	path := b.Path
	if below, found := strings.CutPrefix(path, strings.TrimRight(l.Root, "/")+"/"); found {
		path = below
	}
	return []string{id, created, values.BytesText(b.Size), strings.Replace(authentic(b), "not checked", "unchecked", 1), verified, shownPath(path, b)}
}

func (l List) long(b *backup.Backup, _ int) []string {
	id, created, age, kind, name, keys, verified := "-", "-", "-", "-", "-", "-", "-"
	if b.Readable() {
		id, created, age = b.ID.String(), b.Created.Format(time.DateTime), prune.Age(l.Now.Sub(b.Created))
		kind, name, keys = b.Kind, store.Printable(b.Name), backup.Holders(b.Keys, b.Recipients)
	}
	if p, ok := l.proof(b); ok {
		verified = p.Level.String() + " " + p.At.Format(time.DateOnly)
	}
	if b.Unjudged() {
		verified = strings.TrimSuffix("unjudged "+verified, " -")
	}
	return []string{created, age, values.BytesText(b.Size), kind, name, keys, authentic(b), verified, id, shownPath(b.Path, b)}
}

func shownPath(path string, b *backup.Backup) string {
	path = store.Printable(path)
	if !b.Sidecar && b.State != backup.Bad {
		path += " (incomplete)"
	}
	return path
}

func authentic(b *backup.Backup) string {
	if b.Doubt != nil {
		return "IN DOUBT"
	}
	if b.Archived() {
		return "archived"
	}
	return map[backup.State]string{backup.Authentic: "yes", backup.Bad: "NO", backup.Claimed: "not checked", backup.Signed: "signed", backup.SealedHere: "sealed here"}[b.State]
}
