package report

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/takumi-backup/takumi-backup/internal/promtext"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// today is when the rules are asked, seen from the beginning of promtool's clock.
const today = 12 * time.Hour

// host is what a host knows when all is well. A scenario changes it.
type host struct {
	verified *verify.Report
	backups  []verify.Backup // of it
	failed   bool            // verify found something wrong that no finding names
	memory   *runs.Memory
	silent   map[string]bool // these jobs write no metrics; verify is one
	// before are the sizes and the series that there were until yesterday.
	before float64
	gone   bool
}

func ago(d time.Duration) time.Time { return time.Unix(0, 0).Add(today - d) }

func healthy() *host {
	const day = 24 * time.Hour
	h := &host{silent: map[string]bool{}, before: 1}
	h.verified = &verify.Report{Program: "takumi-backup v1", Started: ago(4 * time.Hour), Finished: ago(3 * time.Hour), Keys: []verify.Key{{ID: "k", Activated: ago(day), NextRotation: ago(-100 * day)}}}
	h.memory = &runs.Memory{Tasks: make(map[string]runs.Task)}
	for _, kind := range []string{"database", "uploads"} {
		for n := range 3 {
			h.backups = append(h.backups, verify.Backup{
				Path: fmt.Sprintf("/b/%s/%d.enc", kind, n), Kind: kind, Series: kind, Created: ago(time.Duration(n)*day + 8*time.Hour), Size: 1000,
				Checked: true, Proven: verify.Content, ProvenAt: ago(3 * time.Hour),
			})
		}
		h.memory.Made = append(h.memory.Made, runs.Made{Series: runs.Series{Folder: "/b/" + kind, Kind: kind, Name: kind}, Created: ago(8 * time.Hour), Bytes: 1000})
	}
	for _, task := range []string{"backup", "prune", "replicate", "drill"} {
		h.memory.Tasks[task] = runs.Task{LastRun: ago(8 * time.Hour), LastSuccess: ago(8 * time.Hour), Parts: []runs.Part{{Name: "database"}}}
	}
	return h
}

// task changes what is remembered of a job.
func (h *host) task(name string, change func(*runs.Task)) {
	t := h.memory.Tasks[name]
	change(&t)
	h.memory.Tasks[name] = t
}

func (h *host) finding(b int, severity verify.Severity, code verify.Code) {
	f := verify.Finding{Severity: severity, Code: code}
	if b < 0 {
		h.verified.Findings = append(h.verified.Findings, f)
		return
	}
	h.backups[b].Findings = append(h.backups[b].Findings, f)
	if severity == verify.Error {
		h.backups[b].Proven = verify.None
	}
}

// series are the metrics as node_exporter would show them, in promtool's words.
func (h *host) series(t *testing.T) (all []map[string]string) {
	t.Helper()
	add := func(page *promtext.Page) {
		for _, family := range parsed(t, page) {
			for _, m := range family.Metric {
				labels := []string{`instance="db1"`}
				for _, l := range m.Label {
					labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
				}
				value := func(factor float64) string { return strconv.FormatFloat(m.Gauge.GetValue()*factor, 'f', -1, 64) }
				values := value(1) + "x24"
				if family.GetName() == "takumi_backup_size_bytes" {
					values = value(h.before) + "x19 " + value(1) + "x4"
				}
				if h.gone && strings.Contains(strings.Join(labels, ","), `name="uploads"`) && !strings.Contains(family.GetName(), "_made_") {
					values = value(1) + "x18 stale"
				}
				all = append(all, map[string]string{"series": family.GetName() + "{" + strings.Join(labels, ",") + "}", "values": values})
			}
		}
	}
	if !h.silent["verify"] {
		h.verified.Backups = verify.ListOf(h.backups...)
		s := h.verified.Summary()
		add(pageOf(h.verified, !h.failed && s.Errors == 0 && s.Failed == 0 && s.Backups > 0))
	}
	for task := range h.memory.Tasks {
		if !h.silent[task] {
			add(taskPage(task, h.memory, ago(8*time.Hour)))
		}
	}
	return all
}

