package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/all"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/named"
	"github.com/takumi-backup/takumi-backup/verify/runs"
)

type backupAll struct {
	keys     []string
	stateDir string
	prune    bool
	globals  bool
	manifest string
	json     bool
	quiet    bool
	job      jobFlags
}

func newBackupAll() *cobra.Command {
	b := new(backupAll)
	cmd := &cobra.Command{
		Use:   "all [flags]",
		Short: "Back up everything that is configured, and say how it went once",
		Long: `Back up the databases, the contracts and the uploads that are configured:

  database    when DB_NAME, PGDATABASE or PGSERVICE is set
  contracts   when CONTRACTS_DIR is set
  uploads     when UPLOADS_DIR is set

A backup.toml lists several of each (see config --help), and names commands to run
before and after: hooks.before, without whose success nothing is backed up, and
hooks.on_error, on_success and after, which find good or failed in TAKUMI_OUTCOME.

When one fails, the others run all the same. With --prune, old backups are deleted at the end as prune --apply does
it, but not when a backup failed. The paths of what was made are printed, one
line each, and a summary at the end on standard error; --quiet prints nothing but
warnings and failures.

Each backup is signed when TAKUMI_SIGN_KEY is set; production without it is a warning.

UPLOADS_EXCLUDE, UPLOADS_EXCLUDE_FROM and UPLOADS_STRICT say which uploads are left
out, and whether a file that changed is a failure; see backup uploads.

--notify and --metrics report a night that fails or is missed: docs/REPORTS.md.

The exit code is 0 when all went well and 6 when something failed; if only one
part ran, its own. While one run goes on, another one does not start.

config --help says where settings come from.`,
		Example: `  takumi-backup backup all --config /etc/takumi-backup/backup.conf --prune
  DB_NAME=takumi CONTRACTS_DIR=/srv/takumi/contracts takumi-backup backup all`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.job.runRecorded(cmd, "backup", func(r *runs.Run) error { return b.run(cmd, r) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&b.keys, "key", nil, "seal for this key, and prune with it; may be repeated (default $BACKUP_ENCRYPTION_KEY_FILE, or $SECRETS_BACKEND)")
	f.BoolVar(&b.prune, "prune", false, "delete old backups at the end, when nothing failed")
	f.BoolVar(&b.globals, "globals", true, "with the database, the roles and tablespaces of its server")
	addManifest(f, &b.manifest)
	f.StringVar(&b.stateDir, "state-dir", "", "folder of the lock (default $XDG_STATE_HOME/takumi-backup)")
	b.job.add(f)
	f.BoolVarP(&b.quiet, "quiet", "q", false, "print nothing when all is well")
	f.BoolVar(&b.json, "json", false, "print the summary as JSON, in place of the paths")
	return cmd
}

func (b *backupAll) run(cmd *cobra.Command, r *runs.Run) error {
	defer lowMemory()()
	started := time.Now()
	sealed, err := conf.Encrypts()
	if err != nil {
		return err
	}
	if len(b.keys) > 0 {
		if _, err := (&keyFlags{Keys: named.Keys{URIs: b.keys}}).sources(); err != nil {
			return err
		}
	}
	lock, err := b.lock()
	if err != nil {
		return err
	}
	defer lock.Release()

	if sealed && conf.Production() && conf.Get(signKeyVariable) == "" {
		warn(cmd, "the backups are not signed, so that nobody can tell who made them: ssh-keygen -t ed25519 makes a key, and %s names it", signKeyVariable)
	}
	l, err := conf.Pace()
	if err == nil && (l.Nice != 0 || l.IONice != "") {
		err = harden.Nice(l.Nice, l.IONice)
	}
	if err != nil {
		return err
	}
	return conf.Hooked(cmd.Context(), cmd.ErrOrStderr(), warner(cmd), func() error { return b.work(cmd, r, sealed, started) })
}

func (b *backupAll) work(cmd *cobra.Command, r *runs.Run, sealed bool, started time.Time) error {
	report := reporting{b.json, b.quiet}
	plan, err := b.plan(cmd)
	if err != nil {
		return err
	}
	var prune *all.Part
	if b.prune {
		prune = &all.Part{Name: "prune", Run: func(ctx context.Context) error { return b.runPrune(ctx, cmd) }}
	}
	parts, ran, err := runner(cmd).Night(cmd.Context(), plan.Parts(cmd.Context(), conf), prune, sealed)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.State == all.LeftOut {
			continue
		}
		r.Parts = append(r.Parts, runs.Part{Name: p.Name, Error: p.Why})
		for _, m := range p.Made {
			r.Bytes += m.Out
			r.Made = append(r.Made, madeOf(m, time.Duration(p.Seconds*float64(time.Second))))
		}
	}
	if err := report.summarize(cmd, parts, started); err != nil {
		return err
	}
	plan.Remember()
	return all.Outcome(parts, ran)
}

// plan makes of each part what the command for it alone would do.
func (b *backupAll) plan(cmd *cobra.Command) (*all.Plan, error) {
	dir, err := stateDirOr(b.stateDir)
	if err != nil {
		return nil, err
	}
	return &all.Plan{
		StateDir: dir, Globals: b.globals, Warn: warner(cmd),
		Database: func(p *all.Part, t config.Target, s *postgres.Settings, globals, rolesAlone bool) func(context.Context) error {
			one := &backupDatabase{sealing: b.sealing(p, t, ""), target: s, rolesAlone: rolesAlone, format: "plain", jobs: 1, globals: globals, manifest: b.manifest}
			if t.Database != nil {
				one.jobs = max(1, t.Database.Jobs)
			}
			return func(ctx context.Context) error { return one.run(ctx, cmd) }
		},
		Folder: func(p *all.Part, t config.Target) func(context.Context) error {
			if t.Kind == backup.KindContracts {
				one := &backupContracts{chain: contracts.Endpoint{Block: contracts.Finalized}}
				if t.Contracts != nil {
					one.base = t.Contracts.Name
				}
				one.sealing = b.sealing(p, t, one.base)
				return func(ctx context.Context) error { return one.run(ctx, cmd, nil) }
			}
			one := new(backupUploads)
			if t.Uploads != nil {
				one.base = t.Uploads.Name
			}
			one.sealing = b.sealing(p, t, one.base)
			return func(ctx context.Context) error { return one.run(ctx, cmd, nil) }
		},
	}, nil
}

func (b *backupAll) sealing(p *all.Part, t config.Target, base string) sealing {
	return sealing{
		keys: keyFlags{Keys: named.Keys{URIs: b.keys, Seals: true}}, progress: progressFlags{quiet: b.quiet}, codec: "zstd", level: "fastest", prove: "on", mayBePlain: true,
		settings: t.Settings, base: base,
		made: func(cmd *cobra.Command, m *backup.Made) error { return reporting{b.json, b.quiet}.took(cmd, p, m) },
	}
}

// runPrune deletes old backups. What is deleted is words here: standard output is for
// what is made.
func (b *backupAll) runPrune(ctx context.Context, cmd *cobra.Command) error {
	prune, _, err := cmd.Root().Find([]string{"prune"})
	if err != nil {
		return err
	}
	args := []string{"--apply"}
	for _, uri := range b.keys {
		args = append(args, "--key", uri)
	}
	if b.quiet {
		args = append(args, "--quiet")
	}
	if err := prune.ParseFlags(args); err != nil {
		return err
	}
	prune.SetContext(ctx)
	prune.SetOut(cmd.ErrOrStderr())
	prune.SetErr(cmd.ErrOrStderr()) // the notification quotes it
	if b.quiet {
		prune.SetOut(io.Discard)
	}
	return prune.RunE(prune, nil)
}

func (b *backupAll) lock() (*fsutil.Lock, error) {
	dir, err := stateDirOr(b.stateDir)
	if err != nil {
		return nil, err
	}
	err = os.MkdirAll(dir, 0o700)
	var lock *fsutil.Lock
	if err == nil {
		lock, err = fsutil.LockFile(filepath.Join(dir, "backup-all.lock"))
	}
	if err != nil {
		return nil, fmt.Errorf("making sure that no other run goes on: %w", err)
	}
	return lock, nil
}

// stateDirOr is the folder that a flag names, or the usual one for what is remembered.
func stateDirOr(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return history.Dir()
}

// newBackup is the parent of the commands that make a backup from its source.
// What the source gives is sealed as it comes; seal does the same for any
// stream.
func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back up a database, contracts or uploads",
		Long: `Make a sealed backup from its source.

Every one of these commands prints the path of what it made, one line for each
backup. A source that fails or stops early leaves no backup: exit code 3.`,
		Example: "  takumi-backup backup database",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBackupDatabase(), newBackupUploads(), newBackupContracts(), newBackupAll())
	return cmd
}

