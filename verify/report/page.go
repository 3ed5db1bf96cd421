package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/verify"
)

//go:embed page.css
var styleText string

// policy names the hash of the style, so that nothing else, from wherever, is
// taken for a style or a script.
func policy() string {
	sum := sha256.Sum256([]byte(styleText))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// Text from outside comes to the page by these alone.
func shown(text any) g.Node { return g.Text(show(text)) }
func bdi(text any) g.Node   { return g.El("bdi", shown(text)) }
func code(text any) g.Node  { return h.Code(shown(text)) }

func text(v any) g.Node     { return g.Text(fmt.Sprint(v)) }
func size(n int64) g.Node   { return g.Text(bytesText(n)) }
func at(t time.Time) g.Node { return g.Text(timeText(t)) }
func note(s string) g.Node  { return h.P(h.Class("note"), g.Text(s)) }
func fact(name string, value ...g.Node) g.Node {
	return h.Div(h.Dt(g.Text(name)), h.Dd(value...))
}

// atOr is a time, or what is said when there is none.
func atOr(t time.Time, none string) g.Node {
	if t.IsZero() {
		return g.Text(none)
	}
	return at(t)
}

func short(t time.Time) g.Node { return g.Text(t.UTC().Format("2006-01-02 15:04")) }

// page is the whole page.
func (v *view) page() g.Node {
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(g.Attr("http-equiv", "Content-Security-Policy"), h.Content(policy())),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.Meta(h.Name("robots"), h.Content("noindex")),
			h.TitleEl(text(v.State), g.Text(": backups of "), shown(v.Host), g.Text(", "), at(v.Finished)),
			h.StyleEl(g.Raw(styleText)),
		),
		h.Body(
			h.Header(h.Class(string(v.State)),
				h.P(h.Class("what"), g.Text("Verification of backups")),
				h.H1(mark(v.State), g.Text(" "+v.Verdict)),
				h.P(bdi(v.Host), g.Text(", "), h.Time(h.DateTime(v.Finished.UTC().Format(time.RFC3339)), at(v.Finished))),
			),
			h.Main(
				v.tiles(),
				g.If(v.Interrupted, note("This run was stopped before all was done. What it did not reach is as the last run left it.")),
				v.findings(),
				g.If(len(v.Charts) > 0, v.overTime()),
				g.If(len(v.Keys) > 0, v.keys()),
				v.run(),
				v.backups(),
			),
		),
	))
}

func (v *view) tiles() g.Node {
	s := v.Summary
	tile := func(name string, bad state, value ...g.Node) g.Node {
		return h.Div(g.If(bad != "", h.Class(string(bad))), h.Dt(g.Text(name)), h.Dd(value...))
	}
	when := func(n int, s state) state {
		if n > 0 {
			return s
		}
		return ""
	}
	return h.Dl(h.Class("tiles"),
		tile("Backups", "", text(s.Backups)),
		tile("Read in this run", "", text(s.Checked), g.Text(" "), h.Small(size(s.Bytes))),
		tile("Failed", when(s.Failed, failed), text(s.Failed)),
		tile("Warnings", when(s.Warnings, warned), text(s.Warnings)),
		tile("Level", "", text(v.Level)),
		tile("Took", "", g.Text(v.Took)),
	)
}

// section is a part of the page with its heading.
func section(id, heading string, content ...g.Node) g.Node {
	return h.Section(append([]g.Node{h.Aria("labelledby", id), h.H2(h.ID(id), g.Text(heading))}, content...)...)
}

func (v *view) findings() g.Node {
	return section("findings", "Findings",
		g.If(len(v.Groups) == 0, h.P(g.Text("Nothing was found wrong."))),
		g.Map(v.Groups, func(found *group) g.Node {
			class := warned
			if found.Severity == verify.Error {
				class = failed
			}
			return h.Article(h.Class("finding "+string(class)),
				h.H3(g.El("bdi", g.Text(words(found.Code))), g.Text(" "), h.Span(h.Class("badge"), shown(found.Severity))),
				g.If(found.Advice != "", h.P(h.Class("advice"), h.Strong(g.Text("What to do:")), g.Text(" "), bdi(found.Advice))),
				h.Ul(g.Map(found.Open, findingItem)),
				g.If(len(found.Folded) > 0, h.Details(h.Summary(g.Textf("%d more", len(found.Folded))), h.Ul(g.Map(found.Folded, findingItem)))),
				g.If(found.More > 0, note(fmt.Sprintf("And %d further ones, which the JSON report lists.", found.More))),
			)
		}),
	)
}

