package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/verify"
)

func newList() *cobra.Command {
	var keys keyFlags
	var deleted bool
	var stateDir, signers string
	l := &listCommand{}
	cmd := &cobra.Command{
		Use:   "list [flags] [ROOT]",
		Short: "List the backups of a store, newest first",
		Long: `List the backups in and under ROOT ($BACKUP_ROOT by default), newest first by the
time that each one carries inside.

ID is the beginning of a backup's id, which every command that takes the path of a
backup in $BACKUP_ROOT takes as well: four digits or more that no other id begins with.
Paths are those below ROOT, shortened to fit into 100 columns; --wide shows all.

AUTHENTIC says how well time, kind, name and length are known; the content is not read.
With a key they are authenticated ("yes"), and without one what the file claims
("unchecked"), unless it is "signed" or "sealed here". "archived" is for restore-object.
"NO" is a file that cannot be read, is not a backup or was altered: exit code 6.

VERIFIED is the level up to which verify has last proved the backup, and how long ago;
unjudged where seal did not know the format, so that nobody knows whether the content is
complete. (incomplete) marks a backup without a sidecar, which is written last.`,
		Example: `  takumi-backup list
  takumi-backup list --kind database --name takumi_db --since 7d
  takumi-backup list --latest
  takumi-backup list --json /mnt/usb | jq -r 'select(.kind == "database") | .path'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deleted {
				return listDeleted(cmd, rootArg(args), l.json)
			}
			if _, err := path.Match(l.filter.Name, ""); err != nil {
				return usagef("--name %q: %w", l.filter.Name, err)
			}
			ring, err := keys.ring()
			if err != nil {
				return err
			}
			defer ring.Close()
			l.root, l.now, l.proved = rootArg(args), time.Now(), provedIn(cmd, stateDir)
			l.how = backup.Options{Keys: ring, Doubt: doubter(cmd, "", l.proved), Ledger: ledgerIn(cmd, stateDir)}
			if l.how.Signers, err = trusted(signers); err != nil {
				return err
			}
			return l.run(cmd)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&l.filter.Kinds, "kind", nil, "list only backups of this kind; may be repeated")
	f.StringVar(&l.filter.Name, "name", "", "list only the series of this name, as takumi_db or 'tenant*'")
	f.Var((*sinceFlag)(&l.filter.Since), "since", "list only what was made since then: 7d, 2026-11-01 or 2026-11-01T02:00:00Z")
	f.BoolVar(&l.latest, "latest", false, "list only the newest good backup of each series")
	f.BoolVarP(&l.wide, "wide", "l", false, "show age, kind, name, keys and the whole id too, and whole paths")
	f.BoolVar(&deleted, "deleted", false, "list what was deleted in a bucket that keeps versions, and undelete brings back")
	f.BoolVar(&l.json, "json", false, "print one JSON object per backup and line")
	keys.add(cmd, "authenticate with this key")
	keys.addIdentities(cmd)
	addSigners(f, &signers, "put in doubt what none of these has signed")
	f.StringVar(&stateDir, "state-dir", "", "folder of what verify remembers (default: that of key history)")
	return cmd
}

// sinceFlag is a moment, given as such or as a time span before now.
type sinceFlag time.Time

func (s *sinceFlag) Set(text string) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			*s = sinceFlag(t)
			return nil
		}
	}
	var age values.Age
	if err := age.Set(text); err != nil {
		return errors.New("want a time span such as 7d or 36h, or a time such as 2026-11-01 or 2026-11-01T02:00:00Z")
	}
	*s = sinceFlag(time.Now().Add(-time.Duration(age)))
	return nil
}

func (s *sinceFlag) String() string {
	if time.Time(*s).IsZero() {
		return ""
	}
	return time.Time(*s).UTC().Format(time.RFC3339)
}

func (*sinceFlag) Type() string { return "time" }

// inState opens what the state folder holds. Where it cannot be had that is a warning,
// and nothing is taken for known.
func inState[T any](cmd *cobra.Command, stateDir, unknown string, open func(dir string) (*T, error)) *T {
	var err error
	if stateDir == "" {
		stateDir, err = history.Dir()
	}
	if err == nil {
		var held *T
		if held, err = open(stateDir); err == nil {
			return held
		}
	}
	warn(cmd, "%s: %v", unknown, err)
	return nil
}

func ledgerIn(cmd *cobra.Command, stateDir string) *backup.Ledger {
	return inState(cmd, stateDir, "what this host has sealed is not known", backup.OpenLedger)
}

func provedIn(cmd *cobra.Command, stateDir string) *verify.Memory {
	return inState(cmd, stateDir, "what was verified is not shown", verify.OpenMemory)
}

// doubter is why a backup is in doubt by what this host knows of its keys and of the
// store.
func doubter(cmd *cobra.Command, stateDir string, memory *verify.Memory) func(*backup.Backup, kek.ID) error {
	if stateDir == "" {
		stateDir, _ = history.Dir() // what cannot be had holds no history
	}
	doubt, err := verify.Doubter(stateDir, memory)
	if err != nil {
		warn(cmd, "which keys were rotated out is not known: %v", err)
	}
	return doubt
}

func rootArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return conf.StoreFolder()
}

type listCommand struct {
	filter       backup.Filter
	latest, wide bool
	json         bool

	how    backup.Options
	root   string
	proved *verify.Memory
	now    time.Time
}

func (l *listCommand) run(cmd *cobra.Command) error {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what lives is what the list holds
	if ring := l.how.Keys; len(ring.Places()) > 0 {
		warnPlacement(cmd, ring.Places(), l.root)
		if _, err := ring.Current(cmd.Context()); err != nil {
			if cmd.Context().Err() != nil {
				return context.Cause(cmd.Context())
			}
			warn(cmd, "%v; what needs this key is not checked", err)
		}
	}
	found, err := backup.Gather(cmd.Context(), newPlace(), l.root, l.how, l.filter.Match)
	if err != nil {
		return fmt.Errorf("listing the backups: %w", err)
	}
	if l.latest {
		found = found.Newest(l.now.Add(prune.Skew))
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	if l.json {
		err = l.printJSON(out, found)
	} else {
		err = l.print(cmd, out, found)
	}
	if err = cmp.Or(err, out.Flush()); err != nil {
		return stdoutError(err)
	}
	if !l.json {
		l.complain(cmd, found)
	}
	for _, b := range found.All() {
		if b.State == backup.Bad && !b.Archived() {
			return errSome
		}
	}
	return nil
}

func (l *listCommand) printJSON(out io.Writer, found *backup.Roll) error {
	for _, b := range found.All() {
		line := listing{Listing: b.Listing()}
		if p, ok := proofOf(l.proved, &b); ok {
			line.Proven, line.ProvenAt = p.Level, p.At
		}
		if err := writeJSON(out, line); err != nil {
			return err
		}
	}
	return nil
}

func (l *listCommand) complain(cmd *cobra.Command, found *backup.Roll) {
	for _, b := range found.All() {
		switch {
		case b.Archived():
		case b.Err != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: %v: %v\n", printable(b.Path), b.State, b.Err)
		case b.Doubt != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: in doubt: %v\n", printable(b.Path), b.Doubt)
		}
	}
}

type listing struct {
	backup.Listing
	// Proven is up to which level verify proved it, and ProvenAt when.
	Proven   verify.Level `json:"proven,omitzero"`
	ProvenAt time.Time    `json:"proven_at,omitzero"`
}

func proofOf(proved *verify.Memory, e *backup.Backup) (verify.Proof, bool) {
	if proved == nil || !e.Readable() || e.State == backup.Bad {
		return verify.Proof{}, false
	}
	return proved.Proved(e.Path, e.ID.String(), e.Size)
}

// columns is how wide a line of the short table is at most.
const columns = 100

// print prints a table. Of each column the width is found first, so that a list of any
// length is printed as it is read.
func (l *listCommand) print(cmd *cobra.Command, out io.Writer, found *backup.Roll) error {
	if found.Len() == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "there are no backups in %s\n", printable(l.root))
		return nil
	}
	head, cells := []string{"ID", "TIME (UTC)", "SIZE", "AUTHENTIC", "VERIFIED", "PATH"}, l.short
	if l.wide {
		head, cells = []string{"TIME (UTC)", "AGE", "SIZE", "KIND", "NAME", "KEYS", "AUTHENTIC", "VERIFIED", "ID", "PATH"}, l.long
	} else {
		fmt.Fprintf(out, "in %s:\n", printable(l.root))
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
		if room := columns - utf8.RuneCountInString(text.String()); !l.wide {
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

func (l *listCommand) short(b *backup.Backup, digits int) []string {
	id, created, verified := "-", "-", "-"
	if b.Readable() {
		id, created = b.ID.String()[:digits], b.Created.Format("2006-01-02 15:04")
	}
	if p, ok := proofOf(l.proved, b); ok {
		verified = p.Level.String() + " " + prune.Age(l.now.Sub(p.At))
	}
	if b.Unjudged() {
		_, when, _ := strings.Cut(verified, " ")
		verified = strings.TrimSpace("unjudged " + when)
	}
	path := b.Path
	if below, found := strings.CutPrefix(path, strings.TrimRight(l.root, "/")+"/"); found {
		path = below
	}
	return []string{id, created, page.BytesText(b.Size), strings.Replace(authentic(b), "not checked", "unchecked", 1), verified, shownPath(path, b)}
}

func (l *listCommand) long(b *backup.Backup, _ int) []string {
	id, created, age, kind, name, keys, verified := "-", "-", "-", "-", "-", "-", "-"
	if b.Readable() {
		id, created, age = b.ID.String(), b.Created.Format(time.DateTime), prune.Age(l.now.Sub(b.Created))
		kind, name, keys = b.Kind, printable(b.Name), backup.Holders(b.Keys, b.Recipients)
	}
	if p, ok := proofOf(l.proved, b); ok {
		verified = p.Level.String() + " " + p.At.Format(time.DateOnly)
	}
	if b.Unjudged() {
		verified = strings.TrimSuffix("unjudged "+verified, " -")
	}
	return []string{created, age, page.BytesText(b.Size), kind, name, keys, authentic(b), verified, id, shownPath(b.Path, b)}
}

func shownPath(path string, b *backup.Backup) string {
	path = printable(path)
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

func printable(name string) string { return store.Printable(name) }
