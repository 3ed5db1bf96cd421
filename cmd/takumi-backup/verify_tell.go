package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/verify"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
)

// addReports adds the flags that say who is told, and how.
func (v *verifyCommand) addReports(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&v.reports, "report", nil, "write a report, as `FILE`.html or FILE.json; may be repeated")
	f.StringVar(&v.metrics, "metrics", "", "write metrics for node_exporter to `FILE`.prom")
	f.BoolVar(&v.notify, "notify", false, "notify those whom the environment names: SLACK_WEBHOOK_URL, ALERT_EMAIL_TO, ALERT_WEBHOOK_URL, HEALTHCHECK_URL")
	f.BoolVar(&v.json, "json", false, "print the report as JSON")
	v.progress.add(cmd)
}

// begin looks who is to be told, and finds before the hours of work that the
// reports can be written. The notifier is nil when nobody is to be told.
func (v *verifyCommand) begin(cmd *cobra.Command) (*reports.Notifier, error) {
	for _, path := range v.reports {
		if err := reports.CheckForm(path); err != nil {
			return nil, usagef("--report: %w", err)
		}
	}
	if s := v.job.Shard; s.Count > 1 && (v.metrics != "" || v.notify) {
		return nil, usagef("--metrics and --notify cover a whole store, and this is shard %v: give them to verify merge", s)
	}
	var to *reports.Notifier
	if v.notify {
		warn := func(format string, args ...any) { v.warn(cmd, format, args...) }
		to = notifier(warn)
		if err := to.Start(cmd.Context()); err != nil {
			warn("%v", err)
		}
	}
	if err := v.writable(); err != nil {
		return nil, v.end(cmd, to, nil, err)
	}
	return to, nil
}

func (v *verifyCommand) writable() error {
	for _, path := range v.reports {
		if err := reports.Check(path); err != nil {
			return err
		}
	}
	if v.metrics != "" {
		return reports.CheckMetrics(v.metrics)
	}
	return nil
}

func (v *verifyCommand) warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(&v.log, "warning: "+format+"\n", args...)
	warn(cmd, format, args...)
}

func (v *verifyCommand) end(cmd *cobra.Command, notifier *reports.Notifier, found *verify.Report, fault error) error {
	if notifier == nil {
		return fault
	}
	if why := harden.Ending(cmd.Context(), fault); why != nil && !errors.Is(why, errSome) { // of which the log has each
		fmt.Fprintf(&v.log, "takumi-backup: %v\n", why)
	}
	err := notifier.Done(context.WithoutCancel(cmd.Context()), found, harden.Ending(cmd.Context(), fault), v.log.String())
	if err != nil {
		warn(cmd, "the result is valid, but not everybody could be notified: %v", err)
	}
	return fault
}

// publish prints and writes a report, and returns what the exit code is made of.
// failed is why it is not whole. one is the file that alone was asked for, or nil.
func (v *verifyCommand) publish(cmd *cobra.Command, found *verify.Report, failed error, one *verify.Backup) error {
	result := found.Outcome(failed, one, v.strict)
	err := v.print(cmd, found, one)
	for _, path := range v.reports {
		err = errors.Join(err, reports.Write(path, found))
	}
	if v.metrics != "" {
		err = errors.Join(err, reports.WriteMetrics(v.metrics, found, result == nil))
	}
	if err != nil && result != nil { // which must not hide what was found
		v.warn(cmd, "%v", err)
		return result
	}
	return errors.Join(result, err)
}

// print prints the report, or a line for each backup that was checked, and says
// what was found.
func (v *verifyCommand) print(cmd *cobra.Command, r *verify.Report, one *verify.Backup) error {
	for said := range reports.Findings(r) {
		v.log.WriteString(said.Text)
		if one == nil || said.Path != one.Path || said.Severity != verify.Error { // which main says
			fmt.Fprint(cmd.ErrOrStderr(), said.Text)
		}
	}
	for _, b := range r.Backups.Found() {
		if b.Worst() == verify.Error {
			rec := audit.Record{Path: b.Path, BackupID: b.ID, Name: b.Name, Kind: b.Kind, Fault: b.Err()}
			if b.KeyID != "" {
				rec.KeyIDs = []string{b.KeyID}
			}
			recordBackup(cmd, rec)
		}
	}
	summary := reports.Summary(r, v.meter.In())
	v.log.WriteString(summary)
	if !v.progress.quiet {
		fmt.Fprint(cmd.ErrOrStderr(), summary)
	}
	if v.json {
		return stdoutError(reports.WriteJSON(cmd.OutOrStdout(), r))
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	return stdoutError(cmp.Or(reports.WriteLines(out, r, v.progress.quiet), out.Flush()))
}
