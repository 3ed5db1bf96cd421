package kit

import (
	_ "embed"
	"fmt"
	"io"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

//go:embed kit.css
var style string

// HTML writes the kit as one HTML file that loads nothing from elsewhere: a page
// for each block, for A4 and Letter.
func HTML(w io.Writer, blocks []*paper.Block, date time.Time) error {
	pages, err := newPages(blocks, date)
	if err != nil {
		return err
	}
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(g.Attr("http-equiv", "Content-Security-Policy"), h.Content("default-src 'none'; style-src 'unsafe-inline'")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width")),
			h.Meta(h.Name("robots"), h.Content("noindex")),
			h.TitleEl(g.Text("takumi-backup paper kit")),
			h.StyleEl(g.Raw(style)),
		),
		h.Body(g.Map(pages, page.html)),
	)).Render(w)
}

func (p page) html() g.Node {
	return h.Section(
		h.H1(g.Text(p.Title)),
		h.P(g.Text(p.What)),
		h.Div(h.Class("top"), p.drawing(), h.Dl(g.Map(p.Facts, func(f fact) g.Node {
			return g.Group{h.Dt(g.Text(f.Name)), h.Dd(g.Text(f.Value))}
		}))),
		h.Pre(g.Text(p.Text)),
		h.H2(g.Text("To restore the key")),
		g.Map(p.Restore, step.html),
		h.H2(g.Text("Keep it safe")),
		h.Ul(g.Map(p.Warnings, func(warning string) g.Node { return h.Li(g.Text(warning)) })),
		h.Div(h.Class("sign"), g.Map(closing, func(line string) g.Node { return h.Span(g.Text(line)) })),
	)
}

func (p page) drawing() g.Node {
	n := len(p.code)
	return h.SVG(h.Role("img"), h.Aria("label", "QR code of the text below"), g.Attr("viewBox", fmt.Sprintf("0 0 %d %d", n, n)), g.Attr("shape-rendering", "crispEdges"),
		g.El("path", g.Attr("fill", "#fff"), g.Attr("d", fmt.Sprintf("M0 0h%dv%dH0z", n, n))),
		g.El("path", g.Attr("d", p.code.path())),
	)
}

func (s step) html() g.Node {
	return h.P(g.Text(s.Words), g.Map(s.Commands, func(command string) g.Node {
		return g.Group{g.Text(" "), h.Code(g.Text(command))}
	}))
}