func findingItem(it item) g.Node {
	return h.Li(g.If(it.Path != "", code(it.Path)), h.Span(bdi(it.Message)))
}

func (v *view) overTime() g.Node {
	legend := func(s state) g.Node { return h.Li(mark(s), g.Text(" "+string(s))) }
	return section("series", "Over time",
		note("Above, the size of each backup. Below, from when it was made to when it was last proven: the flatter the line, the longer that took."),
		h.Ul(h.Class("legend"), legend(good), legend(warned), legend(failed), legend(unproven)),
		h.Div(h.Class("charts"), g.Map(v.Charts, chart.figure)),
		g.If(v.MoreCharts > 0, note(fmt.Sprintf("And %d further series, in which nothing is worse.", v.MoreCharts))),
	)
}

func (c chart) figure() g.Node {
	proven := g.Text("never")
	if !c.LastProof.IsZero() {
		proven = g.Textf("%s, %v", timeText(c.LastProof), c.LastProofLevel)
	}
	all := fmt.Sprintf("%s, %s", countText(c.Count, "backup"), bytesText(c.Total))
	if c.Omitted > 0 {
		all += fmt.Sprintf("; the oldest %d are not drawn", c.Omitted)
	}
	return h.Figure(
		h.FigCaption(
			h.H3(mark(c.State), g.Text(" "), bdi(c.Name)),
			h.P(bdi(c.Kind), g.Text(" in "), code(c.Folder)),
		),
		h.SVG(g.Attr("viewBox", "0 0 340 180"), h.Role("img"), h.Aria("labelledby", c.ID),
			h.TitleEl(h.ID(c.ID), shown(c.Words)),
			g.El("path", h.Class("grid"), g.Attr("d", "M8 24H332M8 70H332M8 116H332M8 154H332")),
			caption(8, 16, "", bytesText(c.Largest)),
			g.El("polyline", h.Class("size"), g.Attr("points", c.Line)),
			g.Map(c.Proofs, proof.line),
			g.Map(c.Points, point.mark),
			caption(8, 174, "", c.From),
			caption(332, 174, "end", c.To),
		),
		h.Dl(
			fact("Newest", at(c.Newest.Created), g.Text(", "), h.Span(size(c.Newest.Size))),
			fact("Last proven", proven),
			fact("In all", g.Text(all)),
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

// mark shows a state by its shape, for who does not see its colour.
func mark(s state) g.Node {
	sign := func(d string) g.Node { return g.El("path", h.Class("sign"), g.Attr("d", d)) }
	circle := func(r string, class g.Node) g.Node {
		return g.El("circle", class, g.Attr("cx", "8"), g.Attr("cy", "8"), g.Attr("r", r))
	}
	shape := circle("6.5", h.Class("ring"))
	switch s {
	case failed:
		shape = g.Group{g.El("path", g.Attr("d", "M8 0l8 8-8 8-8-8z")), sign("M5.5 5.5l5 5m0-5l-5 5")}
	case warned:
		shape = g.Group{g.El("path", g.Attr("d", "M8 1l8 14H0z")), sign("M8 6v4m0 2v1")}
	case good:
		shape = g.Group{circle("8", nil), sign("M4.5 8.5l2.5 2.5 4.5-5")}
	}
	return h.SVG(h.Class("mark "+string(s)), g.Attr("viewBox", "0 0 16 16"), h.Aria("hidden", "true"), shape)
}

// column is one of a table; its name is in each cell too, for narrow screens.
type column struct{ name, class string }

func (c column) head() g.Node {
	return h.Th(h.Role("columnheader"), h.Scope("col"), g.If(c.class == "number", h.Class(c.class)), g.Text(c.name))
}

// cell is one of the column's cells.
func (c column) cell(content ...g.Node) g.Node {
	return h.Td(append([]g.Node{h.Role("cell"), g.If(c.class != "", h.Class(c.class)), h.Data("label", c.name)}, content...)...)
}

func table(columns []column, rows g.Node) g.Node {
	return h.Table(h.Role("table"),
		h.THead(h.Role("rowgroup"), h.Tr(h.Role("row"), g.Map(columns, column.head))),
		h.TBody(h.Role("rowgroup"), rows),
	)
}

func (v *view) keys() g.Node {
	columns := []column{{name: "Key"}, {name: "Provider"}, {name: "In use since"}, {name: "Next rotation"}}
	return section("keys", "Keys", table(columns, g.Map(v.Keys, func(k verify.Key) g.Node {
		return h.Tr(h.Role("row"),
			columns[0].cell(code(k.ID)),
			columns[1].cell(bdi(k.Provider)),
			columns[2].cell(atOr(k.Activated, "unknown")),
			columns[3].cell(atOr(k.NextRotation, "unknown"), g.If(k.Overdue, g.Group{g.Text(" "), h.Span(h.Class("badge warned"), g.Text("overdue"))})),
		)
	})))
}

func (v *view) run() g.Node {
	return section("run", "The run",
		h.Dl(h.Class("facts"),
			fact("Looked in", g.Map(v.Roots, func(root string) g.Node { return g.Group{code(root), g.Text(" ")} })),
			fact("Level", text(v.Level)),
			g.If(v.Shard != "", fact("Shard", bdi(v.Shard))),
			fact("Began", at(v.Started)),
			fact("Ended", at(v.Finished)),
			fact("Program", bdi(v.Program)),
		),
		g.If(v.Checkpoint != "", g.Group{h.H3(g.Text("Checkpoint of the audit log")), h.Pre(h.TabIndex("0"), g.Text(v.Checkpoint))}),
	)
}

func (v *view) backups() g.Node {
	columns := []column{{name: "State"}, {name: "Backup"}, {name: "Kind"}, {"Made (UTC)", "when"}, {"Size", "number"}, {name: "Proven (UTC)"}, {"Key", "id"}}
	if len(v.Rows) == 0 {
		return section("backups", "Backups", h.P(g.Text("There are no backups.")))
	}
	return section("backups", "Backups",
		table(columns, g.Map(v.Rows, func(r row) g.Node {
			return h.Tr(h.Role("row"),
				columns[0].cell(mark(r.State), g.Text(" "+string(r.State))),
				columns[1].cell(g.El("bdi", h.Class("name"), shown(r.Name)), code(r.Path)),
				columns[2].cell(r.kind()),
				columns[3].cell(r.made()),
				columns[4].cell(size(r.Size)),
				columns[5].cell(r.proven()),
				columns[6].cell(r.keys()),
			)
		})),
		g.If(v.MoreRows > 0, note(fmt.Sprintf("And %d further ones, which the JSON report lists.", v.MoreRows))),
	)
}

func (r row) kind() g.Node {
	if r.Kind == "" {
		return g.Text("unknown")
	}
	return bdi(r.Kind)
}

func (r row) made() g.Node {
	if r.Created.IsZero() {
		return g.Text("unknown")
	}
	return short(r.Created)
}

func (r row) proven() g.Node {
	when := g.Node(g.Text("never"))
	if r.Proven > verify.None {
		when = g.Group{short(r.ProvenAt), g.Textf(" %v", r.Proven)}
	}
	if r.Checked {
		return when
	}
	return g.Group{when, h.Small(g.Text("not read in this run"), g.If(r.Why != "", g.Group{g.Text(": "), bdi(r.Why)}))}
}

func (r row) keys() g.Node {
	switch {
	case r.KeyID != "":
		return code(r.KeyID)
	case len(r.KeyIDs) == 0:
		return g.Text("unknown")
	}
	return g.Map(r.KeyIDs, func(id string) g.Node { return g.Group{code(id), g.Text(" ")} })
}
