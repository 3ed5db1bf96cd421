// Package promtext writes gauges in the text format of Prometheus, version 0.0.4, for
// the textfile collector of node_exporter and for whoever asks over HTTP
// (https://prometheus.io/docs/instrumenting/exposition_formats/). The client library of
// Prometheus does the same for 1.4 MB of the program, most of it protocol buffers.
package promtext

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Page is a set of gauges. Its zero value is empty and ready. It is not safe for
// concurrent use.
type Page struct{ gauges []*Gauge }

// Gauge is one metric, with a value for each combination of its labels. A gauge
// without a value does not appear on the page.
type Gauge struct {
	name, help string
	labels     []string
	values     map[string]float64 // by the labels as they are written
}

// Gauge adds a gauge. Its name and those of its labels are of letters, digits and
// underscores; no two gauges of a page have the same name.
func (p *Page) Gauge(name, help string, labels ...string) *Gauge {
	g := &Gauge{name: name, help: help, labels: labels, values: make(map[string]float64)}
	p.gauges = append(p.gauges, g)
	return g
}

// Set sets the value for the labels' values, one for each label in their order. Text
// that is not UTF-8 is made so.
func (g *Gauge) Set(value float64, labels ...string) {
	g.values[g.sample(labels)] = value
}

// Add adds to the value for the labels' values, which begins at 0.
func (g *Gauge) Add(value float64, labels ...string) {
	g.Set(g.values[g.sample(labels)]+value, labels...)
}

// The help text of a gauge is escaped less than the value of a label.
var (
	helpText  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelText = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func (g *Gauge) sample(values []string) string {
	if len(values) != len(g.labels) {
		panic(fmt.Sprintf("promtext: %s has %d labels, and was given %d values", g.name, len(g.labels), len(values)))
	}
	if len(values) == 0 {
		return ""
	}
	pairs := make([]string, len(values))
	for i, v := range values {
		pairs[i] = g.labels[i] + `="` + labelText.Replace(strings.ToValidUTF8(v, "\uFFFD")) + `"`
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}

// WriteTo writes the page in one order, that of names, labels and values.
func (p *Page) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	for _, g := range slices.SortedFunc(slices.Values(p.gauges), func(a, b *Gauge) int { return strings.Compare(a.name, b.name) }) {
		if len(g.values) == 0 {
			continue
		}
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s gauge\n", g.name, helpText.Replace(g.help), g.name)
		for _, key := range slices.Sorted(maps.Keys(g.values)) {
			text.WriteString(g.name + key + " " + strconv.FormatFloat(g.values[key], 'g', -1, 64) + "\n")
		}
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}

// WriteFile writes the page to path in one step, with mode 0644 for others to read, and
// in the place of an older file. Anything else there, as a device, is an error.
func (p *Page) WriteFile(path string) error {
	if err := Check(path); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // which is gone by then when all went well
	defer file.Close()
	if _, err := p.WriteTo(file); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// Check finds whether there is something at path that a page does not take the place of.
func Check(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil: // what else is wrong with it shows in writing
		return nil
	case info.IsDir():
		return fmt.Errorf("%s: %w", path, syscall.EISDIR)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: it is not a regular file", path)
	}
	return nil
}
