package report

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/promtext"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify"
)

// WriteMetrics writes the metrics of a report to path, for the textfile collector
// of node_exporter: atomically, with mode 0644 for others to read, and in the
// place of an older file. success says whether the run found all to be well: no
// error, and not nothing at all. docs/REPORTS.md lists the metrics. The error is a
// [store.Error].
func WriteMetrics(path string, r *verify.Report, success bool) error {
	if err := pageOf(r, success).WriteFile(path); err != nil {
		return &store.Error{Op: "write the metrics to", Path: path, Err: err}
	}
	return nil
}

// CheckMetrics finds whether [WriteMetrics] could write to path now: whether its
// folder is there, and takes a file. The error is a [store.Error].
func CheckMetrics(path string) error {
	err := promtext.Check(path)
	if err == nil {
		var file *os.File
		if file, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)); err == nil { // as WriteMetrics does
			err = errors.Join(file.Close(), os.Remove(file.Name()))
		}
	}
	if err != nil {
		return &store.Error{Op: "write the metrics to", Path: path, Err: err}
	}
	return nil
}

// metrics makes gauges, all of which are new for each report: what is no longer
// in the store is no longer in them.
type metrics struct{ promtext.Page }

func (m *metrics) gauge(name, help string, labels ...string) *promtext.Gauge {
	return m.Gauge("takumi_backup_"+name, help, labels...)
}

func pageOf(r *verify.Report, success bool) *promtext.Page {
	m := new(metrics)
	m.run(r, success)
	m.keys(r)
	m.series(r)
	return &m.Page
}

func (m *metrics) run(r *verify.Report, success bool) {
	m.gauge("build_info", "The program that verified; always 1.", "version").Set(1, r.Program)
	one := func(name, help string, value float64) { m.gauge(name, help).Set(value) }
	s := r.Summary()
	one("verify_last_run_timestamp_seconds", "When the last run of verify ended.", seconds(r.Finished))
	one("verify_duration_seconds", "How long the last run of verify took.", r.Finished.Sub(r.Started).Seconds())
	one("verify_success", "Whether the last run of verify found backups, and no error.", truth(success))
	one("verify_backups", "Backups that the last run of verify found in the store.", float64(s.Backups))
	one("verify_interrupted", "Whether the last run of verify ended before all was done.", truth(r.Interrupted))
	one("verify_checked_backups", "Backups that the last run of verify looked at.", float64(s.Checked))
	one("verify_checked_bytes", "Bytes of the backups that the last run of verify looked at.", float64(s.Bytes))
	findings := m.gauge("verify_findings", "Findings of the last run of verify, by code.", "severity", "code")
	count := func(list []verify.Finding) {
		for _, f := range list {
			findings.Add(1, string(f.Severity), string(f.Code))
		}
	}
	count(r.Findings)
	for _, b := range r.Backups.Found() {
		count(b.Findings)
	}
}

func (m *metrics) keys(r *verify.Report) {
	age := m.gauge("key_age_seconds", "Age of a key when verify ended.", "key_id")
	next := m.gauge("key_next_rotation_timestamp_seconds", "When a key is due to be rotated.", "key_id")
	overdue := m.gauge("key_overdue", "Whether a key was due to be rotated when verify ended.", "key_id")
	for _, k := range r.Keys {
		id := k.ID
		if !k.Activated.IsZero() {
			age.Set(r.Finished.Sub(k.Activated).Seconds(), id)
		}
		if !k.NextRotation.IsZero() {
			next.Set(seconds(k.NextRotation), id)
		}
		overdue.Set(truth(k.Overdue), id)
	}
}

func (m *metrics) series(r *verify.Report) {
	gauge := func(name, help string, more ...string) *promtext.Gauge {
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
	type known struct {
		lastProven          time.Time
		succeeded, unpacked bool
	}
	all := make(map[seriesKey]*known)
	for _, b := range r.Backups.All() { // newest first
		key, ok := seriesOf(b)
		if !ok {
			continue
		}
		labels := []string{key.folder, key.kind, key.name}
		of := all[key]
		if of == nil {
			of = new(known)
			all[key] = of
			for _, s := range page.States {
				count.Set(0, append(labels, string(s))...)
			}
			late.Set(0, labels...)
			newest.Set(seconds(b.Created), labels...)
			size.Set(float64(b.Size), labels...)
		}
		if tooOld[b.Path] {
			late.Set(1, labels...)
		}
		// One from the future must not hide for years that none was made since.
		if s := StateOf(b); !of.succeeded && (s == good || s == warned && b.Proven > verify.None) && !b.Created.After(r.Finished) {
			of.succeeded = true
			success.Set(seconds(b.Created), labels...)
			age.Set(r.Finished.Sub(b.Created).Seconds(), labels...)
		}
		if b.Content > 0 && !of.unpacked {
			of.unpacked = true
			content.Set(float64(b.Content), labels...)
		}
		if b.Proven > verify.None && b.ProvenAt.After(of.lastProven) {
			of.lastProven = b.ProvenAt
			proven.Set(seconds(b.ProvenAt), labels...)
		}
		stored.Add(float64(b.Size), labels...)
		duration.Add(b.Seconds, labels...)
		count.Add(1, append(labels, string(StateOf(b)))...)
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
