package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
)

// collectEagerly collects memory more eagerly from 192 MiB on, or more where many cores
// need it, until its result is called: what lives of a big store is packed. A limit that the
// operator has set stays.
func collectEagerly() func() {
	before := debug.SetMemoryLimit(-1)
	if before == math.MaxInt64 {
		debug.SetMemoryLimit(max(192<<20, int64(runtime.GOMAXPROCS(0))*(16<<20)))
	}
	return func() { debug.SetMemoryLimit(before) }
}

type verifyCommand struct {
	keys      keyFlags
	progress  progressFlags
	rehearsal rehearsalFlags

	level, shard, sample, stateDir, metrics, signers string
	unsigned                                         bool
	maxAge, reports, accept                          []string
	newerOnly, strict, json, notify                  bool
	recheckAfter                                     values.Age
	maxDuration                                      time.Duration

	job   verify.Job
	meter backup.Meter
	log   reports.Log // the end of what was said of the findings
}

func newVerify() *cobra.Command {
	v := new(verifyCommand)
	cmd := &cobra.Command{
		Use:   "verify [flags] [PATH...]",
		Short: "Prove that backups are whole and can be opened",
		Long: `Prove that the backups at the paths ($BACKUP_ROOT by default; files, folders, or
s3://BUCKET/PREFIX) are whole and can be opened, and say what is wrong in the
store. --level says how much is proved:
  checksum   the file is the one that its sidecar was written for; needs no key
  auth       every chunk decrypts and is authentic
  content    it also unpacks, and is a whole dump, archive or snapshot
  restore    it is also restored, as drill does, and is what the manifest says

The program remembers its proofs, and list shows them. --accept confirms that a backup
was replaced or deleted on purpose.

One file has an exit code of its own: 4 when no key opens it, 7 when the store does not give
it, 1 when it cannot be judged, 5 for other errors. With several it is 6 when any failed or a
series is late. Warnings leave it at 0 without --strict. docs/REPORTS.md lists all findings.`,
		Example: `  takumi-backup verify
  takumi-backup verify --level restore --scratch-dir /srv/scratch --sample 5%
  takumi-backup verify --max-age 26h --report /var/www/backups.html --notify
  takumi-backup verify --level checksum /mnt/usb`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd, args) },
	}
	f := cmd.Flags()
	v.keys.add(cmd, "open with this key")
	v.keys.addIdentities(cmd)
	addSigners(f, &v.signers, "backups have to be signed by one of these")
	f.BoolVar(&v.unsigned, "unsigned", false, "with --level restore, restore databases that anybody may have made who knows a public recipient")
	f.StringVar(&v.level, "level", "content", "checksum, auth, content or restore")
	f.BoolVar(&v.strict, "strict", false, "exit with 1 when there is a warning")
	f.StringArrayVar(&v.maxAge, "max-age", nil, "how old the newest of a series may be: 26h, uploads=8d")
	f.BoolVar(&v.newerOnly, "newer-only", false, "leave out what was proved up to the level already")
	f.Var(&v.recheckAfter, "recheck-after", "leave out what was proved within this time, as 90d")
	f.Lookup("recheck-after").DefValue = ""
	f.StringVar(&v.sample, "sample", "", "check new ones, and a random part of the others, as 10%")
	f.DurationVar(&v.maxDuration, "max-duration", 0, "begin no further check after so long, as 2h")
	f.StringVar(&v.shard, "shard", "", "work on the I-th of N parts of the backups, as I/N (default: that of $JOB_COMPLETION_INDEX and $JOB_COMPLETIONS, or all)")
	v.rehearsal.add(cmd)
	f.StringVar(&v.stateDir, "state-dir", "", "folder of what is remembered (default: that of key history)")
	f.StringArrayVar(&v.accept, "accept", nil, "accept what is at or below `PATH` as intended")
	v.addReports(cmd)
	cmd.AddCommand(newVerifyMerge())
	return audited(cmd, "verify", prints)
}

// run verifies, and tells everybody who is to know.
func (v *verifyCommand) run(cmd *cobra.Command, paths []string) error {
	if len(paths) == 0 {
		paths = []string{conf.StoreFolder()}
	}
	if err := v.check(cmd, paths); err != nil {
		return err
	}
	notifier, err := v.begin(cmd)
	if err != nil {
		return err
	}
	found, err := v.verify(cmd, paths)
	return v.end(cmd, notifier, found, err)
}

