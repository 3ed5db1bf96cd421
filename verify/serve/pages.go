package serve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/drill"
	"github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/runs"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

const (
	onPage      = 100 // backups
	maxSeries   = 200
	maxTroubles = 50
)

type trouble struct {
	state page.State
	words g.Node
	cure  string // a command
}

func (v *view) troubles() (all []trouble) {
	add := func(s page.State, cure string, words ...g.Node) { all = append(all, trouble{s, g.Group(words), cure}) }
	for _, w := range v.warnings {
		add(page.Warned, "", page.BDI(w))
	}
	for i := range v.Series {
		l := &v.Series[i]
		name := g.Group{page.BDI(l.Kind), g.Text(" "), page.BDI(l.Name)}
		switch {
		case l.Path == "":
			add(page.Failed, "takumi-backup verify "+fsutil.ShellWord(l.Folder), name, g.Text(": no backup of it is good"))
		case l.Late:
			add(page.Failed, "takumi-backup backup all", name, g.Text(": the last good backup is late, from "+v.ago(l.Created)))
		}
		if l.Path != "" && l.Bad > 0 {
			add(page.Warned, "takumi-backup verify "+fsutil.ShellWord(l.Folder), name, g.Textf(": %d of %d are bad or in doubt", l.Bad, l.Backups))
		}
	}
	for _, c := range v.lacking() {
		add(page.Warned, "takumi-backup replicate "+fsutil.ShellWord(v.Store)+" "+fsutil.ShellWord(c.Store),
			page.Code(c.Store), g.Textf(" lacks the last good backup of %d series", c.series), g.If(c.Error != "", page.BDI(": "+c.Error)))
	}
	for task, t := range v.Jobs {
		if t.Error != "" {
			add(page.Failed, "", page.BDI(task), g.Text(": the last run failed: "), page.BDI(failedParts(t)))
		}
	}
	for _, t := range v.timers {
		if t.Next.IsZero() {
			add(page.Warned, "systemctl enable --now "+fsutil.ShellWord(t.Unit), page.BDI(t.Unit), g.Text(" is off"))
		}
	}
	for _, k := range v.Keys {
		if k.Overdue {
			add(page.Warned, "takumi-backup key rotate --help", g.Text("key "), page.Code(k.ID), g.Text(" was to be rotated by "+k.Due.Format(time.DateOnly)))
		}
	}
	if v.Unknown > 0 {
		add(page.Warned, "takumi-backup list "+fsutil.ShellWord(v.Store), g.Text(page.CountText(v.Unknown, "file")+" of the store cannot be read as a backup"))
	}
	slices.SortStableFunc(all, func(a, b trouble) int { return cmp.Compare(a.state, b.state) }) // failed, warned
	return all
}

// lacks is a store that has not all that it should have.
type lacks struct {
	status.Copy
	series int // of which the last good backup is missing
}

func (v *view) lacking() (all []lacks) {
	for i := range v.Series {
		for _, c := range v.Series[i].Copies {
			if c.Has {
				continue
			}
			at := slices.IndexFunc(all, func(l lacks) bool { return l.Store == c.Store })
			if at < 0 {
				at, all = len(all), append(all, lacks{Copy: c})
			}
			all[at].series++
		}
	}
	return all
}

func failedParts(t runs.Task) string {
	var words []string
	for _, p := range t.Parts {
		if p.Error != "" {
			words = append(words, p.Name+": "+p.Error)
		}
	}
	return cmp.Or(strings.Join(words, "; "), t.Error)
}

