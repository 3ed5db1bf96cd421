package rotation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// Report is what the handbook wants each month, for one set.
type Report struct {
	Set         string    `json:"set"`
	Environment string    `json:"environment"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	Rotations   int       `json:"rotations"`
	Succeeded   int       `json:"succeeded"`
	Failed      int       `json:"failed"`
	Checklist   []Item    `json:"checklist"`
	Entries     []Entry   `json:"entries"`
	Status      *Status   `json:"status,omitempty"`
}

// Item is a line of the compliance checklist, with what shows it.
type Item struct {
	Demand   string `json:"demand"`
	Met      bool   `json:"met"`
	Evidence string `json:"evidence"`
}

// Met says whether every line of the checklist is.
func (r *Report) Met() bool {
	return !slices.ContainsFunc(r.Checklist, func(i Item) bool { return !i.Met })
}

// NewReport judges what the history and the log in dir, and the backend by status, say of
// the time since from. Status may be nil.
func NewReport(dir string, set *Set, environment string, from, to time.Time, status *Status) (*Report, error) {
	history, err := ReadHistory(dir)
	if err != nil {
		return nil, err
	}
	r := &Report{Set: set.Name, Environment: environment, From: from.UTC(), To: to.UTC(), Status: status}
	var all []Entry
	for _, e := range history.Rotations {
		if e.Set != set.Name || e.Environment != environment || e.Timestamp.After(to) {
			continue
		}
		all = append(all, e)
		if e.Timestamp.Before(from) {
			continue
		}
		r.Entries = append(r.Entries, e)
		switch {
		case e.Action == string(rollback):
			r.Rotations++
			r.Failed++
		case e.Action == string(rotate):
			r.Rotations++
			r.Succeeded++
		}
	}
	lines, oldest, err := logSpan(dir)
	if err != nil {
		return nil, err
	}
	r.Checklist = []Item{
		r.intervalItem(set, all), r.logged(all, status, lines), r.bits(set, all), r.graced(all),
		r.proved(), r.retentionItem(lines, oldest),
	}
	return r, nil
}

func logSpan(dir string) (lines int, oldest time.Time, err error) {
	f, err := os.Open(filepath.Join(dir, LogFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, oldest, nil
	}
	if err != nil {
		return 0, oldest, fmt.Errorf("reading the log of rotations: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		if text := s.Text(); lines == 0 && len(text) > 22 {
			oldest, _ = time.Parse("2006-01-02T15:04:05Z", text[1:21]) // zero is unknown
		}
	}
	return lines, oldest, nil
}

func (r *Report) intervalItem(set *Set, all []Entry) Item {
	item := Item{Demand: fmt.Sprintf("rotations are at most %s apart", set.MaxAge)}
	var last time.Time
	var longest time.Duration
	for _, e := range all {
		if e.Action != string(rotate) {
			continue
		}
		if !last.IsZero() && e.Timestamp.After(r.From) {
			longest = max(longest, e.Timestamp.Sub(last))
		}
		last = e.Timestamp
	}
	if last.IsZero() {
		item.Evidence = "the history has no rotation"
		return item
	}
	longest = max(longest, r.To.Sub(last))
	// A rotation waits for the hour of its timer, and for its window.
	item.Met = longest <= time.Duration(set.MaxAge)+overdueBy
	item.Evidence = fmt.Sprintf("the longest time without one is %.1f days; the last was %s", longest.Hours()/24, last.Format(time.RFC3339))
	return item
}

func (r *Report) logged(all []Entry, status *Status, lines int) Item {
	item := Item{Demand: "every rotation is recorded", Met: lines > 0 || len(all) == 0, Evidence: fmt.Sprintf("%d in the history, %d lines in the log", len(all), lines)}
	if status != nil && status.ID != "" {
		known := slices.ContainsFunc(all, func(e Entry) bool { return e.ID == status.ID })
		item.Met = item.Met && known
		if known {
			item.Evidence += "; that of the secrets in use is among them (" + status.ID + ")"
		} else {
			item.Evidence += "; the secrets in use are of the rotation " + status.ID + ", which this history does not have"
		}
	}
	return item
}

func (r *Report) bits(set *Set, all []Entry) Item {
	want := set.bits()
	item := Item{Demand: fmt.Sprintf("values have at least %d random bits", want), Met: len(all) > 0}
	least := 0
	for _, e := range all {
		if e.Action == string(rotate) && (least == 0 || e.Bits < least) {
			least = e.Bits
		}
	}
	item.Met = least >= want
	item.Evidence = fmt.Sprintf("the fewest in a rotation are %d", least)
	return item
}

func (r *Report) graced(all []Entry) Item {
	item := Item{Demand: "former values are kept through the grace period", Met: true}
	finished := 0
	for i, e := range all {
		if e.Action != string(finish) || i == 0 {
			continue
		}
		finished++
		grace, err := ParseDuration(all[i-1].Grace)
		if since := e.Timestamp.Sub(all[i-1].Timestamp); err == nil && since < time.Duration(grace) {
			item.Met = false
			item.Evidence = fmt.Sprintf("on %s they were taken away after %v; ", e.Timestamp.Format(time.DateOnly), since.Round(time.Minute))
		}
	}
	item.Evidence += fmt.Sprintf("%d times taken away", finished)
	return item
}

func (r *Report) proved() Item {
	item := Item{Demand: "no rotation took the service down", Met: true}
	proved := 0
	for _, e := range r.Entries {
		if e.Proved {
			proved++
		} else if e.Success {
			item.Met = false
		}
	}
	item.Evidence = fmt.Sprintf("%d of %d were proved with requests by current and former values; %d were rolled back", proved, len(r.Entries), r.Failed)
	return item
}

func (r *Report) retentionItem(lines int, oldest time.Time) Item {
	item := Item{Demand: "the log reaches back 90 days, and the history to the first rotation"}
	item.Met = lines > 0
	item.Evidence = "there is no log"
	if lines > 0 {
		item.Evidence = "the log begins " + oldest.Format(time.DateOnly) + "; the program takes no line away"
	}
	return item
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s in %s, %s to %s\n%d rotations: %d succeeded, %d rolled back\n", r.Set, r.Environment,
		r.From.Format(time.DateOnly), r.To.Format(time.DateOnly), r.Rotations, r.Succeeded, r.Failed)
	for _, i := range r.Checklist {
		if err == nil {
			_, err = fmt.Fprintf(w, "[%s] %s: %s\n", mark(i.Met), i.Demand, i.Evidence)
		}
	}
	for _, e := range r.Entries {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s %s %s by %s%s\n", e.Timestamp.Format(time.RFC3339), e.ID, e.Action, e.Operator, suffix(": ", e.Error))
		}
	}
	return err
}

func mark(met bool) string {
	if met {
		return "x"
	}
	return " "
}

func suffix(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// WriteHTML writes reports as one page that needs nothing else.
func WriteHTML(w io.Writer, reports []*Report) error {
	cell := func(text string) g.Node { return h.Td(g.Text(text)) }
	var parts []g.Node
	for _, r := range reports {
		var items, entries []g.Node
		for _, i := range r.Checklist {
			met := map[bool]string{true: "met", false: "not met"}[i.Met]
			items = append(items, h.Tr(cell(i.Demand), cell(met), cell(i.Evidence)))
		}
		for _, e := range r.Entries {
			entries = append(entries, h.Tr(cell(e.Timestamp.Format(time.RFC3339)), cell(e.ID), cell(e.Action), cell(e.Operator), cell(e.Error)))
		}
		parts = append(parts, h.H2(g.Textf("%s in %s", r.Set, r.Environment)),
			h.P(g.Textf("%s to %s: %d rotations, %d succeeded, %d rolled back", r.From.Format(time.DateOnly), r.To.Format(time.DateOnly), r.Rotations, r.Succeeded, r.Failed)),
			h.Table(h.THead(h.Tr(h.Th(g.Text("Demand")), h.Th(g.Text("Result")), h.Th(g.Text("Evidence")))), h.TBody(items...)),
			h.Table(h.THead(h.Tr(h.Th(g.Text("When")), h.Th(g.Text("Id")), h.Th(g.Text("What")), h.Th(g.Text("Who")), h.Th(g.Text("Error")))), h.TBody(entries...)))
	}
	return h.Doctype(h.HTML(h.Lang("en"), h.Head(h.Meta(h.Charset("utf-8")), h.TitleEl(g.Text("Rotation of secrets")),
		h.StyleEl(g.Raw("body{font-family:sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #999;padding:.3em .6em;text-align:left}"))),
		h.Body(append([]g.Node{h.H1(g.Text("Rotation of secrets"))}, parts...)...))).Render(w)
}
