package report

import (
	"fmt"
	"strconv"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
)

func (v *view) page() g.Node {
	return page.Document(g.Group{page.Text(v.State), g.Text(": backups of "), page.Shown(v.Host), g.Text(", "), page.At(v.Finished)},
		h.Header(h.Class(string(v.State)),
			h.P(h.Class("what"), g.Text("Verification of backups")),
			h.H1(page.Mark(v.State), g.Text(" "+v.Verdict)),
			h.P(page.BDI(v.Host), g.Text(", "), h.Time(h.DateTime(v.Finished.UTC().Format(time.RFC3339)), page.At(v.Finished))),
		),
		h.Main(
			v.tiles(),
			g.If(v.Interrupted, page.Note("This run was stopped before all was done. Backups that it did not reach are as the last run left them.")),
			FindingsPart(v.Report),
			OverTime(v.Report),
			g.If(len(v.Keys) > 0, v.keys()),
			v.run(),
			v.backups(),
		),
	)
}

func (v *view) tiles() g.Node {
	s := v.Summary
	tile := func(name string, bad State, value ...g.Node) g.Node {
		return h.Div(g.If(bad != "", h.Class(string(bad))), h.Dt(g.Text(name)), h.Dd(value...))
	}
	when := func(n int, s State) State {
		if n > 0 {
			return s
		}
		return ""
	}
	return h.Dl(h.Class("tiles"),
		tile("Backups", "", page.Text(s.Backups)),
		tile("Read in this run", "", page.Text(s.Checked), g.Text(" "), h.Small(page.Size(s.Bytes))),
		tile("Failed", when(s.Failed, failed), page.Text(s.Failed)),
		tile("Warnings", when(s.Warnings, warned), page.Text(s.Warnings)),
		tile("Level", "", page.Text(v.Level)),
		tile("Took", "", g.Text(v.Took)),
	)
}

// FindingsPart is the part of a page that has all findings of a report, those of a kind
// together and the worst first.
func FindingsPart(r *verify.Report) g.Node {
	all := groups(r)
	return page.Section("findings", "Findings",
		g.If(len(all) == 0, h.P(g.Text("Nothing was found wrong."))),
		g.Map(all, func(found *group) g.Node {
			class := warned
			if found.Severity == verify.Error {
				class = failed
			}
			return h.Article(h.Class("finding "+string(class)),
				h.H3(g.El("bdi", g.Text(Words(found.Code))), g.Text(" "), h.Span(h.Class("badge"), page.Shown(found.Severity))),
				g.If(found.Advice != "", h.P(h.Class("advice"), h.Strong(g.Text("What to do:")), g.Text(" "), page.BDI(found.Advice))),
				h.Ul(g.Map(found.Open, findingItem)),
				g.If(len(found.Folded) > 0, h.Details(h.Summary(g.Textf("%d more", len(found.Folded))), h.Ul(g.Map(found.Folded, findingItem)))),
				g.If(found.More > 0, page.Note(fmt.Sprintf("And %d further ones, which the JSON report lists.", found.More))),
			)
		}),
	)
}

func findingItem(it item) g.Node {
	return h.Li(g.If(it.Path != "", page.Code(it.Path)), h.Span(page.BDI(it.Message)))
}

// OverTime is the part of a page that draws the series of a report, each with the sizes
// of its backups and with when they were proven.
func OverTime(r *verify.Report) g.Node {
	all, more := charts(r)
	if len(all) == 0 {
		return g.Group{}
	}
	legend := func(s State) g.Node { return h.Li(page.Mark(s), g.Text(" "+string(s))) }
	return page.Section("series", "Over time",
		page.Note("Above, the size of each backup. Below, from when it was made to when it was last proven: the flatter the line, the longer that took."),
		h.Ul(h.Class("legend"), legend(good), legend(warned), legend(failed), legend(unproven)),
		h.Div(h.Class("charts"), g.Map(all, chart.figure)),
		g.If(more > 0, page.Note(fmt.Sprintf("And %d further series, in which nothing is worse.", more))),
	)
}

func (c chart) figure() g.Node {
	proven := g.Text("never")
	if !c.LastProof.IsZero() {
		proven = g.Textf("%s, %v", page.TimeText(c.LastProof), c.LastProofLevel)
	}
	all := fmt.Sprintf("%s, %s", page.CountText(c.Count, "backup"), values.BytesText(c.Total))
	if c.Omitted > 0 {
		all += fmt.Sprintf("; the oldest %d are not drawn", c.Omitted)
	}
	return h.Figure(
		h.FigCaption(
			h.H3(page.Mark(c.State), g.Text(" "), page.BDI(c.Name)),
			h.P(page.BDI(c.Kind), g.Text(" in "), page.Code(c.Folder)),
		),
		h.SVG(g.Attr("viewBox", "0 0 340 180"), h.Role("img"), h.Aria("labelledby", c.ID),
			h.TitleEl(h.ID(c.ID), page.Shown(c.Words)),
			g.El("path", h.Class("grid"), g.Attr("d", "M8 24H332M8 70H332M8 116H332M8 154H332")),
			caption(8, 16, "", values.BytesText(c.Largest)),
			g.El("polyline", h.Class("size"), g.Attr("points", c.Line)),
			g.Map(c.Proofs, proof.line),
			g.Map(c.Points, point.mark),
			caption(8, 174, "", c.From),
			caption(332, 174, "end", c.To),
		),
		h.Dl(
			page.Fact("Newest", page.At(c.Newest.Created), g.Text(", "), h.Span(page.Size(c.Newest.Size))),
			page.Fact("Last proven", proven),
			page.Fact("In all", g.Text(all)),
		),
	)
}