func (v *view) statusPage() leaf {
	troubles := v.troubles()
	l := leaf{title: g.Text("all is well"), state: page.Good, nav: "/"}
	switch {
	case len(troubles) > 0:
		l.state, l.title = troubles[0].state, g.Text(page.CountText(len(troubles), "thing")+" to look at")
	case len(v.Series) == 0:
		l.state, l.title = page.Unproven, g.Text("there are no backups")
	default:
		unproven := 0
		for i := range v.Series {
			if lineState(&v.Series[i]) == page.Unproven {
				unproven++
			}
		}
		if unproven > 0 {
			l.state, l.title = page.Unproven, g.Textf("nothing is wrong, and %d of %d series are not verified", unproven, len(v.Series))
		}
	}
	more := len(troubles) - maxTroubles
	troubles = troubles[:min(len(troubles), maxTroubles)]
	l.content = []g.Node{
		g.If(len(troubles) > 0, page.Section("troubles", "What to look at", h.Article(h.Class("finding "+string(l.state)), h.Ul(g.Map(troubles, func(t trouble) g.Node {
			return h.Li(page.Mark(t.state), g.Text(" "), t.words, g.If(t.cure != "", page.Code(t.cure)))
		}))), g.If(more > 0, page.Note(fmt.Sprintf("And %d further ones.", more))))),
		page.Section("series", "Series", v.seriesTable()),
		page.Section("jobs", "Jobs", v.jobsTable()),
		g.If(len(v.timers) > 0, page.Section("timers", "Timers", h.Dl(h.Class("facts"), g.Map(v.timers, func(t status.Timer) g.Node {
			return h.Div(h.Dt(page.BDI(t.Unit)), h.Dd(page.AtOr(t.Next, "off")))
		})))),
		g.If(len(v.Keys) > 0, page.Section("keys", "Keys", v.keysTable())),
	}
	return l
}

func (v *view) ago(t time.Time) string {
	switch age := prune.Age(v.Time.Sub(t)); {
	case t.IsZero():
		return "never"
	case v.Time.Sub(t) < time.Minute:
		return age
	default:
		return age + " ago"
	}
}

func lineState(l *status.Series) page.State {
	switch {
	case l.Path == "" || l.Late:
		return page.Failed
	case l.Bad > 0 || slices.ContainsFunc(l.Copies, func(c status.Copy) bool { return !c.Has }):
		return page.Warned
	case l.VerifiedAt.IsZero():
		return page.Unproven
	}
	return page.Good
}

func seriesRef(folder, kind, name string) string { return refOf(folder + "\n" + kind + "\n" + name) }

func (v *view) seriesTable() g.Node {
	if len(v.Series) == 0 {
		return h.P(g.Text("There are no backups."))
	}
	c := page.Columns("State", "Series", "Last good|when", "Age", "Size|number", "Trend|number", "Verified", "Drilled", "Copies", "Backups|number")
	worst := slices.Clone(v.Series)
	slices.SortStableFunc(worst, func(a, b status.Series) int { return cmp.Compare(lineState(&a).Rank(), lineState(&b).Rank()) })
	shown := worst[:min(len(worst), maxSeries)]
	return g.Group{page.Table(c, g.Map(shown, func(l status.Series) g.Node {
		state := lineState(&l)
		good, age, size, trend, verified, copies := "none", "-", "-", "-", "-", "-"
		if l.Path != "" {
			good, age, size, verified = l.Created.UTC().Format("2006-01-02 15:04"), prune.Age(v.Time.Sub(l.Created)), values.BytesText(l.Size), "never"
		}
		if l.Late {
			age += ", late"
		}
		if l.Trend != nil {
			trend = fmt.Sprintf("%+.0f%%", *l.Trend*100)
		}
		if !l.VerifiedAt.IsZero() {
			verified = l.Verified.String() + ", " + v.ago(l.VerifiedAt)
		}
		if len(l.Copies) > 0 {
			has := 0
			for _, copy := range l.Copies {
				if copy.Has {
					has++
				}
			}
			copies = fmt.Sprintf("%d of %d", has, len(l.Copies))
		}
		return page.Row(
			c[0].Cell(page.Mark(state), g.Text(" "+string(state))),
			c[1].Cell(h.A(h.Class("name"), h.Href("/backups?series="+seriesRef(l.Folder, l.Kind, l.Name)), page.BDI(l.Kind), g.Text(" "), page.BDI(l.Name)), page.Code(l.Folder)),
			c[2].Cell(g.Text(good)), c[3].Cell(g.Text(age)), c[4].Cell(g.Text(size)), c[5].Cell(g.Text(trend)),
			c[6].Cell(g.Text(verified)), c[7].Cell(g.Text(v.ago(l.DrilledAt))), c[8].Cell(g.Text(copies)), c[9].Cell(page.Text(l.Backups)),
		)
	})), g.If(len(worst) > len(shown), page.Note(fmt.Sprintf("And %d further series, none of which is worse.", len(worst)-len(shown))))}
}

