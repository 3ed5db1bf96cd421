package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
	"github.com/takumi-backup/takumi-backup/verify/report"
)

const (
	perPage = 1000             // members or tables
	maxPage = 100              // of contents; each reads the index from its beginning
	maxLook = 30 * time.Second // into a backup
)

// errDeep is returned for a page that would need most of a large index.
var errDeep = errors.New("only the first 100,000 are shown here")

var errNoIndex = errors.New("the backup has no index of what is in it")

func (s *site) backupPage(e *entry, v *view) leaf {
	state := report.StateOf(&e.Backup)
	r := &verify.Report{Finished: v.Time, Backups: verify.ListOf(e.Backup)}
	fact := func(name, value string) g.Node { return g.If(value != "", page.Fact(name, page.BDI(value))) }
	l := leaf{title: page.BDI(cmp.Or(e.Name, baseOf(e.Path))), state: state, nav: "/backups"}
	l.content = []g.Node{
		page.Section("facts", "What it is", h.Dl(h.Class("facts"),
			page.Fact("Path", page.Code(e.Path)), page.Fact("Size", page.Size(e.Size)),
			fact("Kind", e.Kind), fact("Id", e.ID), g.If(!e.Created.IsZero(), page.Fact("Made", page.At(e.Created))),
			page.Fact("Known", g.Text(known(e))), page.Fact("Proven", proven(e)), fact("Signed by", e.signer), fact("Opens with", e.opens), fact("Content", e.Unjudged),
		)),
		report.FindingsPart(r),
		page.Section("commands", "Commands", g.Map(commands(e, state), func(c [2]string) g.Node {
			return g.Group{h.P(g.Text(c[0])), h.Pre(h.Class("copy"), h.TabIndex("0"), h.Aria("label", c[0]), h.Code(page.Shown(c[1])))}
		})),
	}
	if s.Session != nil && e.known != backup.Bad {
		l.content = append(l.content, page.Section("contents", "Contents",
			h.P(h.A(h.Href("/backup/"+e.ref+"/contents"), g.Text("Look into the backup, by its index")), g.Text(": the key is fetched for it, and the audit log says so."))))
	}
	return l
}

// commands are what can be done with a backup, with words on each.
func commands(e *entry, state page.State) (all [][2]string) {
	path := fsutil.ShellWord(e.Path)
	add := func(words, command string) { all = append(all, [2]string{words, "takumi-backup " + command}) }
	if e.Kind != "" && e.known != backup.Bad {
		switch family := backup.Family(e.Kind); {
		case !rehearse.Can(e.Kind, e.Name):
			add("Open it", "open "+path+" -o FILE")
		case family == backup.KindDatabase:
			add("Restore it into a new database, next to the live one", "restore database "+path+" --into takumi_restored")
			add("Restore it in place of the live database, which is kept", "restore database "+path)
		default:
			add("Restore it to a folder", "restore "+family+" "+path+" --to FOLDER")
		}
		add("List what is in it", "ls "+path)
	}
	add("Verify it", "verify "+path)
	if state == page.Failed {
		all = append(all[len(all)-1:], all[:len(all)-1]...)
	}
	return all
}

// contentsPage opens a backup to read its index, once at a time, with keys that are
// wiped when it is read.
func (s *site) contentsPage(ctx context.Context, e *entry, number int, from string) leaf {
	l := leaf{title: g.Group{g.Text("contents of "), page.BDI(cmp.Or(e.Name, baseOf(e.Path)))}, state: page.Good, nav: "/backups"}
	back := h.P(h.Class("more"), h.A(h.Href("/backup/"+e.ref), g.Text("Back to the backup")))
	ctx, stop := context.WithTimeout(ctx, maxLook)
	defer stop()
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		l.title, l.state, l.code = g.Text("somebody else is looking into a backup"), page.Unproven, http.StatusServiceUnavailable
		l.content = []g.Node{back}
		return l
	}
	found, err := s.lookInto(ctx, e, number, from)
	if err != nil {
		l.state, l.content = page.Failed, []g.Node{failure(err), back}
		return l
	}
	link := "/backup/" + e.ref + "/contents"
	last := number
	if found.more {
		last++
	}
	l.content = []g.Node{
		page.Section("members", "Contents", g.If(len(found.rows) == 0, h.P(g.Text("There is nothing more in it."))),
			g.If(len(found.rows) > 0, page.Table(found.columns, g.Group(found.rows)))),
		h.Nav(h.Class("more"), h.Aria("label", "Pages"),
			g.If(number > 1, h.A(h.Href(fmt.Sprintf("%s?page=%d", link, number-1)), h.Rel("prev"), g.Text("Back"))),
			g.If(last > number, h.A(h.Href(fmt.Sprintf("%s?page=%d", link, number+1)), h.Rel("next"), g.Text("Go on"))),
		),
		back,
	}
	return l
}