// reporting is how a run of several parts is reported: as JSON in place of the paths,
// and quietly only where something failed.
type reporting struct{ json, quiet bool }

func (r reporting) took(cmd *cobra.Command, p *all.Part, m *backup.Made) error {
	p.Took(m)
	if r.json || r.quiet {
		return nil
	}
	return printf(cmd, "%s\n", m.Path)
}

// runner runs parts, each with an audit record of its own.
func runner(cmd *cobra.Command) all.Runner {
	return all.Runner{
		Ready: checkStdout,
		Session: func(operation string, work func(context.Context) error) error {
			return session(cmd, operation, changes, nil, func(ctx context.Context, _ *audit.Session) error { return work(ctx) })
		},
		Report: func(err error) int { return report(cmd.ErrOrStderr(), err) },
	}
}

func (r reporting) summarize(cmd *cobra.Command, parts []*all.Part, started time.Time) error {
	for _, p := range parts {
		if !r.quiet || p.State == all.Failed {
			fmt.Fprintln(cmd.ErrOrStderr(), "takumi-backup: "+p.Words())
		}
	}
	if !r.json {
		return nil
	}
	return writeJSON(cmd.OutOrStdout(), night{started.UTC().Truncate(time.Second), time.Since(started).Seconds(), parts})
}

// night is what backup all --json prints.
type night struct {
	Started time.Time   `json:"started"`
	Seconds float64     `json:"seconds"`
	Parts   []*all.Part `json:"parts"`
}
