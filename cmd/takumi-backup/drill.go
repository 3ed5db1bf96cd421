package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify/drill"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

type drillCommand struct {
	keys     keyFlags
	place    rehearsalFlags
	progress progressFlags
	latest   bool
	random   bool
	kinds    []string
	page     string
	targets  drill.Targets
	strict   bool
	json     bool
	job      jobFlags
	signers  string
	unsigned bool
}

func newDrill() *cobra.Command {
	d := new(drillCommand)
	cmd := &cobra.Command{
		Use:   "drill [flags] [ROOT]",
		Short: "Rehearse a restore, and write down how it went",
		Long: `Draw one backup of each kind in and under ROOT ($BACKUP_ROOT by default), restore it in a
rehearsal, compare it with its manifest, its archive or its proofs, remove it, and append a dated section to a report: what, with which key, by whom, how
long the restore took (RTO), and how old the newest backup of the series is (RPO). A
failed drill is reported too. Rehearse with the key from the safe, by --key.

Databases go into a PostgreSQL server that is started below --scratch-dir, or into a database
of its own of --database-url; contracts and uploads below --scratch-dir. The live server is
not touched. A scratch server that root starts runs as postgres, who must reach the folder.

Backups are drawn by lot among those that are authentic; --latest takes the newest, and fails
when a newer one is not authentic. The exit code is that of the backup when one was drawn, and
6 when some of several failed. A missed target is a warning, and 1 with --strict.`,
		Example: `  takumi-backup drill --scratch-dir /var/tmp
  takumi-backup drill --kind database --latest --scratch-dir /var/tmp --rto-target 30m --strict
  takumi-backup drill --database-url postgresql://drill@standby.example --kind database`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.job.runRecorded(cmd, "drill", func(r *runs.Run) error { return d.run(cmd, rootArg(args), r) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&d.random, "random", false, "draw by lot, which is the default")
	f.BoolVar(&d.latest, "latest", false, "take the newest backup of each kind")
	cmd.MarkFlagsMutuallyExclusive("random", "latest")
	f.StringSliceVar(&d.kinds, "kind", nil, "rehearse this kind: database, contracts or uploads; may be repeated (default: each that there is)")
	d.keys.add(cmd, "open with this key")
	d.keys.addIdentities(cmd)
	addSigners(f, &d.signers, "draw only what one of these has signed")
	f.BoolVar(&d.unsigned, "unsigned", false, "restore databases that anybody may have made who knows a public recipient")
	d.place.add(cmd)
	f.StringVar(&d.page, "report", "", "append to this page")
	d.targets = drill.Targets{RTO: time.Hour, RPO: 26 * time.Hour}
	f.Var((*values.Within)(&d.targets.RTO), "rto-target", "how long a restore may take, as 30m or 2h; 0 for any time")
	f.Var((*values.Within)(&d.targets.RPO), "rpo-target", "how old the newest backup may be, as 26h or 8d; 0 for any age")
	f.BoolVar(&d.strict, "strict", false, "exit code 1 when a target is missed")
	f.BoolVar(&d.json, "json", false, "print the report as JSON")
	d.job.add(f)
	d.progress.add(cmd)
	return audited(cmd, "drill", reads)
}

func (d *drillCommand) run(cmd *cobra.Command, root string, run *runs.Run) (err error) {
	if cmd.Flags().Changed("report") && d.page == "" {
		return usagef("--report is empty")
	}
	o := drill.Options{Store: newPlace(), Root: root, Kinds: d.kinds, Latest: d.latest, Targets: d.targets, Page: d.page}
	o.Program, _, _ = strings.Cut(buildInfo(), ",")
	if o.State, err = stateDirOr(""); err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return err
	}
	ring, _, fault := d.keys.keys().Required(cmd.Context())
	if fault == nil {
		defer ring.Close()
		warnPlacement(cmd, ring.Places(), root)
		o.Keys = ring
		o.Signers, fault = trusted(d.signers)
	}
	if fault == nil {
		o.Stage, fault = d.place.stage(cmd, rehearse.Options{Keys: ring, Signers: o.Signers, Unsigned: d.unsigned})
	}
	if o.Stage != nil {
		defer func() { err = errors.Join(err, o.Stage.Close()) }()
	}
	o.Fault = fault
	r, fault := o.Run(cmd.Context(), drill.Observer{
		Warn:       func(format string, args ...any) { warn(cmd, format, args...) },
		Checkpoint: func() (json.RawMessage, error) { return currentCheckpoint(cmd) },
		Rehearsing: func(p drill.Picked, m *backup.Meter) func() {
			return d.progress.start(cmd.ErrOrStderr(), "rehearsing "+p.Kind, p.Size, m)
		},
		Rehearsed: func(p drill.Picked, r *drill.Result, m *backup.Meter) {
			rec := audit.Record{Path: p.Path, BackupID: r.ID, Name: p.Name, Kind: p.Kind, BytesIn: m.In(), BytesOut: m.Out(), Fault: errors.Unwrap(r.Fault)}
			if r.KeyID != "" {
				rec.KeyIDs = []string{r.KeyID}
			}
			recordBackup(cmd, rec)
			run.Parts = append(run.Parts, runs.Part{Name: p.Kind + " " + p.Name, Error: r.Error})
			if r.Fault == nil {
				run.Drilled = append(run.Drilled, runs.Series{Folder: store.Dir(p.Path), Kind: p.Kind, Name: p.Series()})
			}
		},
	})
	if r == nil {
		return fault
	}
	return d.tell(cmd, o.Page, r, fault)
}

func (d *drillCommand) tell(cmd *cobra.Command, page string, r *drill.Report, fault error) error {
	missed := r.Tell(printer(cmd, d.progress.quiet || d.json), warner(cmd))
	var err error
	if d.json {
		err = writeJSON(cmd.OutOrStdout(), drilled{r, page})
	} else {
		err = printf(cmd, "%v\n", page)
	}
	record := recordOf(cmd)
	record.Backups, record.Failures = len(r.Results), len(r.Faults())
	if fault != nil {
		record.Failures = 1
	}
	switch failed := r.Outcome(fault, func(err error) { report(cmd.ErrOrStderr(), err) }); {
	case failed != nil:
		return errors.Join(failed, err)
	case err != nil:
		return fmt.Errorf("%w; the drill is written down in %s all the same", err, page)
	case d.strict && missed > 0:
		return drill.ErrMissed
	}
	return nil
}

// drilled is what drill --json prints.
type drilled struct {
	*drill.Report
	Page string `json:"report"`
}

type rehearsalFlags struct{ scratchDir, databaseURL string }

func (r *rehearsalFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.scratchDir, "scratch-dir", "", "the folder in which backups are restored for a moment, as plaintext")
	f.StringVar(&r.databaseURL, "database-url", "", "restore databases into this server, set aside for it, as postgresql://USER@HOST:PORT")
}

// stage returns where to rehearse; o says with which keys, and what. The caller closes
// it.
func (r *rehearsalFlags) stage(cmd *cobra.Command, o rehearse.Options) (*rehearse.Stage, error) {
	o.Place, o.ScratchDir = newPlace(), r.scratchDir
	if r.scratchDir == "" && r.databaseURL == "" {
		return nil, usagef("say where backups may be restored: --scratch-dir DIR on a disk that may hold plaintext, or --database-url")
	}
	if r.scratchDir != "" {
		info, err := os.Stat(r.scratchDir)
		if err != nil {
			return nil, fmt.Errorf("looking for the scratch folder: %w", err)
		}
		if !info.IsDir() {
			return nil, usagef("--scratch-dir: %s is not a folder", r.scratchDir)
		}
	}
	if r.databaseURL != "" {
		var err error
		if o.Database, err = settingsFromURI(cmd, "--database-url", r.databaseURL); err != nil {
			return nil, err
		}
	}
	return rehearse.New(o), nil
}