func caption(x, y int, class, words string) g.Node {
	return g.El("text", g.Attr("x", strconv.Itoa(x)), g.Attr("y", strconv.Itoa(y)), g.If(class != "", h.Class(class)), g.Text(words))
}

func (p proof) line() g.Node {
	return g.Group{
		g.El("path", h.Class("proof"), g.Attr("d", fmt.Sprintf("M%v 124L%v 154", p.From, p.To))),
		g.El("circle", h.Class("proof"), g.Attr("cx", p.To.String()), g.Attr("cy", "154"), g.Attr("r", "2.5")),
	}
}

func (p point) mark() g.Node {
	shape := g.El("circle", g.Attr("cx", p.X.String()), g.Attr("cy", p.Y.String()), g.Attr("r", "3"))
	from := func(outline string) g.Node {
		return g.El("path", g.Attr("d", fmt.Sprintf("M%v %v%s", p.X, p.Y-5, outline)))
	}
	switch p.State {
	case failed:
		shape = from("l5 5-5 5-5-5z")
	case warned:
		shape = from("l5 8h-10z")
	}
	return g.El("g", h.Class("point "+string(p.State)), h.TitleEl(g.Text(p.Title)), shape)
}

func (v *view) keys() g.Node {
	columns := page.Columns("Key", "Provider", "In use since", "Next rotation")
	return page.Section("keys", "Keys", page.Table(columns, g.Map(v.Keys, func(k verify.Key) g.Node {
		return page.Row(
			columns[0].Cell(page.Code(k.ID)),
			columns[1].Cell(page.BDI(k.Provider)),
			columns[2].Cell(page.AtOr(k.Activated, "unknown")),
			columns[3].Cell(page.AtOr(k.NextRotation, "unknown"), g.If(k.Overdue, g.Group{g.Text(" "), h.Span(h.Class("badge warned"), g.Text("overdue"))})),
		)
	})))
}

func (v *view) run() g.Node {
	return page.Section("run", "The run",
		h.Dl(h.Class("facts"),
			page.Fact("Looked in", g.Map(v.Roots, func(root string) g.Node { return g.Group{page.Code(root), g.Text(" ")} })),
			page.Fact("Level", page.Text(v.Level)),
			g.If(v.Shard != "", page.Fact("Shard", page.BDI(v.Shard))),
			page.Fact("Began", page.At(v.Started)),
			page.Fact("Ended", page.At(v.Finished)),
			page.Fact("Program", page.BDI(v.Program)),
		),
		g.If(v.Checkpoint != "", g.Group{h.H3(g.Text("Checkpoint of the audit log")), h.Pre(h.TabIndex("0"), g.Text(v.Checkpoint))}),
	)
}

func (v *view) backups() g.Node {
	columns := page.Columns("State", "Backup", "Kind", "Made (UTC)|when", "Size|number", "Proven (UTC)", "Key|id")
	if len(v.Rows) == 0 {
		return page.Section("backups", "Backups", h.P(g.Text("There are no backups.")))
	}
	return page.Section("backups", "Backups",
		page.Table(columns, g.Map(v.Rows, func(r row) g.Node {
			return page.Row(
				columns[0].Cell(page.Mark(r.State), g.Text(" "+string(r.State))),
				columns[1].Cell(g.El("bdi", h.Class("name"), page.Shown(r.Name)), page.Code(r.Path)),
				columns[2].Cell(r.kind()),
				columns[3].Cell(r.made()),
				columns[4].Cell(page.Size(r.Size)),
				columns[5].Cell(r.proven()),
				columns[6].Cell(r.keys()),
			)
		})),
		g.If(v.MoreRows > 0, page.Note(fmt.Sprintf("And %d further ones, which the JSON report lists.", v.MoreRows))),
	)
}

func (r row) kind() g.Node {
	if r.Kind == "" {
		return g.Text("unknown")
	}
	return page.BDI(r.Kind)
}

func (r row) made() g.Node {
	if r.Created.IsZero() {
		return g.Text("unknown")
	}
	return page.Short(r.Created)
}

func (r row) proven() g.Node {
	when := g.Node(g.Text("never"))
	if r.Proven > verify.None {
		when = g.Group{page.Short(r.ProvenAt), g.Textf(" %v", r.Proven)}
	}
	if r.Checked {
		return when
	}
	return g.Group{when, h.Small(g.Text("not read in this run"), g.If(r.Why != "", g.Group{g.Text(": "), page.BDI(r.Why)}))}
}

func (r row) keys() g.Node {
	switch {
	case r.KeyID != "":
		return page.Code(r.KeyID)
	case len(r.KeyIDs) == 0:
		return g.Text("unknown")
	}
	return g.Map(r.KeyIDs, func(id string) g.Node { return g.Group{page.Code(id), g.Text(" ")} })
}
