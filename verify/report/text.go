package report

import (
	"fmt"
	"io"
	"iter"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
)

// Said is a finding in words.
type Said struct {
	Path     string // of its backup, or ""
	Severity verify.Severity
	Text     string
}

// Findings yields what was found wrong, in the order of the backups, and then what was of
// none.
func Findings(r *verify.Report) iter.Seq[Said] {
	said := func(path string, f *verify.Finding) Said {
		where := ""
		if path != "" || f.Path != "" {
			where = store.Printable(path+f.Path) + ": "
		}
		text := fmt.Sprintf("%s: %s%s: %s\n", f.Severity, where, f.Code, f.Message)
		if f.Advice != "" {
			text += "  " + f.Advice + "\n"
		}
		return Said{path, f.Severity, text}
	}
	return func(yield func(Said) bool) {
		for _, b := range r.Backups.Found() {
			for i := range b.Findings {
				if !yield(said(b.Path, &b.Findings[i])) {
					return
				}
			}
		}
		for i := range r.Findings {
			if !yield(said("", &r.Findings[i])) {
				return
			}
		}
	}
}

// word is what came out for a backup, or "" for one that was not checked.
func word(b *verify.Backup) string {
	switch {
	case b.Worst() == verify.Error:
		return "BAD"
	case !b.Checked:
		return ""
	case b.Proven == verify.None: // it has no sidecar to be compared with
		return "unproven"
	}
	return "good"
}

// WriteLines writes a line for each backup that was checked, or is bad; when quiet only for
// those that are not good.
func WriteLines(out io.Writer, r *verify.Report, quiet bool) error {
	for _, b := range r.Backups.All() {
		w := word(b)
		if w == "" || quiet && w == "good" {
			continue
		}
		proven := b.Proven.String()
		if b.Unjudged != "" {
			proven = "content not judged"
		}
		if _, err := fmt.Fprintf(out, "%-4s  %-8s  %s\n", w, proven, store.Printable(b.Path)); err != nil {
			return err
		}
	}
	return nil
}

// Summary is a report in one line. read is how many bytes were read for it.
func Summary(r *verify.Report, read int64) string {
	counts := make(map[string]int)
	for _, b := range r.Backups.All() {
		counts[word(b)]++
	}
	text := fmt.Sprintf("%d good, %d bad, ", counts["good"], counts["BAD"])
	if n := counts["unproven"]; n > 0 {
		text += fmt.Sprintf("%d unproven, ", n)
	}
	return text + fmt.Sprintf("%d not checked; %d warnings; read %s in %v\n",
		counts[""], r.Summary().Warnings, values.BytesText(read), r.Finished.Sub(r.Started))
}
