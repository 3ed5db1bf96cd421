package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
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

// runRecorded does work as a run of a job. work fills in what the run made.
func (j *jobFlags) runRecorded(cmd *cobra.Command, task string, work func(*runs.Run) error) error {
	o := reports.Job{Metrics: j.metrics, Warn: warner(cmd), Log: new(reports.Log), StateDir: func() (string, error) { return stateDirOr("") }}
	stderr := cmd.ErrOrStderr()
	cmd.SetErr(io.MultiWriter(stderr, o.Log))
	defer cmd.SetErr(stderr)
	if j.notify {
		o.Notifier = notifier(o.Warn)
	}
	return o.Run(cmd.Context(), task, work)
}

// notifier tells those whom the settings name.
func notifier(warn func(string, ...any)) *reports.Notifier {
	n, err := reports.New(conf.Get, conf.Production())
	if err != nil {
		warn("not everybody will be notified: %v", err)
	}
	return n
}

// madeOf is what is remembered of a backup.
func madeOf(m *backup.Made, took time.Duration) runs.Made {
	return runs.Made{
		Series: runs.Series{Folder: store.Dir(m.Path), Kind: m.Kind, Name: backup.SeriesOf(m.Name)},
		Path:   m.Path, Created: m.Created, Bytes: m.Out, Content: m.In, Seconds: took.Seconds(),
	}
}