type inside struct {
	columns []page.Column
	rows    []g.Node
	more    bool
}

func (s *site) lookInto(ctx context.Context, e *entry, number int, from string) (in *inside, err error) {
	if number > maxPage {
		return nil, errDeep
	}
	session, err := s.Session()
	if err != nil {
		return nil, err
	}
	if ctx, err = session.Begin(ctx, nil, ""); err != nil {
		return nil, err
	}
	record := session.Last()
	record.Path, record.Detail = e.Path, "contents, by serve, for "+from
	defer func() { err = session.End(ctx, err) }()
	ring, err := s.Keys()
	if err != nil {
		return nil, err
	}
	defer ring.Close()
	f, err := backup.OpenAt(ctx, s.Place, e.Path, backup.Options{Keys: ring, Signers: s.Signers})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	record.BackupID, record.Name, record.Kind, record.KeyIDs = f.Envelope.ID.String(), f.Envelope.Name, f.Envelope.Kind, audit.IDs(f.Holder.Name)
	in = new(inside)
	archive, err := f.Members(ctx)
	if err == nil {
		return in, in.members(ctx, archive, (number-1)*perPage)
	}
	if !errors.Is(err, members.ErrNoIndex) {
		return nil, err
	}
	dump, err := f.Tables()
	if errors.Is(err, tables.ErrNoIndex) {
		return nil, fail.As(fail.Failed, "takumi-backup ls "+fsutil.ShellWord(e.Path)+", which reads all of it", errNoIndex)
	}
	if err != nil {
		return nil, err
	}
	return in, in.tables(ctx, dump, (number-1)*perPage)
}

// full counts an entry, and reports whether it is of this page and whether the page has
// all that it may have.
func (in *inside) full(n *int, skip int) (here, full bool) {
	*n++
	in.more = *n > skip+perPage
	return *n > skip && !in.more, in.more
}

func (in *inside) members(ctx context.Context, archive *members.Archive, skip int) error {
	in.columns = page.Columns("Mode", "Size|number", "Modified|when", "Path")
	n := 0
	for m, err := range archive.All() {
		if err = cmp.Or(err, context.Cause(ctx)); err != nil {
			return err
		}
		here, full := in.full(&n, skip)
		if full {
			return nil
		}
		if here {
			target := g.Node(nil)
			switch m.Type {
			case "l":
				target = g.Group{g.Text(" leads to "), page.Code(m.Target())}
			case "h":
				target = g.Group{g.Text(" is the same file as "), page.Code(m.Target())}
			}
			in.rows = append(in.rows, page.Row(in.columns[0].Cell(g.Text(m.FileMode().String())), in.columns[1].Cell(page.Size(m.Size)),
				in.columns[2].Cell(page.Short(m.Time())), in.columns[3].Cell(g.El("bdi", h.Class("name"), page.Shown(m.Name())), target)))
		}
	}
	return nil
}

func (in *inside) tables(ctx context.Context, dump *tables.Dump, skip int) error {
	in.columns = page.Columns("Table", "Rows|number", "Size|number")
	n := 0
	for t, err := range dump.Tables() {
		if err = cmp.Or(err, context.Cause(ctx)); err != nil {
			return err
		}
		here, full := in.full(&n, skip)
		if full {
			return nil
		}
		if here {
			in.rows = append(in.rows, page.Row(in.columns[0].Cell(g.El("bdi", h.Class("name"), page.Shown(t.TableName))), in.columns[1].Cell(page.Text(t.Rows)), in.columns[2].Cell(page.Size(t.Size))))
		}
	}
	return nil
}
