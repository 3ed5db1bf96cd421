package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify/runs"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

func newStatus() *cobra.Command {
	var keys keyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [flags] [ROOT]",
		Short: "Show on one screen how the backups are",
		Long: `Show how the backups in and under ROOT ($BACKUP_ROOT by default) are, one line for each
series:

  LAST GOOD  when the newest authentic backup was made (without a key: the newest)
  AGE        its age; LATE when that is more than max_age of the settings
  SIZE       its size, and TREND by how much that is more than the usual one
  VERIFIED   up to which level it was last proved, and how long ago
  DRILLED    how long ago one of the series was last restored in a rehearsal
  COPIES     how many of the other stores of the settings have it

and below it how the jobs last went, when systemd starts the next ones, and when keys are
due. doctor says what would stop a backup or a restore, and what helps.`,
		Example: "  takumi-backup status\n  takumi-backup status --json | jq '.series[] | select(.late)'",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := keys.ring()
			if err != nil {
				return err
			}
			defer ring.Close()
			if len(ring.Sources()) > 0 {
				if _, err := ring.Current(cmd.Context()); err != nil {
					warn(cmd, "%v; what needs this key is not checked", err)
				}
			}
			s, err := statusOf(cmd, rootArg(args), ring)
			if err != nil {
				return err
			}
			timers, err := status.Timers(cmd.Context())
			if err != nil {
				warn(cmd, "when the timers start next is not known: %v", err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), struct {
					*status.Status
					Timers []status.Timer `json:"timers,omitempty"`
				}{s, timers})
			}
			return printStatus(cmd.OutOrStdout(), s, timers)
		},
	}
	keys.add(cmd, "authenticate with this key")
	keys.addIdentities(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func statusOf(cmd *cobra.Command, root string, ring *keystore.Ring) (*status.Status, error) {
	o := status.Options{Root: root, Now: time.Now(), Open: backup.Options{Keys: ring}}
	dir, err := stateDirOr("")
	if err != nil {
		return nil, err
	}
	o.FromState(dir, warner(cmd))
	if root == conf.StoreFolder() {
		o.Copies = conf.Also()
	}
	if o.MaxAge, err = maxAges(nil); err != nil {
		return nil, err
	}
	s, err := status.Of(cmd.Context(), newPlace(), o)
	if err != nil {
		return nil, fmt.Errorf("looking through the backups: %w", err)
	}
	return s, nil
}

func printStatus(w io.Writer, s *status.Status, timers []status.Timer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s UTC\n\n", printable(s.Store), s.Time.Format("2006-01-02 15:04"))
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERIES\tLAST GOOD\tAGE\tSIZE\tTREND\tVERIFIED\tDRILLED\tCOPIES")
	since := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return prune.Age(s.Time.Sub(t))
	}
	for i := range s.Series {
		l := &s.Series[i]
		good, age, size, trend, verified, copies := "NONE", "-", "-", "-", "-", "-"
		if l.Path != "" {
			good, age, size, verified = l.Created.UTC().Format("2006-01-02 15:04"), prune.Age(s.Time.Sub(l.Created)), page.BytesText(l.Size), "never"
		}
		if l.Late {
			age += " LATE"
		}
		if l.Trend != nil {
			trend = fmt.Sprintf("%+.0f%%", *l.Trend*100)
		}
		if !l.VerifiedAt.IsZero() {
			verified = l.Verified.String() + " " + since(l.VerifiedAt)
		}
		if len(l.Copies) > 0 {
			has := 0
			for _, c := range l.Copies {
				if c.Has {
					has++
				}
			}
			copies = fmt.Sprintf("%d of %d", has, len(l.Copies))
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Kind, printable(l.Name), good, age, size, trend, verified, since(l.DrilledAt), copies)
	}
	table.Flush()
	if len(s.Series) == 0 {
		fmt.Fprintln(&text, "there are no backups")
	}
	if s.Unknown > 0 {
		fmt.Fprintf(&text, "%d files are not backups, or could not be read: takumi-backup list names them\n", s.Unknown)
	}
	for i := range s.Series {
		if l := &s.Series[i]; l.Bad > 0 {
			fmt.Fprintf(&text, "%s %s: %d of %d are bad or in doubt: takumi-backup verify says why\n", l.Kind, printable(l.Name), l.Bad, l.Backups)
		}
	}
	fmt.Fprintln(&text)
	for _, task := range []string{"backup", "prune", "replicate", "drill"} {
		t, known := s.Jobs[task]
		switch {
		case !known:
			fmt.Fprintf(&text, "%-10s never, as far as this host knows\n", task)
		case t.Error != "":
			fmt.Fprintf(&text, "%-10s FAILED %s ago: %s; last good %s\n", task, since(t.LastRun), cmp.Or(failedParts(t), printable(t.Error)), since(t.LastSuccess))
		default:
			fmt.Fprintf(&text, "%-10s good, %s ago, in %v\n", task, since(t.LastRun), time.Duration(t.Seconds*float64(time.Second)).Round(time.Second))
		}
	}
	for _, t := range timers {
		next := "OFF"
		if !t.Next.IsZero() {
			next = t.Next.Format("2006-01-02 15:04") + " UTC"
		}
		fmt.Fprintf(&text, "%-36s next %s\n", t.Unit, next)
	}
	for _, k := range s.Keys {
		words := "when it is due is not known"
		switch {
		case k.Overdue:
			words = "OVERDUE since " + k.Due.Format(time.DateOnly)
		case !k.Due.IsZero():
			words = "due on " + k.Due.Format(time.DateOnly) + ", in " + prune.Span(k.Due.Sub(s.Time))
		}
		fmt.Fprintf(&text, "key %s  %s\n", k.ID, words)
	}
	_, err := io.WriteString(w, text.String())
	return stdoutError(err)
}

func failedParts(t runs.Task) string {
	var words []string
	for _, p := range t.Parts {
		if p.Error != "" {
			words = append(words, printable(p.Name)+": "+printable(p.Error))
		}
	}
	return strings.Join(words, "; ")
}