func (v *view) jobsTable() g.Node {
	c := page.Columns("State", "Job", "Last run", "Took", "Last good run", "What failed")
	tasks := []string{"backup", "prune", "replicate", "drill"}
	return page.Table(c, g.Map(tasks, func(task string) g.Node {
		t, known := v.Jobs[task]
		state, words, failed, took := page.Good, "good", "nothing", time.Duration(t.Seconds*float64(time.Second)).Round(time.Second).String()
		switch {
		case !known:
			state, words, failed, took = page.Unproven, "unknown", "-", "-"
		case t.Error != "":
			state, words, failed = page.Failed, "failed", failedParts(t)
		}
		return page.Row(c[0].Cell(page.Mark(state), g.Text(" "+words)), c[1].Cell(g.Text(task)), c[2].Cell(page.AtOr(t.LastRun, "never, as far as this host knows")),
			c[3].Cell(g.Text(took)), c[4].Cell(page.AtOr(t.LastSuccess, "never")), c[5].Cell(page.BDI(failed)))
	}))
}

func (v *view) keysTable() g.Node {
	c := page.Columns("Key", "Provider", "Next rotation")
	return page.Table(c, g.Map(v.Keys, func(k status.Key) g.Node {
		return page.Row(c[0].Cell(page.Code(k.ID)), c[1].Cell(page.BDI(k.Provider)),
			c[2].Cell(page.AtOr(k.Due, "unknown"), g.If(k.Overdue, g.Group{g.Text(" "), h.Span(h.Class("badge warned"), g.Text("overdue"))})))
	}))
}

func (v *view) seriesPage() leaf {
	state := page.Good
	for i := range v.Series {
		state = worse(state, lineState(&v.Series[i]))
	}
	return leaf{title: g.Textf("%d series", len(v.Series)), state: state, nav: "/series", content: []g.Node{report.OverTime(v.report())}}
}

func worse(a, b page.State) page.State {
	if b.Rank() < a.Rank() {
		return b
	}
	return a
}

func (v *view) findingsPage() leaf {
	r := v.report()
	state, words := report.Verdict(r)
	source := page.Note("What a look at the store shows. What verify found is not here: --report names the JSON that it wrote.")
	if v.verified != nil {
		source = page.Note("What a look at the store shows, and what verify found on " + page.TimeText(v.verified.Finished) + ".")
	}
	return leaf{title: g.Text(words), state: state, nav: "/findings", content: []g.Node{source, report.FindingsPart(r)}}
}

