package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/verify"
)

// What a page shows of each list. A page is for people; the JSON has it all.
const (
	maxRows   = 1000
	maxSeries = 60
	maxItems  = 200 // of one kind of finding
	openItems = 10  // of those, without a click
)

// view is what the page shows.
type view struct {
	*verify.Report
	Summary    verify.Summary
	State      state
	Verdict    string
	Took       string
	Groups     []*group
	Charts     []chart
	MoreCharts int
	Rows       []row
	MoreRows   int
	Checkpoint string
}

// group is findings of one kind, that one piece of advice helps.
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
	State state
}

// WriteHTML writes a report as one page that needs nothing else: no script, no
// font, no picture from anywhere.
func WriteHTML(w io.Writer, r *verify.Report) error {
	v := view{Report: r, Summary: r.Summary(), Took: durationText(r.Finished.Sub(r.Started))}
	v.State, v.Verdict = verdict(r)
	v.Groups = groups(r)
	v.Charts, v.MoreCharts = charts(r)
	for i := range r.Backups {
		v.Rows = append(v.Rows, row{&r.Backups[i], stateOf(&r.Backups[i])})
	}
	slices.SortStableFunc(v.Rows, func(a, b row) int { return cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)) })
	if v.MoreRows = len(v.Rows) - maxRows; v.MoreRows > 0 {
		v.Rows = v.Rows[:maxRows]
	}
	if len(r.Checkpoint) > 0 {
		var indented bytes.Buffer
		if err := json.Indent(&indented, r.Checkpoint, "", "  "); err != nil {
			return fmt.Errorf("the checkpoint of the audit log: %w", err)
		}
		v.Checkpoint = indented.String()
	}
	return v.page().Render(w)
}

// verdict is a report in one line.
func verdict(r *verify.Report) (state, string) {
	s := r.Summary()
	var parts []string
	if s.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s failed", s.Failed, countText(s.Backups, "backup")))
	}
	if more := s.Errors; s.Failed == 0 && more > 0 {
		parts = append(parts, countText(more, "error")+" about the store")
	}
	if s.Warnings > 0 {
		parts = append(parts, countText(s.Warnings, "warning"))
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
	return good, "nothing wrong with " + countText(s.Backups, "backup")
}

// groups puts findings of a kind together, errors first.
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
	for i := range r.Backups {
		for _, f := range r.Backups[i].Findings {
			add(r.Backups[i].Path, f)
		}
	}
	for _, f := range r.Findings {
		add("", f)
	}
	slices.SortStableFunc(all, func(a, b *group) int { return cmp.Compare(a.Severity, b.Severity) }) // error, warning
	return all
}

// show makes text from outside show what it is: a character that does not print,
// or that turns the direction of others, is there as its number.
func show(text any) string {
	var b strings.Builder
	for s := fmt.Sprint(text); s != ""; {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// words is a code for people.
func words(code verify.Code) string {
	text := show(strings.ReplaceAll(string(code), "-", " "))
	_, size := utf8.DecodeRuneInString(text)
	return strings.ToUpper(text[:size]) + text[size:]
}

func countText(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// durationText is a duration for people.
func durationText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	size, unit := float64(n), 0
	for ; size >= 1024 && unit < len(units)-1; unit++ {
		size /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}

var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
