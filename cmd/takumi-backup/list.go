package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/verify"
)

func newList() *cobra.Command {
	var keys keyFlags
	var asJSON, deleted, long bool
	var stateDir, signers string
	cmd := &cobra.Command{
		Use:   "list [flags] [ROOT]",
		Short: "List the backups of a store, newest first",
		Long: `List the backups in and under ROOT ($BACKUP_ROOT by default), newest first by the
time that each one carries inside.

With a key at hand, time, kind, name and length of each backup are authenticated,
which AUTHENTIC shows; the content is not read. No key is needed: then all of it
is what the files claim; what one of --signers has signed is "signed", by the head of
the file, and all else is in doubt; "sealed here" is what this host knows to have made,
and has the same length still. Paths are those below ROOT; --long shows them whole, with the
kind, the name and the keys. A file that cannot be read, is no backup or was altered
is listed with the reason, and the exit code is 6; one that S3 keeps in an archive
(Glacier) is "archived", and restore-object fetches it back. VERIFIED is up to which level
verify has last proved the backup, and how long ago. A path with (incomplete) has no sidecar,
which is written last: the backup may never have been finished. VERIFIED says
unjudged where seal did not know the format: whether the content is complete is not known.`,
		Example: `  takumi-backup list
  takumi-backup list --json /mnt/usb | jq -r 'select(.kind == "database") | .path'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deleted {
				return listDeleted(cmd, rootArg(args), asJSON)
			}
			ring, err := keys.ring()
			if err != nil {
				return err
			}
			defer ring.Close()
			proved := provedIn(cmd, stateDir)
			how := backup.Options{Keys: ring, Doubt: doubter(cmd, "", proved), Ledger: ledgerIn(cmd, stateDir)}
			if how.Signers, err = trusted(signers); err != nil {
				return err
			}
			return list(cmd, how, rootArg(args), proved, asJSON, long)
		},
	}
	cmd.Flags().SortFlags = false
	keys.add(cmd, "authenticate with this key")
	keys.age.addIdentities(cmd)
	addSigners(cmd.Flags(), &signers, "put in doubt what none of these has signed")
	cmd.Flags().StringVar(&stateDir, "state-dir", "", "folder of what verify remembers (default: that of key history)")
	cmd.Flags().BoolVar(&deleted, "deleted", false, "list what was deleted in a bucket that keeps versions, and undelete brings back")
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show age, kind, name and keys too, and whole paths")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per backup and line")
	return cmd
}

// ledgerIn returns what this host knows to have sealed, nil when that cannot be had:
// then nothing is taken for its own.
func ledgerIn(cmd *cobra.Command, stateDir string) *backup.Ledger {
	var err error
	if stateDir == "" {
		stateDir, err = history.Dir()
	}
	if err == nil {
		var ledger *backup.Ledger
		if ledger, err = backup.OpenLedger(stateDir); err == nil {
			return ledger
		}
	}
	warn(cmd, "what this host has sealed is not known: %v", err)
	return nil
}

// provedIn returns what verify remembers, nil when that cannot be had: a list
// does not need it.
func provedIn(cmd *cobra.Command, stateDir string) *verify.Memory {
	var err error
	if stateDir == "" {
		stateDir, err = history.Dir()
	}
	if err == nil {
		var memory *verify.Memory
		if memory, err = verify.OpenMemory(stateDir); err == nil {
			return memory
		}
	}
	warn(cmd, "what was verified is not shown: %v", err)
	return nil
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

// rootArg is the store that a command works on.
func rootArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return storeFolder()
}

func list(cmd *cobra.Command, how backup.Options, root string, proved *verify.Memory, asJSON, long bool) error {
	if ring := how.Keys; len(ring.Places()) > 0 {
		warnPlacement(cmd, ring.Places(), root)
		if _, err := ring.Current(cmd.Context()); err != nil {
			if cmd.Context().Err() != nil {
				return context.Cause(cmd.Context())
			}
			warn(cmd, "%v; what needs this key is not checked", err)
		}
	}
	entries, err := backup.List(cmd.Context(), newPlace(), root, how)
	if err != nil {
		return fmt.Errorf("listing the backups: %w", err)
	}
	if asJSON {
		for i := range entries {
			line := listed(&entries[i])
			if p, ok := proofOf(proved, &entries[i]); ok {
				line.Verified = &shownProof{p.Level, p.At}
			}
			if err := writeJSON(cmd.OutOrStdout(), line); err != nil {
				return err
			}
		}
	} else if err := printList(cmd, entries, proved, root, long); err != nil {
		return err
	}
	for i := range entries {
		if entries[i].State == backup.Bad && !entries[i].Archived() {
			return errSome
		}
	}
	return nil
}

// listing is what list --json and prune --json say of a backup.
type listing struct {
	Path       string        `json:"path"`
	Size       int64         `json:"size"`
	Sidecar    bool          `json:"sidecar"`
	State      string        `json:"state"` // authentic, not checked, archived or bad
	Reason     string        `json:"reason,omitempty"`
	ID         string        `json:"id,omitempty"`
	Created    *time.Time    `json:"created,omitempty"`
	Kind       string        `json:"kind,omitempty"`
	Name       string        `json:"name,omitempty"`
	Series     string        `json:"series,omitempty"`
	Codec      string        `json:"codec,omitempty"`
	KeyIDs     []kek.ID      `json:"key_ids,omitempty"`
	Recipients []slot.Holder `json:"recipients,omitempty"`
	Signer     string        `json:"signer,omitempty"`   // of whom it is signed, with --signers
	Unjudged   bool          `json:"unjudged,omitempty"` // nobody knows whether the content is complete
	Verified   *shownProof   `json:"verified,omitempty"` // of list alone
}

// shownProof is what verify has proved of a backup.
type shownProof struct {
	Level verify.Level `json:"level"`
	At    time.Time    `json:"at"`
}

func listed(e *backup.Backup) listing {
	l := listing{Path: e.Path, Size: e.Size, Sidecar: e.Sidecar, State: e.State.String()}
	if e.Archived() {
		l.State = "archived"
	}
	if err := cmp.Or(e.Err, e.Doubt); err != nil {
		l.Reason = err.Error()
	}
	if v := e; v.Readable() {
		l.ID, l.Created, l.Kind, l.Name, l.Codec = v.ID.String(), &v.Created, v.Kind, v.Name, v.Codec
		l.Series, l.KeyIDs, l.Recipients, l.Signer, l.Unjudged = e.Series(), v.Keys, v.Recipients, v.Signer, e.Unjudged()
	}
	return l
}

func proofOf(proved *verify.Memory, e *backup.Backup) (verify.Proof, bool) {
	if proved == nil || !e.Readable() || e.State == backup.Bad {
		return verify.Proof{}, false
	}
	return proved.Proved(e.Path, e.ID.String(), e.Size)
}

func printList(cmd *cobra.Command, entries []backup.Backup, proved *verify.Memory, root string, long bool) error {
	if len(entries) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "there are no backups in %s\n", root)
		return nil
	}
	now := time.Now()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	if long {
		fmt.Fprintln(table, "TIME (UTC)\tAGE\tSIZE\tKIND\tNAME\tKEYS\tAUTHENTIC\tVERIFIED\tPATH")
	} else {
		fmt.Fprintf(&text, "in %s:\n", printable(root))
		fmt.Fprintln(table, "TIME (UTC)\tSIZE\tAUTHENTIC\tVERIFIED\tPATH")
	}
	for i := range entries {
		printEntry(table, &entries[i], proved, root, now, long)
	}
	table.Flush() // a strings.Builder takes everything
	if _, err := io.WriteString(cmd.OutOrStdout(), text.String()); err != nil {
		return stdoutError(err)
	}
	for i := range entries {
		switch e := &entries[i]; {
		case e.Archived():
		case e.Err != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: %v: %v\n", printable(e.Path), e.State, e.Err)
		case e.Doubt != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: %s: in doubt: %v\n", printable(e.Path), e.Doubt)
		}
	}
	return nil
}

// printEntry prints a row of the table. The short one fits into 100 columns when the
// path below the root has no more than 46.
func printEntry(table io.Writer, e *backup.Backup, proved *verify.Memory, root string, now time.Time, long bool) {
	created, age, kind, name, keys, verified, since := "-", "-", "-", "-", "-", "-", "-"
	if e.Readable() {
		created, age = e.Created.Format(time.DateTime), ageText(now.Sub(e.Created))
		kind, name, keys = e.Kind, printable(e.Name), holdersText(e.Keys, e.Recipients)
	}
	if p, ok := proofOf(proved, e); ok {
		verified = p.Level.String() + " " + p.At.Format(time.DateOnly)
		since = p.Level.String() + " " + ageText(now.Sub(p.At))
	}
	if e.Unjudged() {
		verified = strings.TrimSuffix("unjudged "+verified, " -")
		_, when, _ := strings.Cut(since, " ")
		since = strings.TrimSpace("unjudged " + when)
	}
	path := e.Path
	if below, found := strings.CutPrefix(path, strings.TrimRight(root, "/")+"/"); found && !long {
		path = below
	}
	path = printable(path)
	if !e.Sidecar && e.State != backup.Bad {
		path += " (incomplete)"
	}
	if long {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", created, age, bytesText(e.Size), kind, name, keys, authentic(e), verified, path)
		return
	}
	created = created[:min(len(created), len("2006-01-02 15:04"))]
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", created, bytesText(e.Size), strings.Replace(authentic(e), "not checked", "unchecked", 1), since, path)
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

func ageText(age time.Duration) string {
	switch {
	case age < -prune.Skew:
		return "in the future"
	case age < time.Minute:
		return "now"
	case age < time.Hour:
		return fmt.Sprintf("%dm", age/time.Minute)
	case age < 2*day:
		return fmt.Sprintf("%dh", age/time.Hour)
	}
	return prune.Span(age)
}

func printable(name string) string { return store.Printable(name) }