func (v *view) backupsPage(series string, number int) leaf {
	l := leaf{nav: "/backups", state: page.Unproven}
	link, rows := "/backups", make([]*entry, 0, len(v.backups))
	heading := "Backups"
	for i := range v.backups {
		if e := &v.backups[i]; series == "" || e.series == series {
			rows = append(rows, e)
		}
	}
	if series != "" && len(rows) > 0 {
		link, heading = "/backups?series="+series, "Backups of "+page.Show(rows[0].Kind)+" "+page.Show(rows[0].Series)
	}
	for i, e := range rows {
		if s := report.StateOf(&e.Backup); i == 0 {
			l.state = s
		} else {
			l.state = worse(l.state, s)
		}
	}
	l.title = g.Text(page.CountText(len(rows), "backup"))
	last := max(1, (len(rows)+onPage-1)/onPage)
	number = min(number, last)
	shown := rows[(number-1)*onPage : min(len(rows), number*onPage)]
	c := page.Columns("State", "Backup", "Kind", "Made|when", "Size|number", "Known", "Proven")
	l.content = []g.Node{
		page.Section("list", heading, g.If(len(rows) == 0, h.P(g.Text("There are none."))), g.If(len(rows) > 0, page.Table(c, g.Map(shown, func(e *entry) g.Node {
			state := report.StateOf(&e.Backup)
			return page.Row(
				c[0].Cell(page.Mark(state), g.Text(" "+string(state)), g.Iff(len(e.Findings) > 0, func() g.Node { return h.Small(page.BDI(report.Words(e.Findings[0].Code))) })),
				c[1].Cell(h.A(h.Class("name"), h.Href("/backup/"+e.ref), page.BDI(cmp.Or(e.Name, baseOf(e.Path)))), page.Code(e.Path)),
				c[2].Cell(page.BDI(cmp.Or(e.Kind, "unknown"))), c[3].Cell(madeAt(e)), c[4].Cell(page.Size(e.Size)), c[5].Cell(g.Text(known(e))), c[6].Cell(proven(e)),
			)
		})))),
		pages(link, number, last),
		g.If(v.older > 0, page.Note(fmt.Sprintf("And %d older ones, which takumi-backup list shows.", v.older))),
	}
	return l
}

func baseOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func madeAt(e *entry) g.Node {
	if e.Created.IsZero() {
		return g.Text("unknown")
	}
	return page.Short(e.Created)
}

func proven(e *entry) g.Node {
	if e.Proven == verify.None {
		return g.Text("never")
	}
	return g.Group{page.Short(e.ProvenAt), g.Textf(" %v", e.Proven)}
}

func known(e *entry) string {
	if e.has(verify.Archived) {
		return "archived"
	}
	return e.known.String()
}

func (e *entry) has(code verify.Code) bool {
	return slices.ContainsFunc(e.Findings, func(f verify.Finding) bool { return f.Code == code })
}

func (v *view) drillsPage() leaf {
	l := leaf{title: g.Text("no drill is known"), state: page.Unproven, nav: "/drills", content: []g.Node{page.Note("takumi-backup drill restores backups in a rehearsal, and remembers here how that went.")}}
	if len(v.drills) == 0 {
		return l
	}
	l.content = []g.Node{page.Note("RTO is how long the restore took, and RPO how old the newest backup of the series was.")}
	l.title, l.state = g.Text("the last drill passed, "+v.ago(v.drills[0].Time)), page.Good
	if !v.drills[0].Passed {
		l.title, l.state = g.Text("the last drill failed"), page.Failed
	}
	c := page.Columns("State", "Backup", "RTO", "RPO", "Held", "What it says")
	for i := range v.drills {
		d := &v.drills[i]
		l.content = append(l.content, page.Section(fmt.Sprintf("drill-%d", i+1), "Drill of "+page.TimeText(d.Time),
			h.P(g.Text("By "), page.BDI(d.Who), g.Text(", from "), page.Code(d.Root)),
			g.If(d.Error != "", h.Article(h.Class("finding failed"), h.P(page.BDI("Nothing was rehearsed: "+d.Error)))),
			g.If(len(d.Results) > 0, page.Table(c, g.Map(d.Results, func(r drill.Result) g.Node { return drillRow(c, &r) }))),
		))
	}
	return l
}

