// Package page has what the HTML pages of this program have in common: the style, a
// content security policy that allows nothing else, and nodes for text from outside,
// which is never taken for markup and shows what it is.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/internal/values"
)

//go:embed page.css
var style string

// Policy is the content security policy of a page: it names the hash of the style, so
// that nothing else, from wherever, is taken for a style or a script.
func Policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// Document is a whole page.
func Document(title g.Node, body ...g.Node) g.Node {
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(g.Attr("http-equiv", "Content-Security-Policy"), h.Content(Policy())),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.Meta(h.Name("robots"), h.Content("noindex")),
			h.TitleEl(title),
			h.StyleEl(g.Raw(style)),
		),
		h.Body(body...),
	))
}

// Show makes text from outside show what it is: a character that does not print, or
// that turns the direction of others, becomes its number.
func Show(text any) string {
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

// Text from outside comes to a page by these three alone: bare, apart from the
// direction of what is around it, and as code.
func Shown(text any) g.Node { return g.Text(Show(text)) }
func BDI(text any) g.Node   { return g.El("bdi", Shown(text)) }
func Code(text any) g.Node  { return h.Code(Shown(text)) }

// Text, Size, At and Short are values of the program's own.
func Text(v any) g.Node        { return g.Text(fmt.Sprint(v)) }
func Size(n int64) g.Node      { return g.Text(values.BytesText(n)) }
func At(t time.Time) g.Node    { return g.Text(TimeText(t)) }
func Short(t time.Time) g.Node { return g.Text(t.UTC().Format("2006-01-02 15:04")) }

// AtOr is a time, or what is said when there is none.
func AtOr(t time.Time, none string) g.Node {
	if t.IsZero() {
		return g.Text(none)
	}
	return At(t)
}

// Note is a remark, and Fact a name with its value, for a list of facts.
func Note(s string) g.Node { return h.P(h.Class("note"), g.Text(s)) }
func Fact(name string, value ...g.Node) g.Node {
	return h.Div(h.Dt(g.Text(name)), h.Dd(value...))
}

// Section is a part of a page with its heading.
func Section(id, heading string, content ...g.Node) g.Node {
	return h.Section(append([]g.Node{h.Aria("labelledby", id), h.H2(h.ID(id), g.Text(heading))}, content...)...)
}

// State is how something is; each has its colour and its shape.
type State string

// The states.
const (
	Failed   State = "failed"
	Warned   State = "warned"
	Good     State = "good"
	Unproven State = "unproven" // nothing speaks against it, and nothing for it
)

// States are all of them, the worst first.
var States = []State{Failed, Warned, Unproven, Good}

// Rank is smaller for what is worse.
func (s State) Rank() int { return slices.Index(States, s) }

// Mark shows a state by its shape, for who does not see its colour.
func Mark(s State) g.Node {
	sign := func(d string) g.Node { return g.El("path", h.Class("sign"), g.Attr("d", d)) }
	circle := func(r string, class g.Node) g.Node {
		return g.El("circle", class, g.Attr("cx", "8"), g.Attr("cy", "8"), g.Attr("r", r))
	}
	shape := circle("6.5", h.Class("ring"))
	switch s {
	case Failed:
		shape = g.Group{g.El("path", g.Attr("d", "M8 0l8 8-8 8-8-8z")), sign("M5.5 5.5l5 5m0-5l-5 5")}
	case Warned:
		shape = g.Group{g.El("path", g.Attr("d", "M8 1l8 14H0z")), sign("M8 6v4m0 2v1")}
	case Good:
		shape = g.Group{circle("8", nil), sign("M4.5 8.5l2.5 2.5 4.5-5")}
	}
	return h.SVG(h.Class("mark "+string(s)), g.Attr("viewBox", "0 0 16 16"), h.Aria("hidden", "true"), shape)
}

// Column is one of a table; each cell has its name too, for narrow screens.
type Column struct{ Name, Class string }

// Columns are those of these names, each with a class behind "|" where it has one.
func Columns(names ...string) (all []Column) {
	for _, name := range names {
		name, class, _ := strings.Cut(name, "|")
		all = append(all, Column{name, class})
	}
	return all
}

func (c Column) head() g.Node {
	return h.Th(h.Role("columnheader"), h.Scope("col"), g.If(c.Class == "number", h.Class(c.Class)), g.Text(c.Name))
}

// Cell is one of the column's cells.
func (c Column) Cell(content ...g.Node) g.Node {
	return h.Td(append([]g.Node{h.Role("cell"), g.If(c.Class != "", h.Class(c.Class)), h.Data("label", c.Name)}, content...)...)
}

// Row is one of a table, of the cells of its columns.
func Row(cells ...g.Node) g.Node { return h.Tr(append([]g.Node{h.Role("row")}, cells...)...) }

// Table is a table of rows.
func Table(columns []Column, rows g.Node) g.Node {
	return h.Table(h.Role("table"),
		h.THead(h.Role("rowgroup"), h.Tr(h.Role("row"), g.Map(columns, Column.head))),
		h.TBody(h.Role("rowgroup"), rows),
	)
}

// TimeText is a time for people.
func TimeText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// CountText is a number of things.
func CountText(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
