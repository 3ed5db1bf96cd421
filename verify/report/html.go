package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/verify"
)

// What a page shows of each list. A page is for people; the JSON has it all.
const (
	maxRows   = 1000
	maxSeries = 60
	maxItems  = 200 // of one kind of finding
	openItems = 10  // of those, without a click
)

type view struct {
	*verify.Report
	Summary    verify.Summary
	State      State
	Verdict    string
	Took       string
	Rows       []row
	MoreRows   int
	Checkpoint string
}

type group struct {
	verify.Finding
	Open, Folded []item
	More         int
}

type item struct {
	Path string
	verify.Finding
}

type row struct {
	*verify.Backup
	State State
}

// WriteHTML writes a report as one page that needs nothing else: no script, no
// font, no picture from anywhere.
func WriteHTML(w io.Writer, r *verify.Report) error {
	v := view{Report: r, Summary: r.Summary(), Took: durationText(r.Finished.Sub(r.Started))}
	v.State, v.Verdict = Verdict(r)
	of := make(map[page.State][]row)
	for _, b := range r.Backups.All() {
		if s := StateOf(b); len(of[s]) < maxRows {
			of[s] = append(of[s], row{b, s})
		}
	}
	for _, s := range page.States {
		v.Rows = append(v.Rows, of[s]...)
	}
	v.Rows = v.Rows[:min(len(v.Rows), maxRows)]
	v.MoreRows = r.Backups.Len() - len(v.Rows)
	if len(r.Checkpoint) > 0 {
		var indented bytes.Buffer
		if err := json.Indent(&indented, r.Checkpoint, "", "  "); err != nil {
			return fmt.Errorf("the checkpoint of the audit log: %w", err)
		}
		v.Checkpoint = indented.String()
	}
	return v.page().Render(w)
}

// Verdict is a report in one line.
func Verdict(r *verify.Report) (State, string) {
	s := r.Summary()
	var parts []string
	if s.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s failed", s.Failed, page.CountText(s.Backups, "backup")))
	}
	if more := s.Errors; s.Failed == 0 && more > 0 {
		parts = append(parts, page.CountText(more, "error")+" about the store")
	}
	if s.Warnings > 0 {
		parts = append(parts, page.CountText(s.Warnings, "warning"))
	}
	if r.Interrupted {
		parts = append(parts, "stopped before all was done")
	}
	switch {
	case s.Errors > 0:
		return failed, strings.Join(parts, ", ")
	case len(parts) > 0:
		return warned, strings.Join(parts, ", ")
	case s.Backups == 0:
		return unproven, "there are no backups"
	}
	return good, "nothing wrong with " + page.CountText(s.Backups, "backup")
}

func groups(r *verify.Report) []*group {
	type key struct {
		severity verify.Severity
		code     verify.Code
		advice   string
	}
	found := make(map[key]*group)
	var all []*group
	add := func(path string, f verify.Finding) {
		k := key{f.Severity, f.Code, f.Advice}
		g := found[k]
		if g == nil {
			g = &group{Finding: f}
			found[k] = g
			all = append(all, g)
		}
		it := item{cmp.Or(f.Path, path), f}
		switch n := len(g.Open) + len(g.Folded); {
		case n < openItems:
			g.Open = append(g.Open, it)
		case n < maxItems:
			g.Folded = append(g.Folded, it)
		default:
			g.More++
		}
	}
	for _, b := range r.Backups.Found() {
		for _, f := range b.Findings {
			add(b.Path, f)
		}
	}
	for _, f := range r.Findings {
		add("", f)
	}
	slices.SortStableFunc(all, func(a, b *group) int { return cmp.Compare(a.Severity, b.Severity) }) // error, warning
	return all
}

// Words is a code for people.
func Words(code verify.Code) string {
	text := page.Show(strings.ReplaceAll(string(code), "-", " "))
	_, size := utf8.DecodeRuneInString(text)
	return strings.ToUpper(text[:size]) + text[size:]
}

func durationText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}
