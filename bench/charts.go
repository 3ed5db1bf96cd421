package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// chart is a bar chart or a line chart, as an SVG image that reads well on a
// light page and on a dark one.
type chart struct {
	title string
	unit  string
	file  string // its name without the ending

	bars []bar // lying, one for each row

	ticks []string // below the lines
	lines []line
}

type bar struct {
	label string
	value float64
	ours  bool
}

type line struct {
	name   string
	values []float64
}

func (c *chart) empty() bool { return c == nil || len(c.bars) == 0 && len(c.ticks) < 2 }

const (
	chartWidth = 760
	rowHeight  = 26
	labelWidth = 250
	valueWidth = 60
	topHeight  = 34
)

// style holds the colours of both themes. An image in a page follows the
// reader's setting by itself.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.faint { fill: #59636e }
.ours { fill: #0969da; stroke: #0969da }
.other { fill: #a6b0bb; stroke: #a6b0bb }
.second { fill: #bc4c00; stroke: #bc4c00 }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.ours { fill: #4493f8; stroke: #4493f8 }
.other { fill: #59636e; stroke: #59636e }
.second { fill: #db6d28; stroke: #db6d28 }
.grid { stroke: #3d444d }
.line { fill: none }
}
</style>
`

func (c *chart) svg() string {
	var b strings.Builder
	height := topHeight + rowHeight*len(c.bars) + 8
	if len(c.bars) == 0 {
		height = 300
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		chartWidth, height, chartWidth, height, html.EscapeString(c.title))
	b.WriteString(style)
	fmt.Fprintf(&b, `<text class="title" x="8" y="20">%s <tspan class="faint">(%s)</tspan></text>`+"\n", html.EscapeString(c.title), html.EscapeString(c.unit))
	if len(c.bars) > 0 {
		c.drawBars(&b)
	} else {
		c.drawLines(&b, height)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *chart) drawBars(b *strings.Builder) {
	most := 0.0
	for _, r := range c.bars {
		most = max(most, r.value)
	}
	for i, r := range c.bars {
		y := topHeight + i*rowHeight
		width := 0.0
		if most > 0 {
			width = r.value / most * (chartWidth - labelWidth - valueWidth)
		}
		class := "other"
		if r.ours {
			class = "ours"
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labelWidth-8, y+16, html.EscapeString(r.label))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, labelWidth, y+3, width, rowHeight-8)
		fmt.Fprintf(b, `<text class="faint" x="%.1f" y="%d">%.0f</text>`+"\n", labelWidth+width+6, y+16, r.value)
	}
}

func (c *chart) drawLines(b *strings.Builder, height int) {
	const left, right = 60, 90
	most := 0.0
	for _, l := range c.lines {
		most = max(most, slices.Max(append([]float64{0}, l.values...)))
	}
	top := niceCeiling(most)
	bottom := float64(height - 34)
	x := func(i int) float64 {
		return left + float64(i)*(chartWidth-left-right)/float64(max(1, len(c.ticks)-1))
	}
	y := func(v float64) float64 { return bottom - v/top*(bottom-topHeight-10) }
	for i := range 5 {
		v := top * float64(i) / 4
		fmt.Fprintf(b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, left, chartWidth-right, y(v), y(v))
		fmt.Fprintf(b, `<text class="faint" x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n", left-8, y(v)+4, v)
	}
	for i, tick := range c.ticks {
		fmt.Fprintf(b, `<text class="faint" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x(i), bottom+20, html.EscapeString(tick))
	}
	for i, l := range c.lines {
		if len(l.values) == 0 {
			continue
		}
		class := "second"
		if i == 0 {
			class = "ours"
		}
		var points []string
		for j, v := range l.values {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(j), y(v)))
			fmt.Fprintf(b, `<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, class, x(j), y(v))
		}
		last := len(l.values) - 1
		fmt.Fprintf(b, `<polyline class="%s line" points="%s"/>`, class, strings.Join(points, " "))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", x(last)+10, y(l.values[last])+4, html.EscapeString(l.name))
	}
}

// niceCeiling is the next 1, 2, 4 or 8 times a power of ten.
func niceCeiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 4, 8} {
		if v <= step*power {
			return step * power
		}
	}
	return 10 * power
}
