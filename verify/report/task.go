package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/promtext"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// DoneTask notifies of how a job other than verify ended, as Done does of verify. warned
// says that it went well, and warned of something.
func (n *Notifier) DoneTask(ctx context.Context, r *runs.Run, warned bool, log string) error {
	m := taskMessage(r)
	if warned && m.Status == good {
		m.Status = "warned"
	}
	return n.send(ctx, m, log)
}

func taskMessage(r *runs.Run) *message {
	host, _ := os.Hostname()
	m := &message{Schema: 1, Event: r.Task, Status: good, Host: line(cmp.Or(host, "an unknown host")), Started: r.Started, Finished: r.Finished, Error: line(r.Error)}
	text := "done"
	if r.Error != "" {
		m.Status, text = failed, "failed"
	}
	for _, p := range r.Parts {
		m.Parts = append(m.Parts, toldPart{line(p.Name), line(p.Error)})
	}
	m.Subject = "takumi-backup " + r.Task + " on " + m.Host + ": " + text
	return m
}

// ErrVerifys: the file of metrics is the one that verify writes.
var ErrVerifys = errors.New("it has the metrics of verify: give each a file of its own")

// CheckTaskMetrics is [CheckMetrics] for the metrics of a job other than verify, whose
// file must not be that of verify.
func CheckTaskMetrics(path string) error {
	if err := CheckMetrics(path); err != nil {
		return err
	}
	if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "takumi_backup_verify_last_run") {
		return fmt.Errorf("%s: %w", path, ErrVerifys)
	}
	return nil
}

// WriteTaskMetrics writes what is remembered of a job, and with the job backup of each
// series, as [WriteMetrics] does. They keep their times while the job does not run, so
// that they alone say that it did not.
func WriteTaskMetrics(path, task string, m *runs.Memory, now time.Time) error {
	if err := taskPage(task, m, now).WriteFile(path); err != nil {
		return &store.Error{Op: "write the metrics to", Path: path, Err: err}
	}
	return nil
}

func taskPage(task string, memory *runs.Memory, now time.Time) *promtext.Page {
	m := new(metrics)
	t := memory.Tasks[task]
	one := func(name, help string, value float64) { m.gauge(name, help, "task").Set(value, task) }
	one("task_last_run_timestamp_seconds", "When the job last ended.", seconds(t.LastRun))
	if !t.LastSuccess.IsZero() {
		one("task_last_success_timestamp_seconds", "When the job last ended well.", seconds(t.LastSuccess))
	}
	one("task_success", "Whether the last run of the job went well.", truth(t.Error == ""))
	one("task_duration_seconds", "How long the last run of the job took.", t.Seconds)
	one("task_bytes", "Bytes that the last run of the job wrote.", float64(t.Bytes))
	if task != "backup" {
		return &m.Page
	}
	parts := m.gauge("part_success", "Whether the part of the last night went well.", "part")
	for _, p := range t.Parts {
		parts.Set(truth(p.Error == ""), p.Name)
	}
	made := func(name, help string) *promtext.Gauge {
		return m.gauge("made_"+name, help, "folder", "kind", "name")
	}
	at, age := made("timestamp_seconds", "When this host last made a backup of the series."), made("age_seconds", "Its age when the job ended.")
	size, content := made("bytes", "Its size."), made("content_bytes", "Bytes of its source.")
	took := made("duration_seconds", "How long it took.")
	for _, one := range memory.Made {
		labels := []string{one.Folder, one.Kind, one.Name}
		at.Set(seconds(one.Created), labels...)
		age.Set(now.Sub(one.Created).Seconds(), labels...)
		size.Set(float64(one.Bytes), labels...)
		content.Set(float64(one.Content), labels...)
		took.Set(one.Seconds, labels...)
	}
	return &m.Page
}
