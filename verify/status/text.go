package status

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// Text is the status for a person, on one screen.
func (s *Status) Text(timers []Timer) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s UTC\n\n", store.Printable(s.Store), s.Time.Format("2006-01-02 15:04"))
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERIES\tLAST GOOD\tAGE\tSIZE\tTREND\tVERIFIED\tDRILLED\tCOPIES")
	since := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return prune.Age(s.Time.Sub(t))
	}
	ago := func(t time.Time) string {
		if s.Time.Sub(t) < time.Minute {
			return "just now"
		}
		return since(t) + " ago"
	}
	for i := range s.Series {
		l := &s.Series[i]
		good, age, size, trend, verified, copies := "NONE", "-", "-", "-", "-", "-"
		if l.Path != "" {
			good, age, size, verified = l.Created.UTC().Format("2006-01-02 15:04"), prune.Age(s.Time.Sub(l.Created)), values.BytesText(l.Size), "never"
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
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Kind, store.Printable(l.Name), good, age, size, trend, verified, since(l.DrilledAt), copies)
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
			fmt.Fprintf(&text, "%s %s: %d of %d are bad or in doubt: takumi-backup verify says why\n", l.Kind, store.Printable(l.Name), l.Bad, l.Backups)
		}
	}
	fmt.Fprintln(&text)
	for _, task := range []string{"backup", "prune", "replicate", "drill"} {
		t, known := s.Jobs[task]
		switch {
		case !known:
			fmt.Fprintf(&text, "%-10s never, as far as this host knows\n", task)
		case t.Error != "":
			fmt.Fprintf(&text, "%-10s FAILED %s: %s; last good %s\n", task, ago(t.LastRun), cmp.Or(failedParts(t), store.Printable(t.Error)), since(t.LastSuccess))
		default:
			fmt.Fprintf(&text, "%-10s good, %s, in %v\n", task, ago(t.LastRun), time.Duration(t.Seconds*float64(time.Second)).Round(time.Second))
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
	return text.String()
}

func failedParts(t runs.Task) string {
	var words []string
	for _, p := range t.Parts {
		if p.Error != "" {
			words = append(words, store.Printable(p.Name)+": "+store.Printable(p.Error))
		}
	}
	return strings.Join(words, "; ")
}
