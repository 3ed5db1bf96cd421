package serve

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

type site struct {
	Source
	store   *cached[*view]
	audit   *cached[*tail]
	looking chan struct{} // into backups, by one at a time
}

func newSite(ctx context.Context, s Source) *site {
	return &site{
		Source:  s,
		store:   &cached[*view]{ctx: ctx, read: s.look},
		audit:   &cached[*tail]{ctx: ctx, read: s.recent},
		looking: make(chan struct{}, 1),
	}
}

func policy() string { return page.Policy() + "; frame-ancestors 'none'" }

type leaf struct {
	title   g.Node
	state   page.State
	nav     string // the part of the site that it belongs to
	at      time.Time
	content []g.Node
	code    int // of HTTP; 0 is 200
}

// parts are what each page leads to.
var parts = []struct{ path, name string }{{"/", "Status"}, {"/series", "Over time"}, {"/backups", "Backups"}, {"/findings", "Findings"}, {"/drills", "Drills"}, {"/audit", "Audit log"}}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/favicon.ico":
		w.WriteHeader(http.StatusNoContent)
	case path == "/audit":
		s.send(w, r, s.auditPage(s.audit.get(r.Context())))
	default:
		read := s.store.get(r.Context())
		if read.value == nil {
			s.send(w, r, unread(read))
			return
		}
		s.sendView(w, r, read)
	}
}

// sendView writes a page of the view, the dear ones as they were made before.
func (s *site) sendView(w http.ResponseWriter, r *http.Request, read result[*view]) {
	old := stale(read)
	l := func() leaf {
		l := s.leafAt(r, read.value)
		l.at, l.content = read.at, append(old, l.content...)
		return l
	}
	at := slices.Index([]string{"/", "/series", "/backups", "/findings", "/drills"}, r.URL.Path)
	if at < 0 || len(old) > 0 || r.URL.RawQuery != "" {
		s.send(w, r, l())
		return
	}
	made := &read.value.made[at]
	made.once.Do(func() { made.text, made.err = s.render(l()) })
	write(w, r, http.StatusOK, made.text, made.err)
}

func (s *site) leafAt(r *http.Request, v *view) leaf {
	number, err := strconv.Atoi(r.FormValue("page"))
	if err != nil || number < 1 {
		number = 1
	}
	switch path := r.URL.Path; path {
	case "/":
		return v.statusPage()
	case "/series":
		return v.seriesPage()
	case "/backups":
		return v.backupsPage(r.FormValue("series"), number)
	case "/findings":
		return v.findingsPage()
	case "/drills":
		return v.drillsPage()
	default:
		ref, inside := strings.CutSuffix(strings.TrimPrefix(path, "/backup/"), "/contents")
		e := v.find(ref)
		switch {
		case !strings.HasPrefix(path, "/backup/") || inside && s.Session == nil:
			return leaf{title: g.Text("there is no such page"), state: page.Unproven, code: http.StatusNotFound}
		case e == nil:
			return leaf{title: g.Text("this backup is not in the store any more"), state: page.Unproven, nav: "/backups", code: http.StatusNotFound}
		case inside:
			return s.contentsPage(r.Context(), e, number, r.RemoteAddr)
		}
		return s.backupPage(e, v)
	}
}

func unread(read result[*view]) leaf {
	l := leaf{title: g.Text("the store is being read"), state: page.Unproven, code: http.StatusServiceUnavailable,
		content: []g.Node{h.P(h.Class("more"), h.A(h.Href("/"), g.Text("Look again")))}}
	if read.err != nil {
		l.title, l.state = g.Text("the store cannot be read"), page.Failed
		l.content = []g.Node{failure(read.err)}
	}
	return l
}

func stale(read result[*view]) []g.Node {
	switch {
	case read.err != nil:
		return []g.Node{page.Section("stale", "The store cannot be read", page.Note("The rest of the page is from "+page.TimeText(read.at)+"."), failure(read.err))}
	case time.Since(read.at) > 2*max(held, spared*read.took):
		return []g.Node{page.Note("The store is being read anew, which takes a while: what is below is as it was on " + page.TimeText(read.at) + ".")}
	}
	return nil
}

func failure(err error) g.Node {
	_, hint := fail.Of(err)
	return h.Article(h.Class("finding failed"),
		h.P(page.BDI(redact.Keys(err.Error()))),
		g.If(hint != "", h.P(h.Class("advice"), h.Strong(g.Text("What to do:")), g.Text(" "), page.BDI(hint))),
	)
}

func (s *site) send(w http.ResponseWriter, r *http.Request, l leaf) {
	text, err := s.render(l)
	write(w, r, cmp.Or(l.code, http.StatusOK), text, err)
}

func (s *site) render(l leaf) ([]byte, error) {
	var text bytes.Buffer
	err := s.document(l).Render(&text)
	return text.Bytes(), err
}

func write(w http.ResponseWriter, r *http.Request, code int, text []byte, err error) {
	if err != nil {
		plain(w, http.StatusInternalServerError, "the page cannot be made")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		w.Write(text)
	}
}

func (s *site) document(l leaf) g.Node {
	return page.Document(g.Group{page.Text(l.state), g.Text(": "), l.title, g.Text(" · takumi-backup")},
		h.A(h.Class("skip"), h.Href("#content"), g.Text("Skip to the content")),
		h.Header(h.Class(string(l.state)),
			h.P(h.Class("what"), g.Text("takumi-backup")),
			h.H1(page.Mark(l.state), g.Text(" "), l.title),
			h.P(page.Code(s.Root), g.If(!l.at.IsZero(), g.Group{g.Text(", as of "), h.Time(h.DateTime(l.at.UTC().Format(time.RFC3339)), page.At(l.at))})),
		),
		h.Nav(h.Aria("label", "Parts"), h.Ul(g.Map(parts, func(p struct{ path, name string }) g.Node {
			return h.Li(h.A(h.Href(p.path), g.If(p.path == l.nav, h.Aria("current", "page")), g.Text(p.name)))
		}))),
		h.Main(h.ID("content"), h.TabIndex("-1"), g.Group(l.content)),
		h.Footer(h.P(g.Text("All times are UTC. Nothing can be changed here."))),
	)
}

// pages are the links from one page of a list to its neighbours.
func pages(path string, number, last int) g.Node {
	if last < 2 {
		return g.Group{}
	}
	if !strings.Contains(path, "?") {
		path += "?"
	} else {
		path += "&"
	}
	to := func(n int, rel, words string) g.Node {
		return g.If(n >= 1 && n <= last, h.A(h.Href(fmt.Sprintf("%spage=%d", path, n)), h.Rel(rel), g.Text(words)))
	}
	return h.Nav(h.Class("more"), h.Aria("label", "Pages"), to(number-1, "prev", "Newer"), h.Span(g.Textf("Page %d of %d", number, last)), to(number+1, "next", "Older"))
}
