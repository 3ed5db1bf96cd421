package report

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify"
)

// families writes the metrics of a report and reads them as Prometheus does.
func families(t *testing.T, r *verify.Report) map[string]*dto.MetricFamily {
	t.Helper()
	path := filepath.Join(t.TempDir(), "takumi.prom")
	for range 2 {
		if err := errors.Join(CheckMetrics(path), WriteMetrics(path, r, r.Backups.Len() > 0)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	return parsed(t, bytes.NewBuffer(text))
}

// parsed reads a page as Prometheus does.
func parsed(t *testing.T, page io.WriterTo) map[string]*dto.MetricFamily {
	t.Helper()
	var text bytes.Buffer
	if _, err := page.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation) // the strict one
	found, err := parser.TextToMetricFamilies(&text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// value finds a metric by some of its labels.
func value(t *testing.T, found map[string]*dto.MetricFamily, name string, labels map[string]string) float64 {
	t.Helper()
	family := found["takumi_backup_"+name]
	if family == nil {
		t.Fatalf("there is no %s", name)
	}
	for _, m := range family.Metric {
		matches := 0
		for _, l := range m.Label {
			if want, ok := labels[l.GetName()]; ok && want == l.GetValue() {
				matches++
			}
		}
		if matches == len(labels) {
			return m.Gauge.GetValue()
		}
	}
	t.Errorf("there is no %s of %v", name, labels)
	return math.NaN()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := sample()
	// The newest is damaged and the next from the future: neither is a success.
	backups := held(r)
	backups[0].Findings = backups[3].Findings
	backups[1].Created = noon.Add(time.Hour)
	r.Backups = verify.ListOf(backups...)
	found := families(t, r)
	database := map[string]string{"folder": "/var/backups/takumi/database", "kind": "database", "name": "takumi_database"}
	with := func(result string) map[string]string { return map[string]string{"kind": "database", "result": result} }
	made := backups[2].Created
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"last_success_timestamp_seconds", database, float64(made.Unix())},
		{"newest_timestamp_seconds", database, float64(backups[0].Created.Unix())},
		{"age_seconds", database, noon.Sub(made).Seconds()},
		{"size_bytes", database, 40 << 20 * 8},
		{"content_bytes", database, 1 << 30},
		{"last_proven_timestamp_seconds", database, float64(noon.Add(-5 * time.Minute).Unix())},
		{"verify_backup_duration_seconds", database, 36},
		{"backups", with("failed"), 2},
		{"backups", with("warned"), 0},
		{"backups", with("good"), 22},
		{"backups", map[string]string{"kind": "uploads", "result": "unproven"}, 1},
		{"verify_findings", map[string]string{"severity": "error", "code": "damaged"}, 2},
		{"verify_findings", map[string]string{"severity": "warning", "code": "plaintext"}, 1},
		{"verify_last_run_timestamp_seconds", nil, float64(noon.Unix())},
		{"verify_duration_seconds", nil, 17 * 60},
		{"verify_interrupted", nil, 0},
		{"verify_success", nil, 1},
		{"verify_backups", nil, 72},
		{"verify_checked_backups", nil, 21},
		{"key_overdue", map[string]string{"key_id": "3f1c5a0e9b2d4c66"}, 1},
		{"key_age_seconds", map[string]string{"key_id": "3f1c5a0e9b2d4c66"}, 100 * 24 * 3600},
		{"key_next_rotation_timestamp_seconds", map[string]string{"key_id": "3f1c5a0e9b2d4c66"}, float64(noon.AddDate(0, 0, -10).Unix())},
	} {
		if got := value(t, found, c.name, c.labels); got != c.want {
			t.Errorf("%s of %v: got %v, want %v", c.name, c.labels, got, c.want)
		}
	}
}

// TestMetricsOfAnything: hostile names and an empty report make metrics that
// parse.
func TestMetricsOfAnything(t *testing.T) {
	t.Parallel()
	found := families(t, nasty())
	if got := value(t, found, "backups", map[string]string{"kind": strings.ToValidUTF8(hostile, "\uFFFD"), "result": "failed"}); got != 1 {
		t.Errorf("got %v", got)
	}
	found = families(t, &verify.Report{Started: noon, Finished: noon})
	if found["takumi_backup_last_success_timestamp_seconds"] != nil || value(t, found, "verify_success", nil) != 0 || value(t, found, "verify_backups", nil) != 0 {
		t.Error("an empty store has a success")
	}
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "missing", "x.prom")} {
		if !store.IsStoreFault(WriteMetrics(path, sample(), true)) || !store.IsStoreFault(CheckMetrics(path)) {
			t.Errorf("%s: no error of the store", path)
		}
	}
}
