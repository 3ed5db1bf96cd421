package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

type replicateCommand struct {
	progress  progressFlags
	newerThan time.Duration
	workers   int
	replace   bool
	cut       bool // without a sidecar
	stored    stores.Choice
	keys      keyFlags
	stateDir  string
	signers   string
	dryRun    bool
	json      bool
	job       jobFlags
}

func newReplicate() *cobra.Command {
	r := &replicateCommand{workers: 2}
	cmd := &cobra.Command{
		Use:   "replicate [flags] SRC DST",
		Short: "Copy the backups of one store to another",
		Long: `Copy the backups in and under SRC that DST lacks to the same names below DST. Each may be a
folder or s3://BUCKET/PREFIX; SRC may be one backup. No key is needed.

Each backup is hashed on its way: one that is not what its sidecar says is not copied, and one
without a sidecar only with --without-sidecar. A backup that DST has with the same length and sidecar is skipped, so that a run that
was stopped can be repeated. One that was rewrapped at SRC replaces its copy; another
backup of that name stays, unless --replace-others is given. Envelopes of rewrap
--detached and signatures are copied too. Nothing else at DST changes.`,
		Example: `  takumi-backup replicate /var/backups/takumi s3://takumi-offsite/db1
  takumi-backup replicate --newer-than 7d s3://takumi-offsite/db1 /mnt/usb/db1`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !r.dryRun:
				return r.job.runRecorded(cmd, "replicate", func(run *runs.Run) error { return r.run(cmd, run, args[0], args[1]) })
			case r.job.notify || r.job.metrics != "":
				return usagef("--notify and --metrics do not go with --dry-run: a dry run is not reported")
			}
			return r.run(cmd, new(runs.Run), args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.Var((*values.Within)(&r.newerThan), "newer-than", "copy what was last written, or rewrapped, within this time, as 7d or 36h")
	f.Lookup("newer-than").DefValue = ""
	f.IntVar(&r.workers, "workers", r.workers, "copy this many at a time")
	f.BoolVar(&r.replace, "replace-others", false, "let a backup take the place of another one of its name")
	f.BoolVar(&r.cut, "without-sidecar", false, "copy what has no sidecar too, as it is, and give the copy one")
	f.BoolVar(&r.dryRun, "dry-run", false, "show what would be copied")
	f.BoolVar(&r.json, "json", false, "print one JSON object per backup and line")
	f.StringVar(&r.stateDir, "state-dir", "", "folder of what was copied (default $XDG_STATE_HOME/takumi-backup)")
	r.keys.add(cmd, "a copy that this key opens is not replaced by what it does not open")
	addSigners(f, &r.signers, "copy only what one of these has signed, whole")
	addPlace(&r.stored, f)
	r.job.add(f)
	r.progress.add(cmd)
	cmd.Annotations = map[string]string{backupArgs: "1"}
	return audited(cmd, "replicate", changes)
}

type replicated struct {
	Path   string           `json:"path"`
	To     string           `json:"to,omitempty"`
	Action replicate.Action `json:"action"` // copy, replace, envelope, signature, kept or same
	Done   bool             `json:"done"`
	Size   int64            `json:"size"`
	SHA256 string           `json:"sha256,omitempty"` // of what was copied
	Error  string           `json:"error,omitempty"`
}

func (r *replicateCommand) run(cmd *cobra.Command, run *runs.Run, from, to string) error {
	if r.workers < 1 || r.workers > 32 {
		return usagef("--workers is %d, not 1 to 32", r.workers)
	}
	c := replicate.Batch{
		From: from, To: to, Workers: r.workers, DryRun: r.dryRun, Meter: new(backup.Meter),
		Options: replicate.Options{Place: r.stored.Place(conf), ReplaceOthers: r.replace, WithoutSidecar: r.cut},
	}
	err := replicate.CheckSeparate(from, to, cmp.Or(conf.Get("AWS_ENDPOINT_URL_S3"), conf.Get("AWS_ENDPOINT_URL")))
	if err == nil {
		c.Signers, err = trusted(r.signers)
	}
	if err != nil {
		return err
	}
	if c.Keys, err = r.keys.ring(); err != nil {
		return err
	}
	defer c.Keys.Close()
	dir, err := stateDirOr(r.stateDir)
	if err == nil {
		c.Memory, err = replicate.OpenMemory(dir)
	}
	if err != nil {
		warn(cmd, "what was copied before is not known: %v", err)
	}
	if r.newerThan > 0 {
		c.NewerThan = time.Now().Add(-r.newerThan)
	}
	hide, fault, last := func() {}, error(nil), ""
	t, err := c.Run(cmd.Context(), replicate.Observer{
		Planned: func(bytes int64) { hide = r.progress.start(cmd.ErrOrStderr(), "copying", bytes, c.Meter) },
		Copied:  func(i replicate.Item, err error) { recordBackup(cmd, audit.Record{Path: i.To, Fault: err}) },
		Done: func(t *replicate.Tally, i replicate.Item, result store.Result, err error) error {
			last = i.Backup.Path
			line := replicated{Path: last, To: i.To, Action: i.Action, Size: i.Backup.Size, SHA256: result.SHA256}
			switch {
			case err != nil:
				line.Error = redact.Error(err)
				if t.Items > 1 && !errors.As(err, new(*harden.SignalError)) {
					report(cmd.ErrOrStderr(), aboutPath("copying", last, err))
				}
			case i.Action == replicate.Kept:
				warn(cmd, "%s keeps its keys: it was rewrapped there, or %s does not open with the key at hand; --replace-others replaces it", i.To, last)
			case i.Action != replicate.Nothing:
				line.Done = !r.dryRun
			}
			if fault == nil {
				fault = r.print(cmd, line)
			}
			return fault
		},
	})
	hide()
	if fault := c.Memory.Fault(); fault != nil {
		warn(cmd, "%v", fault)
	}
	run.Bytes = c.Meter.In()
	if err != nil {
		return err
	}
	if !r.progress.quiet {
		word := "copied"
		if r.dryRun {
			word = "to copy"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%d %s (%s), %d there already, %d failed\n", t.Copied, word, values.BytesText(c.Meter.In()), t.Same, t.Failed)
	}
	switch {
	case t.Failed > 0 && t.Items == 1:
		return aboutPath("copying", last, t.First)
	case t.Failed > 0:
		return errSome
	}
	return nil
}

func (r *replicateCommand) print(cmd *cobra.Command, line replicated) error {
	switch {
	case r.json:
		return writeJSON(cmd.OutOrStdout(), line)
	case line.Error != "", line.Action == replicate.Nothing:
		return nil
	}
	return printf(cmd, "%s\n", printable(line.To))
}
