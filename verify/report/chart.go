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
	keys, of := bySeries(r)
	worst := func(key seriesKey) int {
		i := len(states)
		for _, b := range of[key] {
			i = min(i, slices.Index(states, StateOf(b)))
		}
		return i
	}
	rank := make(map[seriesKey]int, len(keys))
	for _, key := range keys {
		rank[key] = worst(key)
	}
	slices.SortStableFunc(keys, func(a, b seriesKey) int { return cmp.Compare(rank[a], rank[b]) })
	for i, key := range keys[:min(len(keys), maxSeries)] {
		c := draw(of[key], r.Finished)
		c.ID, c.State = fmt.Sprintf("series-%d", i+1), states[rank[key]]
		c.Folder, c.Kind, c.Name = key.folder, key.kind, key.name
		all = append(all, c)
	}
	return all, len(keys) - len(all)
}

func draw(backups []*verify.Backup, end time.Time) chart {
	c := chart{Newest: backups[0], Count: len(backups), Omitted: max(0, len(backups)-maxPoints)}
	for _, b := range backups {
		c.Total += b.Size
		if b.Proven > verify.None && b.ProvenAt.After(c.LastProof) {
			c.LastProof, c.LastProofLevel = b.ProvenAt, b.Proven
		}
	}
	shown := slices.Clone(backups[:len(backups)-c.Omitted])
	slices.Reverse(shown)
	first, last := shown[0].Created, end
	for _, b := range shown {
		c.Largest = max(c.Largest, b.Size)
		for _, t := range []time.Time{b.Created, b.ProvenAt} {
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
		p := point{X: x(b.Created), Y: plotBottom, State: StateOf(b)}
		if c.Largest > 0 {
			p.Y = plotBottom - (plotBottom-plotTop)*number(float64(b.Size)/float64(c.Largest))
		}
		p.Title = fmt.Sprintf("%s, %s, %s", page.TimeText(b.Created), values.BytesText(b.Size), p.State)
		fmt.Fprintf(&line, "%v,%v ", p.X, p.Y)
		c.Points = append(c.Points, p)
		if b.Proven > verify.None {
			c.Proofs = append(c.Proofs, proof{p.X, x(b.ProvenAt)})
		}
	}
	c.Line = strings.TrimSpace(line.String())
	layout := time.DateOnly
	if last.Sub(first) < 48*time.Hour {
		layout = "2006-01-02 15:04"
	}
	c.From, c.To = first.UTC().Format(layout), last.UTC().Format(layout)
	c.Words = fmt.Sprintf("%s from %s to %s, of at most %s; the newest has %s. %d of them proven", page.CountText(len(shown), "backup"),
		c.From, shown[len(shown)-1].Created.UTC().Format(layout), values.BytesText(c.Largest), values.BytesText(c.Newest.Size), len(c.Proofs))
	if !c.LastProof.IsZero() {
		c.Words += ", last on " + page.TimeText(c.LastProof)
	}
	return c
}