func drillRow(c []page.Column, r *drill.Result) g.Node {
	state, missed := page.Good, r.Missed()
	rto := drill.Span(r.RTO)
	switch {
	case r.Error != "":
		state, rto = page.Failed, "not restored"
	case len(missed) > 0:
		state = page.Warned
	}
	held := fmt.Sprintf("%s, %s", page.CountText(r.Files, "file"), values.BytesText(r.Bytes))
	switch {
	case r.Error != "":
		held = "-"
	case r.Tables > 0:
		held = fmt.Sprintf("%s, %s", page.CountText(r.Tables, "table"), page.CountText(int(r.Rows), "row"))
	}
	words := append(slices.Clone(missed), r.Notes...)
	if r.Error != "" {
		words = append([]string{r.Error}, words...)
	}
	return page.Row(c[0].Cell(page.Mark(state), g.Text(" "+string(state))),
		c[1].Cell(g.El("bdi", h.Class("name"), page.Shown(r.Kind+" "+r.Name)), page.Code(r.Path)),
		c[2].Cell(g.Text(rto+within(r.RTOTarget))), c[3].Cell(g.Text(drill.Span(r.RPO)+within(r.RPOTarget))), c[4].Cell(g.Text(held)),
		c[5].Cell(page.BDI(cmp.Or(strings.Join(words, "; "), strings.Join(r.Compared, "; "), "-"))))
}

func within(target float64) string {
	if target <= 0 {
		return ""
	}
	return ", target " + drill.Span(target)
}

func (s *site) auditPage(read result[*tail]) leaf {
	l := leaf{title: g.Text("the audit log is being read"), state: page.Unproven, nav: "/audit", at: read.at}
	t := read.value
	switch {
	case read.err != nil:
		l.title, l.state, l.content = g.Text("the audit log cannot be read"), page.Failed, []g.Node{failure(read.err)}
		return l
	case t == nil:
		return l
	case t.broken != nil:
		l.title, l.state = g.Text("the audit log is broken"), page.Failed
		l.content = append(l.content, failure(t.broken), page.Note("Below are the last records before that place. What follows it is not proved, and not shown."))
	case len(t.records) == 0:
		l.title = g.Text("the audit log has no records")
	default:
		l.title, l.state = g.Text("the audit log: its last "+page.CountText(len(t.records), "record")), page.Good
	}
	c := page.Columns("Time|when", "Operation", "Outcome", "On", "By", "Words")
	l.content = append(l.content, page.Section("records", "Records, the newest first", page.Table(c, g.Map(t.records, func(r audit.Record) g.Node { return recordRow(c, &r) }))))
	return l
}

func recordRow(c []page.Column, r *audit.Record) g.Node {
	state := map[audit.Outcome]page.State{audit.Done: page.Good, audit.Failed: page.Failed, audit.Stopped: page.Warned, audit.Mended: page.Warned}[r.Outcome]
	outcome := string(r.Outcome)
	if r.ExitCode != nil && *r.ExitCode != 0 {
		outcome += fmt.Sprintf(", exit code %d", *r.ExitCode)
	}
	if r.DryRun {
		outcome += ", dry run"
	}
	var words []string
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+value)
		}
	}
	add("", r.Detail)
	add("", r.Error)
	add("key ", strings.Join(r.KeyIDs, ", "))
	add("former key ", strings.Join(r.OldIDs, ", "))
	if r.BytesIn > 0 || r.BytesOut > 0 {
		add("", fmt.Sprintf("%s in, %s out", values.BytesText(r.BytesIn), values.BytesText(r.BytesOut)))
	}
	if r.Backups > 0 {
		add("", fmt.Sprintf("%s, %s", page.CountText(r.Backups, "backup"), page.CountText(r.Failures, "failure")))
	}
	who := r.User
	if r.SudoUser != "" {
		who += " (" + r.SudoUser + ")"
	}
	return page.Row(c[0].Cell(g.Text(r.Time.UTC().Format(time.DateTime))), c[1].Cell(page.BDI(r.Operation)), c[2].Cell(page.Mark(cmp.Or(state, page.Unproven)), g.Text(" "), page.BDI(outcome)),
		c[3].Cell(page.Code(cmp.Or(r.Path, strings.Join(r.Paths, " "), "-"))), c[4].Cell(page.BDI(who+"@"+r.Host)), c[5].Cell(page.BDI(cmp.Or(strings.Join(words, "; "), "-"))))
}
