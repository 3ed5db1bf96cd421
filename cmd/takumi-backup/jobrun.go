package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// jobFlags are whom to notify of a scheduled job.
type jobFlags struct {
	notify  bool
	metrics string
}

func (j *jobFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&j.notify, "notify", false, "notify those whom the settings name of the outcome: SLACK_WEBHOOK_URL, ALERT_EMAIL_TO, ALERT_WEBHOOK_URL, HEALTHCHECK_URL")
	f.StringVar(&j.metrics, "metrics", "", "write metrics for node_exporter to `FILE`.prom")
}

// told does work as a run of a job, remembers how it went, and tells those who are to
// know. work fills in what the run made.
func (j *jobFlags) told(cmd *cobra.Command, task string, work func(*runs.Run) error) error {
	var log tailWriter
	stderr := cmd.ErrOrStderr()
	cmd.SetErr(io.MultiWriter(stderr, &log))
	defer cmd.SetErr(stderr)
	var notifier *reports.Notifier
	if j.notify {
		var err error
		if notifier, err = reports.New(conf.Get, conf.Production()); err != nil {
			warn(cmd, "not everybody will be notified: %v", err)
		}
		if err := notifier.Start(cmd.Context()); err != nil {
			warn(cmd, "%v", err)
		}
	}
	r := &runs.Run{Task: task, Started: time.Now().UTC()}
	err := j.writable()
	if err == nil {
		err = work(r)
	}
	r.Finished = time.Now().UTC()
	why := harden.Ending(cmd.Context(), err)
	if why != nil {
		r.Error = redact.Keys(why.Error())
		if !errors.Is(why, errSome) { // of which the log has each
			log.WriteString("takumi-backup: " + r.Error + "\n")
		}
	}
	fault := j.keep(r)
	if fault != nil && err != nil {
		warn(cmd, "%v", fault)
	} else if fault != nil {
		err, r.Error = fault, fault.Error()
	}
	if notifier != nil {
		if fault := notifier.DoneTask(context.WithoutCancel(cmd.Context()), r, log.warned, log.String()); fault != nil {
			warn(cmd, "not everybody could be notified how it went: %v", fault)
		}
	}
	return err
}

func (j *jobFlags) writable() error {
	if j.metrics == "" {
		return nil
	}
	err := reports.CheckTaskMetrics(j.metrics)
	if errors.Is(err, reports.ErrVerifys) {
		return usagef("--metrics: %w", err)
	}
	return err
}

func (j *jobFlags) keep(r *runs.Run) error {
	dir, err := history.Dir()
	if err != nil {
		return usage(err)
	}
	memory, err := runs.Remember(dir, r)
	if err != nil || j.metrics == "" {
		return err
	}
	return reports.WriteTaskMetrics(j.metrics, r.Task, memory, r.Finished)
}

func madeOf(m *backup.Made, took time.Duration) runs.Made {
	return runs.Made{
		Series: runs.Series{Folder: store.Dir(m.Path), Kind: m.Kind, Name: backup.SeriesOf(m.Name)},
		Path:   m.Path, Created: m.Created, Bytes: m.Out, Content: m.In, Seconds: took.Seconds(),
	}
}

// tailWriter keeps the end of what is written, and whether there was a warning.
type tailWriter struct {
	strings.Builder
	warned bool
}

func (t *tailWriter) Write(p []byte) (int, error) {
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
