package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
)

// The drawing of a series, in the units of its viewBox. That is as wide as a
// narrow phone, so that its letters are never made smaller.
const (
	plotLeft, plotRight = 8, 332
	plotTop, plotBottom = 24, 116 // of the sizes
	maxPoints           = 150
)

type chart struct {
	ID             string
	Kind, Name     string
	Folder         string
	State          State
	Newest         *verify.Backup
	Count          int
	Total          int64
	Words          string // the same for who does not see it
	Line           string // of sizes
	Points         []point
	Proofs         []proof
	Largest        int64
	From, To       string
	Omitted        int
	LastProof      time.Time
	LastProofLevel verify.Level
}

type number float64

func (n number) String() string { return strconv.FormatFloat(float64(n), 'f', 1, 64) }

type point struct {
	X, Y  number
	State State
	Title string
}

type proof struct{ From, To number }

func charts(r *verify.Report) (all []chart, more int) {
	of := make(map[seriesKey]*series)
	var keys []*series // in the order of their newest backups
	for _, b := range r.Backups.All() {
		key, ok := seriesOf(b)
		if !ok {
			continue
		}
		s := of[key]
		if s == nil {
			s = &series{seriesKey: key, newest: b, worst: len(page.States)}
			of[key] = s
			keys = append(keys, s)
		}
		s.add(b)
	}
	slices.SortStableFunc(keys, func(a, b *series) int { return cmp.Compare(a.worst, b.worst) })
	for i, s := range keys[:min(len(keys), maxSeries)] {
		c := s.draw(r.Finished)
		c.ID, c.State = fmt.Sprintf("series-%d", i+1), page.States[s.worst]
		c.Folder, c.Kind, c.Name = s.folder, s.kind, s.name
		all = append(all, c)
	}
	return all, len(keys) - len(all)
}

// series is what a chart is made of: of a long one only the newest.
type series struct {
	seriesKey
	newest         *verify.Backup
	worst, count   int
	total          int64
	lastProof      time.Time
	lastProofLevel verify.Level
	drawn          []drawn
}

type drawn struct {
	created, provenAt time.Time
	proven            bool
	size              int64
	state             page.State
}

func (s *series) add(b *verify.Backup) {
	is := StateOf(b)
	s.worst = min(s.worst, is.Rank())
	s.count++
	s.total += b.Size
	if b.Proven > verify.None && b.ProvenAt.After(s.lastProof) {
		s.lastProof, s.lastProofLevel = b.ProvenAt, b.Proven
	}
	if len(s.drawn) < maxPoints {
		s.drawn = append(s.drawn, drawn{b.Created, b.ProvenAt, b.Proven > verify.None, b.Size, is})
	}
}

func (s *series) draw(end time.Time) chart {
	c := chart{Newest: s.newest, Count: s.count, Total: s.total, Omitted: s.count - len(s.drawn), LastProof: s.lastProof, LastProofLevel: s.lastProofLevel}
	shown := slices.Clone(s.drawn)
	slices.Reverse(shown)
	first, last := shown[0].created, end
	for _, b := range shown {
		c.Largest = max(c.Largest, b.size)
		for _, t := range []time.Time{b.created, b.provenAt} {
			if t.After(last) {
				last = t
			}
		}
	}
	x := func(t time.Time) number {
		span := last.Sub(first).Seconds()
		if span <= 0 {
			return plotRight
		}
		return plotLeft + (plotRight-plotLeft)*number(min(max(t.Sub(first).Seconds()/span, 0), 1))
	}
	var line strings.Builder
	for _, b := range shown {
		p := point{X: x(b.created), Y: plotBottom, State: b.state}
		if c.Largest > 0 {
			p.Y = plotBottom - (plotBottom-plotTop)*number(float64(b.size)/float64(c.Largest))
		}
		p.Title = fmt.Sprintf("%s, %s, %s", page.TimeText(b.created), values.BytesText(b.size), p.State)
		fmt.Fprintf(&line, "%v,%v ", p.X, p.Y)
		c.Points = append(c.Points, p)
		if b.proven {
			c.Proofs = append(c.Proofs, proof{p.X, x(b.provenAt)})
		}
	}
	c.Line = strings.TrimSpace(line.String())
	layout := time.DateOnly
	if last.Sub(first) < 48*time.Hour {
		layout = "2006-01-02 15:04"
	}
	c.From, c.To = first.UTC().Format(layout), last.UTC().Format(layout)
	c.Words = fmt.Sprintf("%s from %s to %s, of at most %s; the newest has %s. %d of them proven", page.CountText(len(shown), "backup"),
		c.From, shown[len(shown)-1].created.UTC().Format(layout), values.BytesText(c.Largest), values.BytesText(c.Newest.Size), len(c.Proofs))
	if !c.LastProof.IsZero() {
		c.Words += ", last on " + page.TimeText(c.LastProof)
	}
	return c
}
