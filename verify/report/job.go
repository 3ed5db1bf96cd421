package report

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// Job is what somebody is told of a job that the clock starts, other than verify.
type Job struct {
	Notifier *Notifier // nil tells nobody
	Metrics  string    // a file, or ""
	// StateDir is the folder of what is remembered; what fails with its error has run.
	StateDir func() (string, error)
	Warn     func(format string, args ...any) // nil is silent
	// Log has what is printed while the job runs.
	Log *Log
}

// Run does work as a run of a job, remembers how it went, and tells those who are to know.
// work fills in what the run made.
func (j Job) Run(ctx context.Context, task string, work func(*runs.Run) error) error {
	if err := j.Notifier.Start(ctx); err != nil {
		j.warn("%v", err)
	}
	r := &runs.Run{Task: task, Started: time.Now().UTC()}
	err := j.writable()
	if errors.Is(err, ErrVerifys) {
		err, j.Metrics = fail.Usagef("--metrics: %w", err), "" // which are left as they are
	} else {
		if err != nil { // a job is worth more than its metrics, and keep says again that they failed
			j.warn("%v", err)
		}
		err = work(r)
	}
	r.Finished = time.Now().UTC()
	if why := harden.Ending(ctx, err); why != nil {
		r.Error = redact.Error(why)
		if !errors.Is(why, fail.ErrSome) { // of which the log has each
			j.Log.WriteString("takumi-backup: " + r.Error + "\n")
		}
	}
	if fault := j.keep(r); fault != nil && err != nil {
		j.warn("%v", fault)
	} else if fault != nil {
		err, r.Error = fault, redact.Error(fault)
	}
	if j.Notifier != nil {
		if fault := j.Notifier.DoneTask(context.WithoutCancel(ctx), r, j.Log.warned, j.Log.String()); fault != nil {
			j.warn("not everybody could be notified how it went: %v", fault)
		}
	}
	return err
}

func (j Job) warn(format string, args ...any) {
	if j.Warn != nil {
		j.Warn(format, args...)
	}
}

func (j Job) writable() error {
	if j.Metrics == "" {
		return nil
	}
	return CheckTaskMetrics(j.Metrics)
}

func (j Job) keep(r *runs.Run) error {
	dir, err := j.StateDir()
	if err != nil {
		return err
	}
	memory, err := runs.Remember(dir, r)
	if err != nil || j.Metrics == "" {
		return err
	}
	return fail.As(fail.Store, "the job itself was done; check the folder of the metrics, its free space and permissions", WriteTaskMetrics(j.Metrics, r.Task, memory, r.Finished))
}

// Log keeps the end of what is written, and whether there was a warning.
type Log struct {
	strings.Builder
	warned bool
}

// Write adds to the log.
func (t *Log) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "warning: ") {
		t.warned = true
	}
	if t.Len() > 1<<20 { // what is sent is far less
		end := t.String()[t.Len()-1<<16:]
		t.Reset()
		t.WriteString(end)
	}
	return t.Builder.Write(p)
}
