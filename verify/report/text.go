package report

import (
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
)

// Text is a report for people.
type Text struct {
	Findings []Said // in the order of the backups, and then those of no backup
	Lines    string // those of all that were checked, or are bad
	Bad      string // those that are not good
	Summary  string // one line
}

// Said is a finding in words.
type Said struct {
	Path     string // of its backup, or ""
	Severity verify.Severity
	Text     string
}

// NewText puts a report into words. read is how many bytes were read for it.
func NewText(r *verify.Report, read int64) *Text {
	t := new(Text)
	say := func(path string, findings []verify.Finding) {
		for _, f := range findings {
			where := ""
			if path != "" || f.Path != "" {
				where = store.Printable(path+f.Path) + ": "
			}
			text := fmt.Sprintf("%s: %s%s: %s\n", f.Severity, where, f.Code, f.Message)
			if f.Advice != "" {
				text += "  " + f.Advice + "\n"
			}
			t.Findings = append(t.Findings, Said{path, f.Severity, text})
		}
	}
	var all, notGood strings.Builder
	good, bad, unproven := 0, 0, 0
	for i := range r.Backups {
		b := &r.Backups[i]
		say(b.Path, b.Findings)
		word := "good"
		switch {
		case b.Worst() == verify.Error:
			word = "BAD"
			bad++
		case !b.Checked:
			continue
		case b.Proven == verify.None: // it has no sidecar to be compared with
			word = "unproven"
			unproven++
		default:
			good++
		}
		proven := b.Proven.String()
		if b.Unjudged != "" {
			proven = "content not judged"
		}
		line := fmt.Sprintf("%-4s  %-8s  %s\n", word, proven, store.Printable(b.Path))
		all.WriteString(line)
		if word != "good" {
			notGood.WriteString(line)
		}
	}
	say("", r.Findings)
	t.Lines, t.Bad = all.String(), notGood.String()
	t.Summary = fmt.Sprintf("%d good, %d bad, ", good, bad)
	if unproven > 0 {
		t.Summary += fmt.Sprintf("%d unproven, ", unproven)
	}
	t.Summary += fmt.Sprintf("%d not checked; %d warnings; read %s in %v\n",
		len(r.Backups)-good-bad-unproven, r.Summary().Warnings, values.BytesText(read), r.Finished.Sub(r.Started))
	return t
}
