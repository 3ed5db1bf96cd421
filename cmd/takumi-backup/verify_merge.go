package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/verify"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
)

func newVerifyMerge() *cobra.Command {
	v := new(verifyCommand)
	cmd := &cobra.Command{
		Use:   "merge [flags] REPORT.json...",
		Short: "Join the reports of verify --shard to one",
		Long: `Join the JSON reports of the shards of one store, or of several stores, to one, and
print what verify would have printed. A backup that several reports know is taken
from the run that checked it and ended last. A shard that is missing is an error, and
so is a run that was stopped: nobody has looked at its backups. The exit code is that
of verify over a folder.`,
		Example: `  takumi-backup verify merge --report all.html --metrics all.prom shard-*.json`,
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, paths []string) error { return v.merge(cmd, paths) },
	}
	f := cmd.Flags()
	f.BoolVar(&v.strict, "strict", false, "exit with 1 when there is a warning")
	v.addReports(cmd)
	return cmd
}

func (v *verifyCommand) merge(cmd *cobra.Command, paths []string) error {
	notifier, err := v.begin(cmd)
	if err != nil {
		return err
	}
	var all *verify.Report
	var parts []*verify.Report
	for _, path := range paths {
		var part *verify.Report
		if part, err = reports.Read(path); err != nil {
			break
		}
		parts = append(parts, part)
	}
	if err == nil {
		all, err = verify.Merge(parts)
	}
	if err == nil {
		err = v.publish(cmd, all, unfinished(all), nil)
	}
	return v.end(cmd, notifier, all, err)
}

// unfinished is the error that a report tells of a run that was stopped: nobody
// has looked at what was left of it.
func unfinished(r *verify.Report) error {
	if r.Interrupted {
		return errors.New("merging: one of the runs was stopped before all was done")
	}
	return nil
}