// TestAlerts: each alert fires for its cause, and for that no other does; the rules are
// run by Prometheus's own promtool over the metrics that the program writes.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("TAKUMI_TEST_INTEGRATION") == "1" {
			t.Fatal("promtool is not installed: apt-get install prometheus")
		}
		t.Skip("promtool is not installed")
	}
	const day = 24 * time.Hour
	late := func(h *host) {
		for i := range h.backups {
			h.backups[i].Created = h.backups[i].Created.Add(-40 * time.Hour)
		}
		h.finding(-1, verify.Error, verify.TooOld)
		h.verified.Findings[0].Path = h.backups[0].Path
	}
	causes := []struct {
		cause string
		fires string // "" is none
		do    func(h *host)
	}{
		{"all is well", "", func(*host) {}},
		{"the night did not come", "TakumiBackupNightMissed", func(h *host) {
			h.task("backup", func(t *runs.Task) { t.LastRun, t.LastSuccess = ago(27*time.Hour), ago(27*time.Hour) })
		}},
		{"several nights did not come, and verify found that too", "TakumiBackupNightMissed", func(h *host) {
			late(h)
			h.task("backup", func(t *runs.Task) { t.LastRun, t.LastSuccess = ago(4*day), ago(4*day) })
			for i := range h.memory.Made {
				h.memory.Made[i].Created = ago(4 * day)
			}
		}},
		{"no night reports", "TakumiBackupNightAbsent", func(h *host) { h.silent["backup"] = true }},
		{"the night failed", "TakumiBackupNightFailed", func(h *host) { h.task("backup", func(t *runs.Task) { t.Error = "pg_dump died" }) }},
		{"a series was taken out of the settings", "TakumiBackupSeriesNotMade", func(h *host) { h.memory.Made[1].Created = ago(40 * time.Hour) }},
		{"prune failed", "TakumiBackupTaskFailed", func(h *host) { h.task("prune", func(t *runs.Task) { t.Error = "damaged" }) }},
		{"nothing was copied", "TakumiBackupReplicateOverdue", func(h *host) { h.task("replicate", func(t *runs.Task) { t.LastRun = ago(9 * day) }) }},
		{"no drill", "TakumiBackupDrillOverdue", func(h *host) { h.task("drill", func(t *runs.Task) { t.LastRun = ago(101 * day) }) }},
		{"verify did not run", "TakumiBackupVerifyOverdue", func(h *host) { h.verified.Finished = ago(9 * day); h.setBack(9 * day) }},
		{"verify reports nothing", "TakumiBackupVerifyAbsent", func(h *host) { h.silent["verify"] = true }},
		{"verify failed by --strict", "TakumiBackupVerifyFailed", func(h *host) { h.failed = true }},
		{"the store is empty", "TakumiBackupStoreEmpty", func(h *host) { h.backups = nil }},
		{"a series is gone", "TakumiBackupSeriesGone", func(h *host) { h.gone = true }},
		{"verify was stopped", "TakumiBackupVerifyInterrupted", func(h *host) { h.verified.Interrupted, h.failed = true, true }},
		{"one backup is damaged", "TakumiBackupFailed", func(h *host) { h.finding(1, verify.Error, verify.Damaged) }},
		{"all backups of a series are damaged", "TakumiBackupNoneGood", func(h *host) {
			for i := range 3 {
				h.finding(i, verify.Error, verify.Damaged)
			}
		}},
		{"the nights report nothing, and the newest good one is old", "TakumiBackupNightAbsent TakumiBackupTooOld", func(h *host) {
			h.silent["backup"] = true
			h.setBack(36 * time.Hour)
		}},
		{"the newest is older than --max-age", "TakumiBackupLate", late},
		{"the newest is small", "TakumiBackupShrunk", func(h *host) { h.before = 5 }},
		{"the store has an error that is not a backup's", "TakumiBackupStoreError", func(h *host) { h.finding(-1, verify.Error, verify.Unreadable) }},
		{"a sidecar is missing", "TakumiBackupWarning", func(h *host) { h.finding(2, verify.Warning, verify.SidecarMissing) }},
		{"a key is overdue", "TakumiBackupKeyOverdue", func(h *host) {
			h.verified.Keys[0].NextRotation, h.verified.Keys[0].Overdue = ago(day), true
			h.finding(-1, verify.Warning, verify.KeyOverdue)
		}},
		{"a key will be due", "TakumiBackupKeyRotationSoon", func(h *host) { h.verified.Keys[0].NextRotation = ago(-7 * day) }},
	}
	rules, err := filepath.Abs("../../scripts/monitoring/takumi-backup.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	var tests []map[string]any
	var proved []string
	for _, c := range causes {
		h := healthy()
		c.do(h)
		samples := []map[string]any{}
		for _, alert := range strings.Fields(c.fires) {
			samples = append(samples, map[string]any{"labels": fmt.Sprintf("{alertname=%q}", alert), "value": 1})
		}
		proved = append(proved, strings.Fields(c.fires)...)
		tests = append(tests, map[string]any{
			"name": c.cause, "interval": "30m", "input_series": h.series(t),
			"promql_expr_test": []map[string]any{{
				"expr": `group by (alertname) (ALERTS{alertstate="firing"})`, "eval_time": today.String(), "exp_samples": samples,
			}},
		})
	}
	for _, line := range strings.Split(string(text), "\n") {
		if alert, found := strings.CutPrefix(strings.TrimSpace(line), "- alert: "); found && !slices.Contains(proved, alert) {
			t.Errorf("no cause fires %s", alert)
		}
	}
	page, err := yaml.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "30m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.test.yml")
	if err := os.WriteFile(path, page, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// setBack makes what verify saw older.
func (h *host) setBack(by time.Duration) {
	for i := range h.backups {
		h.backups[i].Created = h.backups[i].Created.Add(-by)
	}
}
