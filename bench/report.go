package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// The report is a list of sections. The terminal gets their tables; the page
// gets text, charts and tables.
type section struct {
	title string
	about string
	chart *chart
	grids []grid
	list  []string
}

func (r *results) sections() []section {
	all := []section{
		{title: "Targets", grids: []grid{r.targetGrid()},
			about: "What this program set out to reach. A speed against another is the median of the quotients of the same round."},
	}
	all = append(all, r.peerSections()...)
	all = append(all, r.workSections()...)
	all = append(all, r.growthSections()...)
	all = append(all, r.limitSection(), r.commandSection())
	var kept []section
	for _, s := range all {
		var full []grid
		for _, g := range s.grids {
			if !g.empty() {
				full = append(full, g)
			}
		}
		if s.grids = full; len(full) > 0 || len(s.list) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// figures of a measurement, as most tables have them.
var figureHead = []string{"MB/s", "±", "CPU s/GB", "memory MiB"}

func (m *measurement) figures() []string {
	return []string{fmt.Sprintf("%.0f", m.speed()), percent(spread(m.speeds())), fmt.Sprintf("%.2f", m.cpu()), fmt.Sprintf("%.0f", m.memory())}
}

func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

func times(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

func ratioText(m *measurement) string {
	if m == nil || m.Size == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", m.ratio())
}

var peerTitles = []struct{ part, op, title, about string }{
	{"peers", "seal", "Sealing a plain dump to a file", "From the same file to a sealed file or repository that is synced to disk."},
	{"peers", "open", "Opening it to nowhere", "To standard output, which is /dev/null."},
	{"peers", "open to file", "Opening it to a file", "Synced to disk."},
	{"tree", "seal", "Sealing a tree of source files", "GOROOT/src by tar, or by the tool's own way to walk a tree."},
}

func (r *results) peerSections() (all []section) {
	for _, t := range peerTitles {
		ms := r.of(t.part, t.op)
		if len(ms) == 0 {
			continue
		}
		g := grid{title: t.title, left: 1, head: append(append([]string{""}, figureHead...), "size ratio", "we are × as fast")}
		c := &chart{title: t.title, unit: "MB/s", file: slug(t.part + " " + t.op)}
		for _, m := range ms {
			g.add(append(append([]string{m.Name}, m.figures()...), ratioText(m), times(faster(ms[0], m)))...)
			c.bars = append(c.bars, bar{m.Name, m.speed(), m == ms[0]})
		}
		all = append(all, section{title: t.title, about: t.about, chart: c, grids: []grid{g}})
	}
	return all
}

func (r *results) workSections() []section {
	g := grid{title: "Our own work against its limit", left: 3, head: append(append([]string{"", "how", "corpus"}, figureHead...), "size ratio", "limit", "of the limit")}
	c := &chart{title: "How much of this machine's limit is reached", unit: "%", file: "work"}
	var sums []string
	for _, op := range []string{"seal", "open", "verify"} {
		for _, m := range r.of("work", op) {
			b, ok := r.boundOf(m)
			limit, part := "", ""
			if ok {
				limit, part = fmt.Sprintf("%.0f", b.speed), percent(m.speed()/b.speed)
				name := op + ", " + m.Name + ", " + m.Corpus
				sums = append(sums, name+": `"+b.arithmetic+"`")
			}
			g.add(append(append([]string{op, m.Name, m.Corpus}, m.figures()...), ratioText(m), limit, part)...)
			if ok && strings.HasPrefix(m.Name, "file to") {
				c.bars = append(c.bars, bar{op + " " + m.Corpus + ", " + m.Name, 100 * m.speed() / b.speed, op == "seal"})
			}
		}
	}
	return []section{
		{title: "Our own work against its limit", chart: c, grids: []grid{g},
			about: "The limit is what the parts of the work, each measured by itself, allow on these cores. It counts no start, no hand-off and no wait."},
		{title: "How the limits come about", list: sums,
			about: "In core-seconds for each MB of plaintext; a part that sees packed bytes counts by the size ratio. Where one stage, which has one core, is slower than that, it is the limit."},
	}
}

func (r *results) growthSections() []section {
	growth := grid{title: "Growth", left: 1, head: []string{"from a pipe", "seal MB/s", "±", "seal MiB", "open MB/s", "±", "open MiB"}}
	speed := &chart{title: "Speed by size of the input", unit: "MB/s", file: "growth"}
	seal, open := line{name: "seal"}, line{name: "open"}
	for _, m := range r.of("growth", "seal") {
		row := []string{m.Name, fmt.Sprintf("%.0f", m.speed()), percent(spread(m.speeds())), fmt.Sprintf("%.0f", m.ownMemory())}
		speed.ticks = append(speed.ticks, m.Name)
		seal.values = append(seal.values, m.speed())
		if o := r.get("growth", "open", m.Name, m.Corpus); o != nil {
			row = append(row, fmt.Sprintf("%.0f", o.speed()), percent(spread(o.speeds())), fmt.Sprintf("%.0f", o.ownMemory()))
			open.values = append(open.values, o.speed())
		}
		growth.add(row...)
	}
	speed.lines = []line{seal, open}

	cores := grid{title: "Cores", left: 1, head: []string{"", "cores", "MB/s", "±", "CPU s/GB", "speed-up", "its codec alone", "limit", "of the limit"}}
	future := grid{title: "More cores than this machine has", left: 1, head: []string{"", "cores", "MB/s at most", "what limits"}}
	for _, op := range []string{"seal", "open"} {
		ms := r.of("cores", op)
		for _, m := range ms {
			row := []string{op, fmt.Sprint(m.Cores), fmt.Sprintf("%.0f", m.speed()), percent(spread(m.speeds())), fmt.Sprintf("%.2f", m.cpu()), times(faster(m, ms[0])), ""}
			if m.Cores == r.Machine.Cores {
				row[6] = times(r.codecSpeedUp(op))
			}
			if b, ok := r.boundOf(m); ok {
				row = append(row, fmt.Sprintf("%.0f", b.speed), percent(m.speed()/b.speed))
			}
			cores.add(row...)
		}
		if len(ms) > 0 {
			for _, p := range r.project(ms[0]) {
				future.add(op, fmt.Sprint(p.cores), fmt.Sprintf("%.0f", p.speed), p.stage)
			}
		}
	}
	parallel := grid{title: "Several seals at once", left: 1, head: append([]string{"at once"}, figureHead...)}
	for _, m := range r.of("parallel", "seal") {
		parallel.add(append([]string{fmt.Sprint(m.Copies)}, m.figures()...)...)
	}
	access := grid{title: "Without reading all", left: 2, head: []string{"", "", "ms", "±", "MB/s", "median µs each", "99th % µs"}}
	for _, m := range r.of("access", "") {
		row := []string{m.Op, m.Name, fmt.Sprintf("%.1f", 1000*median(m.seconds())), percent(spread(m.seconds()))}
		if m.Bytes > 0 {
			row = append(row, fmt.Sprintf("%.0f", m.speed()), fmt.Sprintf("%.0f", m.value("median µs")), fmt.Sprintf("%.0f", m.value("p99 µs")))
		}
		access.add(row...)
	}
	return []section{
		{title: "Growth", chart: speed, grids: []grid{growth},
			about: "The plain dump from a pipe, again and again for the larger sizes. Memory is that of takumi-backup alone, the most of all rounds."},
		{title: "Cores", grids: []grid{cores}, about: "Plain dump, file to file for seal and file to nowhere for open, bound to some of the cores. Beside the speed-up stands that of the codec alone: independent goroutines that share nothing, all cores against one, which is what the machine gives."},
		{title: "More cores than this machine has", grids: []grid{future},
			about: "Computed, not measured: from the parts' speeds, as above, until one stage that has one goroutine is the limit."},
		{title: "Several seals at once", grids: []grid{parallel}, about: "Speed and memory of all together."},
		{title: "Without reading all", grids: []grid{access}, about: "Backups with codec none for the reads; the packed stream is read through envelope.OpenAt."},
	}
}

// ownMemory is the most memory of the largest process, in MiB.
func (m *measurement) ownMemory() float64 {
	peak := 0.0
	for _, s := range m.Samples {
		peak = max(peak, float64(s.Largest)/mib)
	}
	return peak
}

func (r *results) limitSection() section {
	g := grid{title: "What the machine can do", left: 2, head: []string{"one core, unless it says otherwise", "corpus", "MB/s", "±", "MB per CPU second", "size ratio"}}
	for _, m := range r.of("limits", "limit") {
		v := m.wallSpeeds()
		row := []string{m.Name, m.Corpus, fmt.Sprintf("%.0f", median(v)), percent(spread(v)), fmt.Sprintf("%.0f", m.value(busy))}
		if ratio := m.value("ratio"); ratio > 0 {
			row = append(row, fmt.Sprintf("%.3f", ratio))
		}
		g.add(row...)
	}
	return section{title: "What the machine can do", grids: []grid{g}, about: "Measured in the same run, by Go's own code for each part."}
}

func (r *results) commandSection() section {
	versions := grid{title: "Versions", left: 2, head: []string{"program", "version"}}
	for _, t := range r.Tools {
		versions.add(t.Name, t.Version)
	}
	commands := grid{title: "Commands", left: 2, head: []string{"", "command"}}
	for _, m := range r.Measurements {
		if m.Part == "peers" || m.Part == "tree" {
			commands.add(m.Op+", "+m.Name, "`"+m.Command+"`")
		}
	}
	return section{title: "Versions and commands", grids: []grid{versions, commands},
		about: "`&& sync` stands for an fsync of what was written, within the clock; takumi-backup does its own."}
}

// intro says what was measured on.
func (r *results) intro() string {
	m := r.Machine
	return fmt.Sprintf("%s, %d cores, %s of memory, %s, %s, %s. Measured on %s at commit %s, in %d interleaved rounds, with corpora of %s. "+
		"Figures are medians; ± is the farthest round. MB and GB are powers of ten, and count plaintext. "+
		"Memory adds up the peaks of all processes of a pipeline; less than 5 MiB for a process cannot be told.",
		m.CPU, m.Cores, sizeText(m.Memory>>20<<20), m.System, m.Disk, m.Go, r.Date, r.Commit, r.Rounds, sizeText(r.Size))
}

// print shows all tables on the terminal.
func (r *results) print() {
	fmt.Println(r.intro())
	for _, s := range r.sections() {
		for i := range s.grids {
			fmt.Print(s.grids[i].text())
		}
	}
}

// The page's generated part stands between these lines; all else on it is
// written by hand and stays.
const (
	generatedBegins = "<!-- Generated by go run ./bench: begin. Do not edit. -->"
	generatedEnds   = "<!-- Generated by go run ./bench: end. -->"
)

// page returns the page with its generated part replaced.
func (r *results) page(old string) (string, error) {
	before, rest, begins := strings.Cut(old, generatedBegins)
	_, after, ends := strings.Cut(rest, generatedEnds)
	if !begins || !ends {
		return "", fmt.Errorf("the page lacks the line %q or %q", generatedBegins, generatedEnds)
	}
	var b strings.Builder
	b.WriteString(before + generatedBegins + "\n\n" + r.intro() + "\n")
	for _, s := range r.sections() {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", s.title, s.about)
		if !s.chart.empty() {
			fmt.Fprintf(&b, "\n![%s](%s)\n", s.chart.title, s.chart.path())
		}
		for i := range s.grids {
			b.WriteString("\n" + s.grids[i].markdown())
		}
		if len(s.list) > 0 {
			b.WriteString("\n- " + strings.Join(s.list, "\n- ") + "\n")
		}
	}
	return b.String() + "\n" + generatedEnds + after, nil
}

// chartFolder is beside the page.
const chartFolder = "benchmarks"

func (c *chart) path() string { return chartFolder + "/" + c.file + ".svg" }

// publish writes the page and its charts to a folder.
func (r *results) publish(docs string) error {
	path := filepath.Join(docs, "BENCHMARKS.md")
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := r.page(string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Join(docs, chartFolder), 0o755); err != nil {
		return err
	}
	for _, s := range r.sections() {
		if !s.chart.empty() {
			if err := os.WriteFile(filepath.Join(docs, s.chart.path()), []byte(s.chart.svg()), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(path, []byte(page), 0o644)
}
