package report

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify"
)

// WriteMetrics writes the metrics of a report to path, for the textfile collector
// of node_exporter: atomically, with mode 0644 for others to read, and in the
// place of an older file. success says whether the run found all to be well: no
// error, and not nothing at all. docs/REPORTS.md lists the metrics. The error is a
// [store.Error].
func WriteMetrics(path string, r *verify.Report, success bool) error {
	if err := prometheus.WriteToTextfile(path, registry(r, success)); err != nil {
		return &store.Error{Op: "write the metrics to", Path: path, Err: err}
	}
	return nil
}

// CheckMetrics finds whether [WriteMetrics] could write to path now: whether its
// folder is there, and takes a file. The error is a [store.Error].
func CheckMetrics(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)) // as WriteMetrics does
	if err == nil {
		err = errors.Join(file.Close(), os.Remove(file.Name()))
	}
	if err == nil {
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			err = syscall.EISDIR
		}
	}
	if err != nil {
		return &store.Error{Op: "write the metrics to", Path: path, Err: err}
	}
	return nil
}

// metrics makes gauges, all of which are new for each report: what is no longer
// in the store is no longer in them.
type metrics struct{ *prometheus.Registry }

func (m metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "takumi_backup", Name: name, Help: help}, labels)
	m.MustRegister(g)
	return g
}

// registry has the metrics of a report.
func registry(r *verify.Report, success bool) *prometheus.Registry {
	m := metrics{prometheus.NewRegistry()}
	m.run(r, success)
	m.keys(r)
	m.series(r)
	return m.Registry
}

func (m metrics) run(r *verify.Report, success bool) {
	m.gauge("build_info", "The program that verified; always 1.", "version").WithLabelValues(label(r.Program)).Set(1)
	one := func(name, help string, value float64) { m.gauge(name, help).WithLabelValues().Set(value) }
	s := r.Summary()
	one("verify_last_run_timestamp_seconds", "When the last run of verify ended.", seconds(r.Finished))
	one("verify_duration_seconds", "How long the last run of verify took.", r.Finished.Sub(r.Started).Seconds())
	one("verify_success", "Whether the last run of verify found backups, and no error.", truth(success))
	one("verify_backups", "Backups that the last run of verify found in the store.", float64(s.Backups))
	one("verify_interrupted", "Whether the last run of verify ended before all was done.", truth(r.Interrupted))
	one("verify_checked_backups", "Backups that the last run of verify looked at.", float64(s.Checked))
	one("verify_checked_bytes", "Bytes of the backups that the last run of verify looked at.", float64(s.Bytes))
	findings := m.gauge("verify_findings", "What the last run of verify found, by code.", "severity", "code")
	count := func(list []verify.Finding) {
		for _, f := range list {
			findings.WithLabelValues(label(string(f.Severity)), label(string(f.Code))).Inc()
		}
	}
	count(r.Findings)
	for i := range r.Backups {
		count(r.Backups[i].Findings)
	}
}

func (m metrics) keys(r *verify.Report) {
	age := m.gauge("key_age_seconds", "Age of a key when verify ended.", "key_id")
	next := m.gauge("key_next_rotation_timestamp_seconds", "When a key is due to be rotated.", "key_id")
	overdue := m.gauge("key_overdue", "Whether a key was due to be rotated when verify ended.", "key_id")
	for _, k := range r.Keys {
		id := label(k.ID)
		if !k.Activated.IsZero() {
			age.WithLabelValues(id).Set(r.Finished.Sub(k.Activated).Seconds())
		}
		if !k.NextRotation.IsZero() {
			next.WithLabelValues(id).Set(seconds(k.NextRotation))
		}
		overdue.WithLabelValues(id).Set(truth(k.Overdue))
	}
}

func (m metrics) series(r *verify.Report) {
	gauge := func(name, help string, more ...string) *prometheus.GaugeVec {
		return m.gauge(name, help, append([]string{"folder", "kind", "name"}, more...)...)
	}
	newest := gauge("newest_timestamp_seconds", "When the newest backup was made, whatever is known of it.")
	success := gauge("last_success_timestamp_seconds", "When the newest backup was made that was proven and has no error.")
	age := gauge("age_seconds", "Age of the newest backup that was proven and has no error, when verify ended.")
	size := gauge("size_bytes", "Size of the newest backup.")
	content := gauge("content_bytes", "Unpacked size of the newest backup that was unpacked.")
	stored := gauge("stored_bytes", "Size of all backups.")
	proven := gauge("last_proven_timestamp_seconds", "When a backup was last proven.")
	duration := gauge("verify_backup_duration_seconds", "Time that verify spent on backups in its last run.")
	late := gauge("late", "Whether the newest backup was older than --max-age allows, when verify ended.")
	tooOld := make(map[string]bool)
	for _, f := range r.Findings {
		if f.Code == verify.TooOld {
			tooOld[f.Path] = true
		}
	}
	count := gauge("backups", "Backups, by what came out of verifying them.", "result")
	keys, of := bySeries(r)
	for _, key := range keys {
		labels := []string{label(key.folder), label(key.kind), label(key.name)}
		backups := of[key]
		for _, s := range states {
			count.WithLabelValues(append(labels, string(s))...).Set(0)
		}
		var lastProven time.Time
		var succeeded, unpacked bool
		late.WithLabelValues(labels...).Set(0)
		for i, b := range backups { // newest first
			if tooOld[b.Path] {
				late.WithLabelValues(labels...).Set(1)
			}
			if i == 0 {
				newest.WithLabelValues(labels...).Set(seconds(b.Created))
				size.WithLabelValues(labels...).Set(float64(b.Size))
			}
			// One from the future must not hide for years that none was made since.
			if s := stateOf(b); !succeeded && (s == good || s == warned && b.Proven > verify.None) && !b.Created.After(r.Finished) {
				succeeded = true
				success.WithLabelValues(labels...).Set(seconds(b.Created))
				age.WithLabelValues(labels...).Set(r.Finished.Sub(b.Created).Seconds())
			}
			if b.Content > 0 && !unpacked {
				unpacked = true
				content.WithLabelValues(labels...).Set(float64(b.Content))
			}
			if b.Proven > verify.None && b.ProvenAt.After(lastProven) {
				lastProven = b.ProvenAt
				proven.WithLabelValues(labels...).Set(seconds(b.ProvenAt))
			}
			stored.WithLabelValues(labels...).Add(float64(b.Size))
			duration.WithLabelValues(labels...).Add(b.Seconds)
			count.WithLabelValues(append(labels, string(stateOf(b)))...).Inc()
		}
	}
}

// label makes text from outside fit for a label; the format escapes the rest.
func label(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
