package promtext

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"
)

// TestReadBack: what is written, Prometheus reads as it was meant, in the names and
// numbers that are hard to write.
func TestReadBack(t *testing.T) {
	t.Parallel()
	var p Page
	odd := p.Gauge("odd", "A \\ and\na line.", "a", "b")
	texts := []string{"", `"`, `\`, "\n", `\n`, "}{,=", "\xff", "é\u202e\x00"}
	values := []float64{0, 1.5, -1, math.Inf(1), math.Inf(-1), 1e300, 1793880000.123, math.MaxUint32}
	for i, text := range texts {
		odd.Set(values[i], text, "x")
	}
	p.Gauge("empty", "It has no value.", "a")
	sum := p.Gauge("sum", "Added up.")
	sum.Add(2)
	sum.Add(3)
	var text strings.Builder
	if _, err := p.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(strings.NewReader(text.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, &text)
	}
	if len(found) != 2 || found["sum"].Metric[0].Gauge.GetValue() != 5 || found["odd"].GetHelp() != "A \\ and\na line." {
		t.Errorf("%v", found)
	}
	got := make(map[string]float64)
	for _, m := range found["odd"].Metric {
		got[m.Label[0].GetValue()] = m.Gauge.GetValue()
	}
	for i, text := range texts {
		if v, ok := got[strings.ToValidUTF8(text, "\uFFFD")]; !ok || v != values[i] {
			t.Errorf("%q: %v, %v; want %v", text, v, ok, values[i])
		}
	}
}

// TestOneStep: a page that cannot be written leaves what was there, and nothing new.
func TestOneStep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.prom")
	var p Page
	p.Gauge("one", "One.").Set(1)
	for range 2 {
		if err := p.WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.WriteFile(dir); err == nil {
		t.Error("a folder was replaced")
	}
	pipe := filepath.Join(dir, "pipe") // or /dev/null, which root could replace
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteFile(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "# HELP one One.\n# TYPE one gauge\none 1\n" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