// check finds the mistakes that can be found before anything starts.
func (v *verifyCommand) check(cmd *cobra.Command, paths []string) (err error) {
	j := &v.job
	j.Paths, j.Place, j.Meter = paths, newPlace(), &v.meter
	j.Program, _, _ = strings.Cut(buildInfo(), ",")
	if j.Level, err = verify.ParseLevel(v.level); err != nil {
		return usagef("--level: %w", err)
	}
	if j.Level == verify.Checksum && v.signers != "" {
		return usagef("--signers goes with --level auth and those above it: a checksum opens nothing")
	}
	if j.Level != verify.Checksum {
		if j.Signers, err = trusted(v.signers); err != nil {
			return err
		}
	}
	if j.Shard, err = shardOf(v.shard); err != nil {
		return err
	}
	if j.MaxAge, err = verify.MaxAges(conf, v.maxAge); err != nil {
		return err
	}
	if j.Retention, err = prune.Retained(conf); err != nil {
		return err
	}
	if j.Sample, err = verify.ParseSample(v.sample); err != nil {
		return err
	}
	if v.maxDuration < 0 {
		return usagef("--max-duration is negative")
	}
	j.NewerOnly, j.RecheckAfter, j.MaxDuration = v.newerOnly, time.Duration(v.recheckAfter), v.maxDuration
	if v.stateDir, err = stateDirOr(v.stateDir); err != nil {
		return err
	}
	return nil
}

func (v *verifyCommand) verify(cmd *cobra.Command, paths []string) (*verify.Report, error) {
	ring, err := v.ring(cmd)
	if err != nil {
		return nil, err
	}
	defer ring.Close()
	j := &v.job
	j.Keys = ring
	if j.Level == verify.Restore {
		stage, err := v.rehearsal.stage(cmd, rehearse.Options{Keys: ring, Signers: j.Signers, Unsigned: v.unsigned})
		if err != nil {
			return nil, err
		}
		defer func() {
			if err := stage.Close(); err != nil {
				warn(cmd, "%v", err)
			}
		}()
		stage.Serve(j)
	}
	j.FromState(v.stateDir, warner(cmd))
	if err := j.Accept(v.accept, warner(cmd)); err != nil {
		return nil, err
	}
	if j.Checkpoint, err = currentCheckpoint(cmd); err != nil {
		warn(cmd, "the report has no checkpoint of the audit log: %v", err)
	}
	hide := func() {}
	j.Planned = func(_ int, bytes int64) { hide = v.progress.start(cmd.ErrOrStderr(), "verifying", bytes, &v.meter) }
	defer collectEagerly()()
	found, failed := j.Run(cmd.Context())
	hide()
	if errors.Is(failed, fs.ErrNotExist) { // a disk that is not mounted, perhaps
		failed = &store.Error{Op: "look for", Path: paths[0], Err: fs.ErrNotExist}
	}
	if found == nil {
		return nil, fmt.Errorf("looking for the backups: %w", failed)
	}
	rec := recordOf(cmd)
	sum := found.Summary()
	rec.Backups, rec.Failures, rec.BytesIn = sum.Checked, sum.Failed, v.meter.In()
	rec.Detail = fmt.Sprintf("level %v: %d errors, %d warnings", j.Level, sum.Errors, sum.Warnings)
	_, isRoot, _ := j.Place.Stat(cmd.Context(), paths[0])
	var one *verify.Backup
	if len(paths) == 1 && !isRoot && failed == nil {
		for _, b := range found.Backups.All() {
			if found.Backups.Len() == 1 || b.Path == paths[0] {
				one = b
			}
		}
	}
	return found, v.publish(cmd, found, failed, one)
}

// ring returns the keys. Without any that can be had nothing but checksums can be
// compared; with several, one may do.
func (v *verifyCommand) ring(cmd *cobra.Command) (*keystore.Ring, error) {
	if v.job.Level == verify.Checksum {
		return keystore.NewRing(), nil
	}
	ring, err := v.keys.ring()
	if err != nil {
		return nil, err
	}
	for _, path := range v.job.Paths {
		warnPlacement(cmd, ring.Places(), path)
	}
	if _, err := ring.Current(cmd.Context()); err != nil && ring.Ways() < 2 {
		ring.Close()
		return nil, fmt.Errorf("loading the key, without which --level checksum is all that can be proved: %w", err)
	} else if err != nil && cmd.Context().Err() == nil {
		warn(cmd, "%v; what needs this key is not verified", err)
	}
	return ring, nil
}

// addReports adds the flags that say who is told, and how.
func (v *verifyCommand) addReports(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&v.reports, "report", nil, "write a report, as `FILE`.html or FILE.json; may be repeated")
	f.StringVar(&v.metrics, "metrics", "", "write metrics for node_exporter to `FILE`.prom")
	f.BoolVar(&v.notify, "notify", false, "notify those whom the settings name: SLACK_WEBHOOK_URL, ALERT_EMAIL_TO, ALERT_WEBHOOK_URL, HEALTHCHECK_URL")
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
		fmt.Fprint(&v.log, said.Text)
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
	fmt.Fprint(&v.log, summary)
	if !v.progress.quiet {
		fmt.Fprint(cmd.ErrOrStderr(), summary)
	}
	if v.json {
		return stdoutError(reports.WriteJSON(cmd.OutOrStdout(), r))
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	return stdoutError(cmp.Or(reports.WriteLines(out, r, v.progress.quiet), out.Flush()))
}

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
